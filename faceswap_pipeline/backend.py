"""What differs between TensorFlow, JAX and OpenVINO outside the gradient: compiling, devices, threads.

In: functions written in `keras.ops`. Out: the same functions compiled. With `train/gradients.py` the only file that
knows the backend. OpenVINO only infers: nothing trains under it.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np

from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.machine import cores


@dataclass(frozen=True)
class Device:
    """Where networks run."""

    kind: str
    """`cpu` or `gpu`."""
    name: str
    """As the backend calls it."""


def backend_name() -> str:
    """`tensorflow`, `jax` or `openvino`."""
    return keras.backend.backend()


def find_device() -> Device:
    """The device that networks run on: the first GPU where the backend sees one, else the CPU."""
    if backend_name() == "jax":
        import jax

        found = jax.devices()
        kind = "cpu" if found[0].platform == "cpu" else "gpu"
        return Device(kind, found[0].device_kind)
    if backend_name() == "openvino":
        return Device("cpu", "CPU")
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        if not tf.config.experimental.get_memory_growth(gpu):
            tf.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return Device("gpu", details.get("device_name", gpus[0].name))
    return Device("cpu", "CPU")


def check_trains() -> None:
    """Raise OptionError where the backend only infers."""
    if backend_name() == "openvino":
        raise OptionError("KERAS_BACKEND is openvino, which cannot train: unset it, or set it to tensorflow or jax")


def share_cores() -> None:
    """Give each of a training step's two branches, one for each person, half of the cores.

    Small maps leave an operation that is spread over all cores waiting for itself: measured on 2 cores, a step is a
    fifth quicker so. A third thread takes what is ready while one of the two waits for the other: another fourteenth.
    Only TensorFlow on a CPU is told, and only before it has computed anything; `TF_NUM_*` settings of the user's own go
    first.
    """
    if backend_name() != "tensorflow" or find_device().kind == "gpu" or "TF_NUM_INTRAOP_THREADS" in os.environ:
        return
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # it already computes: as it is, only slower
        tf.config.threading.set_inter_op_parallelism_threads(3)
        tf.config.threading.set_intra_op_parallelism_threads(max(1, cores() // 2))


def compile_inference(
    function: Callable[..., Any], variables: Sequence[Any] = (), inputs: Sequence[keras.InputSpec] = ()
) -> Callable[..., Any]:
    """`function` of arrays, compiled; its outputs are numpy arrays (or tuples, lists, dicts of them), not writeable.

    Call it with inputs of one fixed shape: every new shape compiles once more. Where `inputs` leaves axes open (None),
    TensorFlow compiles once for all their sizes; the others do for each of them, so let there be few. Under JAX the
    values of `variables` (what `function` reads and a later step may change) are read at each call; weights not named
    are frozen at the first call. Under TensorFlow variables are always read live, under OpenVINO never again.
    """
    if backend_name() == "openvino":
        return _by_openvino(function)
    if backend_name() == "jax":
        import jax

        def pure(values, *inputs):
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return function(*inputs)

        compiled = jax.jit(pure)
        return lambda *inputs: _to_numpy(compiled([variable.value for variable in variables], *inputs))
    import tensorflow as tf

    signature = [tf.TensorSpec(spec.shape, spec.dtype) for spec in inputs] or None
    compiled = tf.function(function, input_signature=signature, autograph=False, jit_compile=False)
    return lambda *inputs: _to_numpy(compiled(*map(_as_tensor, inputs)))


def _by_openvino(function: Callable[..., Any]) -> Callable[..., Any]:
    """`compile_inference` under OpenVINO, on a CPU, in whole precision (it would take half where the processor can)."""
    import openvino

    core, models, lock = openvino.Core(), {}, threading.Lock()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}

    def compiled(arrays: Sequence[np.ndarray]) -> tuple[Any, Any]:
        """The function for inputs like these, and what it returns."""
        inputs = [openvino.opset15.parameter(list(each.shape), openvino.Type(each.dtype)) for each in arrays]
        made = function(*(keras.ops.convert_to_tensor(each.output(0)) for each in inputs))
        outputs = [each.output for each in keras.tree.flatten(made)]
        graph = openvino.Model(outputs, inputs)  # pyright: ignore[reportGeneralTypeIssues]
        return core.compile_model(graph, "CPU", settings), made

    def infer(*inputs: Any) -> Any:
        arrays = [np.asarray(each) for each in inputs]
        key = tuple((each.shape, each.dtype) for each in arrays)
        with lock:  # a compiled model has one place for its results
            if key not in models:
                models[key] = compiled(arrays)
            model, made = models[key]
            found = [np.array(each) for each in model(arrays).values()]
        return keras.tree.pack_sequence_as(made, found)

    return infer


def compile_step(function: Callable[..., Any], variables: Sequence[Any]) -> Callable[..., Any]:
    """`function` of arrays that changes `variables` in place (assign, optimizer steps), compiled.

    Inputs keep one shape each. Returns what `function` returns, as arrays of the backend, so that the caller decides
    when to wait for them. XLA is left off on the CPU under TensorFlow, where it is slower. Raises OptionError under
    OpenVINO.
    """
    check_trains()
    if backend_name() == "jax":
        import jax

        def pure(values, inputs):
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
                result = function(*inputs)
            return result, [scope.get_current_value(variable) for variable in variables]

        compiled = jax.jit(pure, donate_argnums=0)

        def step(*inputs):
            result, values = compiled([variable.value for variable in variables], inputs)
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
            return result

        return step
    import tensorflow as tf

    compiled = tf.function(function, autograph=False, jit_compile=find_device().kind == "gpu")
    return lambda *inputs: compiled(*[_as_tensor(value) for value in inputs])


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` for use inside `compile_step` or `compile_inference`, as one small program instead of many operations.

    For chains of cheap operations, each of which would go over all of its data: XLA makes one loop of them. Networks do
    not gain: XLA's convolutions are slower on a CPU. Everything that is not a tensor must be hashable. Where the whole
    step is left to XLA, where there is no XLA and where nothing is compiled, `function` itself.
    """
    if backend_name() == "jax" or find_device().kind == "gpu" or not _has_xla():
        return function
    import tensorflow as tf

    return function if tf.executing_eagerly() else _with_xla(function)


@cache
def _with_xla(function: Callable[..., Any]) -> Callable[..., Any]:
    """One program for each function, however often it is asked for."""
    import tensorflow as tf

    return tf.function(function, autograph=False, jit_compile=True)


@cache
def _has_xla() -> bool:
    """Whether this build of TensorFlow compiles for the CPU: some for Windows do not."""
    import tensorflow as tf

    try:
        with tf.init_scope():
            tf.function(lambda x: x + 1, autograph=False, jit_compile=True)(tf.constant(1.0))
    except tf.errors.OpError:
        return False
    return True


def resident(array: np.ndarray) -> Any:
    """`array` as a tensor that stays on the device."""
    return keras.ops.convert_to_tensor(array)


def _as_tensor(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_tensor(item) for key, item in value.items()}
    if backend_name() == "tensorflow" and isinstance(value, np.ndarray):
        import tensorflow as tf

        return tf.constant(value)  # a third of the time that Keras takes, a dozen times a step
    return keras.ops.convert_to_tensor(value)


def _to_numpy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_numpy(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_to_numpy(item) for item in value)
    return np.asarray(value)  # the backend's own memory; Keras would copy it


def value_of(variable: Any) -> np.ndarray:
    """A copy of a variable's value. TensorFlow's variables are asked themselves: numpy cannot copy them unwarned."""
    value = variable.value
    return np.array(value.numpy() if hasattr(value, "numpy") else value)
