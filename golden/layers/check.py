"""Bounds of what a network may consist of, and refusals that name layer and field."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from golden.errors import ImageError, brief

__all__ = [
    "ACTIVATIONS",
    "MAX_ACTIVATIONS",
    "MAX_KERNEL",
    "MAX_LAYERS",
    "MAX_NAME",
    "MAX_NONZEROS",
    "MAX_PADDING",
    "MAX_SHIFT",
    "MAX_SIDE",
    "MAX_SOURCES",
    "MAX_TENSOR",
    "Check",
]

# Bounds of the format. Whatever claims more is refused before memory is set aside for it.
MAX_LAYERS = 1024
MAX_SIDE = 2**20
MAX_NONZEROS = 2**24
MAX_NAME = 128
# Sides and steps of a window, and padding on one side of a feature map.
MAX_KERNEL = 1024
MAX_PADDING = 1023
MAX_SOURCES = 64
# Activations of one tensor, padding included, and of all of them together.
MAX_TENSOR = 2**24
MAX_ACTIVATIONS = 2**26
# The widest accumulator of a device has 48 bits.
MAX_SHIFT = 47
ACTIVATIONS = ("none", "relu")


class Check:
    """Refusals that start with the name of a layer."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def require(self, fulfilled: bool, message: str) -> None:
        if not fulfilled:
            raise ImageError(self.prefix + message)

    def name(self, owner: Any) -> None:
        name = owner.name
        self.require(
            isinstance(name, str) and 1 <= len(name) <= MAX_NAME and name.isprintable(),
            f"name must be 1 to {MAX_NAME} printable characters, not {brief(name)}",
        )

    def whole(self, owner: Any, field: str, low: int, high: int) -> None:
        """Turns the field into an int."""
        value = getattr(owner, field)
        number = _whole(value)
        self.require(
            number is not None and low <= number <= high,
            f"{field} must be an integer from {low} to {high}, not {brief(value)}",
        )
        object.__setattr__(owner, field, number)

    def wholes(
        self, field: str, value: object, counts: Sequence[int], low: int, high: int
    ) -> tuple[int, ...]:
        """``value`` as a tuple of as many ints as one of ``counts`` says."""
        numbers = [_whole(x) for x in value] if isinstance(value, tuple | list) else []
        found = tuple(x for x in numbers if x is not None and low <= x <= high)
        many = f"{counts[0]} to {counts[-1]}" if len(counts) > 2 else " or ".join(map(str, counts))
        self.require(
            len(found) == len(numbers) and len(found) in counts,
            f"{field} must be {many} integer{'s' * (many != '1')} from {low} to {high}, "
            f"not {_listed(value)}",
        )
        return found

    def flag(self, owner: Any, field: str) -> None:
        value = getattr(owner, field)
        self.require(isinstance(value, bool), f"{field} must be True or False, not {brief(value)}")

    def vector(self, owner: Any, field: str, dtype: type, low: int, high: int) -> None:
        array = getattr(owner, field)
        self.require(
            isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == 1,
            f"{field} must be a vector of {np.dtype(dtype).name}",
        )
        many = str(low) if low == high else f"{low} to {high}"
        self.require(
            low <= len(array) <= high, f"{field} must have {many} elements, not {len(array)}"
        )


def _whole(value: object) -> int | None:
    """``value`` as an int, if it is an integer."""
    try:
        return None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _listed(value: object) -> str:
    """How a message quotes what should be a few integers."""
    if not isinstance(value, tuple | list):
        return brief(value)
    first = [brief(x) for x in value[:5]]
    return f"({', '.join([*first, '...'] if len(value) > len(first) else first)})"
