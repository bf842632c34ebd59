"""Layers that make one tensor of several."""

from dataclasses import dataclass
from typing import ClassVar

from golden.layers.base import Layer, Shape
from golden.layers.check import MAX_SOURCES

__all__ = ["Addition", "Concatenation"]

# 16 bits, shifted by so many and added up, fill the 48 bits of the widest accumulator.
_MAX_ALIGNMENT = 31


@dataclass(frozen=True, eq=False, kw_only=True)
class Addition(Layer):
    """The sum of two tensors, element by element.

    The one with fewer fraction bits is shifted left until it has as many as the other.
    """

    kind: ClassVar[str] = "add"
    sources: ClassVar[tuple[int, int]] = (2, 2)

    def output_shape(self, *shapes: Shape) -> Shape:
        first, second = shapes
        self.check.require(
            first == second, f"sources must be of one shape, not {first!r} and {second!r}"
        )
        return first

    def accumulator_radix(self, *radixes: int) -> int:
        apart = max(radixes) - min(radixes)
        self.check.require(
            apart <= _MAX_ALIGNMENT,
            f"sources must have radix points at most {_MAX_ALIGNMENT} apart, not {apart}",
        )
        return max(radixes)

    def alignment(self, *radixes: int) -> list[int]:
        """Bits that each source is shifted left by."""
        return [self.accumulator_radix(*radixes) - radix for radix in radixes]

    def accumulator_bits(self, activation_width: int, *radixes: int) -> int:
        most = sum(1 << (activation_width - 1 + shift) for shift in self.alignment(*radixes))
        return (most - 1).bit_length() + 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Concatenation(Layer):
    """Tensors of one radix point, one behind the other along the last index.

    That is along the channels for feature maps.
    """

    kind: ClassVar[str] = "concatenate"
    sources: ClassVar[tuple[int, int]] = (2, MAX_SOURCES)

    def output_shape(self, *shapes: Shape) -> Shape:
        first = shapes[0]
        for shape in shapes:
            self.check.require(
                len(shape) == len(first) and shape[:-1] == first[:-1],
                f"sources must be of one shape but for the channels, not {first!r} and {shape!r}",
            )
        return (*first[:-1], sum(shape[-1] for shape in shapes))

    def accumulator_radix(self, *radixes: int) -> int:
        for radix in radixes:
            self.check.require(
                radix == radixes[0],
                f"sources must have one radix point, not {radixes[0]} and {radix} fraction bits",
            )
        return radixes[0]

    def accumulator_bits(self, activation_width: int, *radixes: int) -> int:
        return activation_width
