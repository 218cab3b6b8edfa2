"""Gradients of a loss, the one thing besides compiling that each backend does its own way.

In: a loss function without arguments and the variables it should be lowered by. Out: its by-products and gradients.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from faceswap_pipeline.backend import backend_name

LossFunction = Callable[[], tuple[Any, Any]]
"""Gives the scalar loss and what else is worth knowing: tensors in dicts, lists and tuples."""


def gradients(loss: LossFunction, variables: Sequence[Any], state: Sequence[Any]) -> tuple[Any, list[Any]]:
    """What else `loss` gave, and its gradient in each of `variables`.

    `state` is every variable that `loss` reads or assigns, `variables` included; it must hold all of them, since JAX
    differentiates a pure function of their values. Assignments inside `loss` (spectral vectors) take effect.
    """
    return _TAKE[backend_name()](loss, variables, state)


def _with_tensorflow(loss: LossFunction, variables: Sequence[Any], state: Sequence[Any]):
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([variable.value for variable in variables])
        total, extra = loss()
    return extra, tape.gradient(total, [variable.value for variable in variables])


def _with_jax(loss: LossFunction, variables: Sequence[Any], state: Sequence[Any]):
    import jax

    learnt = {id(variable) for variable in variables}
    others = [variable for variable in state if id(variable) not in learnt]
    other_values = [variable.value for variable in others]

    def pure(values):
        mapping = [*zip(variables, values, strict=True), *zip(others, other_values, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            total, extra = loss()
        return total, (extra, [scope.get_current_value(variable) for variable in others])

    found, (extra, changed) = jax.grad(pure, has_aux=True)([variable.value for variable in variables])
    for variable, value in zip(others, changed, strict=True):
        variable.assign(value)
    return extra, found


_TAKE = {"tensorflow": _with_tensorflow, "jax": _with_jax}
