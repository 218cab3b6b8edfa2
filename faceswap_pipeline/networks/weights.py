"""A network's weights as arrays by name, the only form in which they are stored."""

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from faceswap_pipeline.backend import value_of
from faceswap_pipeline.errors import WeightsError


def get_arrays(prefix: str, variables: Iterable[Any]) -> dict[str, NDArray]:
    """`prefix/path` -> a copy of each variable's value."""
    return {f"{prefix}/{variable.path}": value_of(variable) for variable in variables}


def set_arrays(prefix: str, variables: Iterable[Any], arrays: Mapping[str, NDArray]) -> None:
    """Give every variable the array of its name. Raises WeightsError when one is missing or has another shape."""
    for variable in variables:
        name = f"{prefix}/{variable.path}"
        found = arrays.get(name)
        if found is None or tuple(found.shape) != tuple(variable.shape):
            what = "nothing" if found is None else f"shape {tuple(found.shape)}"
            raise WeightsError(f"weights '{name}': found {what}, expected shape {tuple(variable.shape)}")
        variable.assign(found.astype(variable.dtype))
