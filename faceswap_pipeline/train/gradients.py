"""Gradients of a loss and Adam's step along them: besides compiling, what each backend does its own way.

In: a loss function without arguments and the variables it should be lowered by. Out: its by-products and gradients;
the variables moved.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from faceswap_pipeline.backend import backend_name

LossFunction = Callable[[], tuple[Any, Any]]
"""Gives the scalar loss and what else is worth knowing: tensors in dicts, lists and tuples."""


def gradients(loss: LossFunction, variables: Sequence[Any], state: Sequence[Any]) -> tuple[Any, list[Any]]:
    """What else `loss` gave, and its gradient in each of `variables`.

    `state` is every variable that `loss` reads or assigns, `variables` included; it must hold all of them, since JAX
    differentiates a pure function of their values. Assignments inside `loss` (spectral vectors) take effect.
    """
    return _TAKE[backend_name()](loss, variables, state)


def clipped(found: list[Any], limit: float) -> tuple[list[Any], Any]:
    """Gradients scaled down to a joint norm of at most `limit`, and the norm they had."""
    found = [ops.convert_to_tensor(gradient) for gradient in found]
    norm = ops.sqrt(sum(_SQUARES[backend_name()](gradient) for gradient in found))
    # Most steps have nothing to scale, and leave the gradients where they are.
    return ops.cond(norm > limit, lambda: [each * (limit / norm) for each in found], lambda: found), norm


class Adam:
    """The optimizer of Kingma and Ba ("Adam: A Method for Stochastic Optimization", 2015).

    It does what `keras.optimizers.Adam` does and keeps the same variables in the same order. Under TensorFlow a
    weight's whole step is one operation instead of Keras' eleven, each of which goes over all of the weight: a
    fifteenth of a step of training on a CPU.
    """

    BETA_2, EPSILON = 0.999, 1e-7
    """Decay of the mean of squared gradients, and what is added to its root."""

    def __init__(self, weights: Sequence[Any], rate: float, beta_1: float = 0.9, shares: Sequence[float] | None = None):
        """For `weights`, trainable variables; `shares` are what part of the rate each moves at (all of it)."""
        self._weights, self._shares = list(weights), list(shares or [1.0] * len(weights))
        self._beta_1 = beta_1
        self.iterations = keras.Variable(0, dtype="int64", trainable=False, name="iteration")
        self.learning_rate = keras.Variable(rate, dtype="float32", trainable=False, name="learning_rate")
        zeros = lambda weight: keras.Variable(ops.zeros(weight.shape, weight.dtype), trainable=False)  # noqa: E731
        self._moments = [(zeros(weight), zeros(weight)) for weight in self._weights]

    @property
    def variables(self) -> list[Any]:
        """The number of steps, the rate, and of each weight the means of gradient and squared gradient."""
        return [self.iterations, self.learning_rate, *(moment for both in self._moments for moment in both)]

    def apply(self, found: Sequence[Any]) -> None:
        """Move the weights by their gradients."""
        step = ops.cast(self.iterations + 1, "float32")
        powers = ops.power(self._beta_1, step), ops.power(self.BETA_2, step)
        move, rate = _MOVE[backend_name()], ops.convert_to_tensor(self.learning_rate)
        for weight, moments, gradient, share in zip(self._weights, self._moments, found, self._shares, strict=True):
            move(weight, moments, gradient, rate * share, powers, (self._beta_1, self.BETA_2, self.EPSILON))
        self.iterations.assign(self.iterations + 1)


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


def _move_with_tensorflow(weight, moments, gradient, rate, powers, constants) -> None:
    import tensorflow as tf

    beta_1, beta_2, epsilon = constants
    tf.raw_ops.ResourceApplyAdam(
        var=weight.value.handle,
        m=moments[0].value.handle,
        v=moments[1].value.handle,
        beta1_power=powers[0],
        beta2_power=powers[1],
        lr=rate,
        beta1=beta_1,
        beta2=beta_2,
        epsilon=epsilon,
        grad=gradient,
    )


def _move_with_jax(weight, moments, gradient, rate, powers, constants) -> None:
    beta_1, beta_2, epsilon = constants
    mean = moments[0] + (gradient - moments[0]) * (1 - beta_1)
    square = moments[1] + (gradient * gradient - moments[1]) * (1 - beta_2)
    length = rate * ops.sqrt(1 - powers[1]) / (1 - powers[0])
    for moment, value in zip(moments, (mean, square), strict=True):
        moment.assign(value)
    weight.assign(weight - length * mean / (ops.sqrt(square) + epsilon))


def _squares_with_tensorflow(values) -> Any:
    import tensorflow as tf

    return 2 * tf.nn.l2_loss(values)  # one operation that writes nothing of their size


def _squares_with_jax(values) -> Any:
    return ops.sum(values * values)


_TAKE = {"tensorflow": _with_tensorflow, "jax": _with_jax}
_MOVE = {"tensorflow": _move_with_tensorflow, "jax": _move_with_jax}
_SQUARES = {"tensorflow": _squares_with_tensorflow, "jax": _squares_with_jax}
