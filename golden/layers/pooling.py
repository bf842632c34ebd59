"""Layers that make one activation of each channel in a window."""

import math
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

from golden.layers.base import Shape, Windowed

__all__ = ["AveragePooling", "MaxPooling", "Pooling"]

_Area = TypeVar("_Area", int, np.ndarray)


@dataclass(frozen=True, eq=False, kw_only=True)
class Pooling(Windowed):
    """What is taken from a window is for each channel by itself.

    Pooling over the whole map has a kernel of its size.

    Parameters
    ----------
    ceil_mode : bool
        Whether a last window may reach over the padding, as long as it starts before the padding
        at the end; as in PyTorch.
    kernel, stride, padding
        As for every :class:`~golden.layers.base.Windowed` layer; each padding is less than the
        side of the kernel, so that no window consists of it.
    """

    ceil_mode: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check.flag(self, "ceil_mode")
        self.check.require(
            all(x < side for x, side in zip(self.padding, self.kernel * 2, strict=True)),
            f"padding must be less than the kernel of {self.kernel!r}, not {self.padding!r}",
        )

    def output_shape(self, *shapes: Shape) -> Shape:
        return (*self.positions(*shapes, ceil=self.ceil_mode), self.map_shape(*shapes)[2])


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPooling(Pooling):
    """The greatest activation of a window. Padding is never it."""

    kind: ClassVar[str] = "max"

    def accumulator_radix(self, *radixes: int) -> int:
        (radix,) = radixes
        return radix

    def accumulator_bits(self, activation_width: int, *radixes: int) -> int:
        return activation_width


@dataclass(frozen=True, eq=False, kw_only=True)
class AveragePooling(Pooling):
    """The mean of a window: its exact sum, times an integer that stands for one over its area.

    The integer is ``2**weight_radix / area``, rounded to the nearest. For an area that is a power
    of two the mean is exact. For another, the reciprocal is wrong by up to ``2**-(weight_radix +
    1)``, and so the mean, before it is rounded, by up to ``area * 2**(activation_width - 2 -
    weight_radix)`` of the input's last place; see :meth:`close_radix`.

    Parameters
    ----------
    weight_radix : int
        Fraction bits of the reciprocals, 0 to 31, and enough for that of the kernel's area.
    count_padding : bool
        Whether padding counts as activations that are 0. What a last window takes beyond the
        padding, because of ``ceil_mode``, never counts.
    kernel, stride, padding, ceil_mode
        As for all :class:`Pooling`.
    """

    kind: ClassVar[str] = "average"

    weight_radix: int
    count_padding: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check.whole(self, "weight_radix", 0, 31)
        self.check.flag(self, "count_padding")
        least = (self.area - 1).bit_length()
        self.check.require(
            self.weight_radix >= least,
            f"weight_radix must be at least {least} for windows of {self.area} activations, "
            f"not {self.weight_radix}",
        )

    @property
    def area(self) -> int:
        """Activations in a whole window."""
        return math.prod(self.kernel)

    def reciprocal(self, area: _Area) -> _Area:
        """The integer that stands for one over ``area``, or those for an array of areas.

        Examples
        --------
        >>> pool = AveragePooling(
        ...     name="pool", output_radix=0, activation="none", kernel=(3, 3), weight_radix=10)
        >>> pool.reciprocal(9), pool.reciprocal(4)
        (114, 256)
        """
        return ((2 << self.weight_radix) + area) // (2 * area)

    def areas(self, *shapes: Shape) -> tuple[list[int], list[int]]:
        """Rows that count in the windows of each row of windows, and columns likewise.

        What counts in a window is a rectangle: its area is the product of one of either.
        """
        height, width, _ = self.map_shape(*shapes)
        found = []
        counts = self.positions(*shapes, ceil=self.ceil_mode)
        for axis, (length, count) in enumerate(zip((height, width), counts, strict=True)):
            before, after = self.padding[axis], self.padding[axis + 2]
            first, last = (-before, length + after) if self.count_padding else (0, length)
            starts = [n * self.stride[axis] - before for n in range(count)]
            found.append([min(x + self.kernel[axis], last) - max(x, first) for x in starts])
        return found[0], found[1]

    @staticmethod
    def close_radix(area: int, activation_width: int) -> int:
        """A ``weight_radix`` that makes means exact, or wrong by less than 1/2 of a last place.

        Then no output is farther than one from what the exact mean would be rounded to.

        Parameters
        ----------
        area : int
            Activations in a window, up to ``2**(32 - activation_width)``.
        activation_width : int
            Bits of an activation.

        Examples
        --------
        >>> AveragePooling.close_radix(49, 16), AveragePooling.close_radix(64, 16)
        (21, 6)
        """
        bits = (area - 1).bit_length()
        return bits if area == 1 << bits else bits + activation_width - 1

    def accumulator_radix(self, *radixes: int) -> int:
        (radix,) = radixes
        return radix + self.weight_radix

    def accumulator_bits(self, activation_width: int, *radixes: int) -> int:
        # Windows at the edge may have other areas, whose reciprocals are rounded otherwise.
        varies = self.ceil_mode or (any(self.padding) and not self.count_padding)
        sides = [np.arange(1 if varies else side, side + 1) for side in self.kernel]
        areas = np.outer(*sides)
        most = int((areas * self.reciprocal(areas)).max())
        return (most << (activation_width - 1)).bit_length() + 1
