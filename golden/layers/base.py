"""What layers of every kind have in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from golden.errors import brief
from golden.layers.check import ACTIVATIONS, MAX_KERNEL, MAX_PADDING, MAX_TENSOR, Check

__all__ = ["Layer", "Shape", "Windowed"]

Shape = tuple[int, ...]
"""Of a tensor of activations: ``(n,)`` for a vector, ``(height, width, channels)`` for a map. In
memory the activations lie in this order, the last index the fastest."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer(ABC):
    """A layer: it makes one tensor of activations from one or several.

    Whatever its kind, it computes an exact integer for each activation, the accumulator, and
    requantises it: see :func:`golden.fixed.requantise`.

    Parameters
    ----------
    name : str
        Printable, 1 to 128 characters.
    output_radix : int
        Fraction bits of an output activation, -16 to 31.
    activation : str
        ``"none"`` or ``"relu"``.

    Raises
    ------
    ImageError
        If a field is wrong. The message names the layer and the field.
    """

    kind: ClassVar[str]
    """What the kind is called in an image."""
    sources: ClassVar[tuple[int, int]] = (1, 1)
    """Least and largest number of tensors that a layer of this kind takes."""

    name: str
    output_radix: int
    activation: str

    def __post_init__(self) -> None:
        check = self.check
        check.name(self)
        check.whole(self, "output_radix", -16, 31)
        check.require(
            isinstance(self.activation, str) and self.activation in ACTIVATIONS,
            f"activation must be one of {ACTIVATIONS}, not {brief(self.activation)}",
        )

    @property
    def check(self) -> Check:
        """Refuses what is wrong with this layer."""
        return Check(f"layer {brief(self.name)}: ")

    @abstractmethod
    def output_shape(self, *shapes: Shape) -> Shape:
        """Shape of what it puts out, from those of its sources.

        Raises
        ------
        ImageError
            If it does not fit them. The message names the layer and the field.
        """

    @abstractmethod
    def accumulator_radix(self, *radixes: int) -> int:
        """Fraction bits of an accumulator, from those of its sources.

        Raises
        ------
        ImageError
            If the layer cannot join them. The message names the layer and the field.
        """

    @abstractmethod
    def accumulator_bits(self, activation_width: int, *radixes: int) -> int:
        """Bits of a two's complement accumulator that no input can overflow.

        Parameters
        ----------
        activation_width : int
            Bits of the activations it takes.
        radixes : int
            Fraction bits of its sources. Only an addition depends on them.
        """


@dataclass(frozen=True, eq=False, kw_only=True)
class Windowed(Layer):
    """A layer that moves a window over a feature map.

    Parameters
    ----------
    kernel : tuple of int, ``(height, width)``
        Size of the window, 1 to 1024.
    stride : tuple of int, ``(height, width)``
        Steps from one window to the next, 1 to 1024.
    padding : tuple of int, ``(top, left, bottom, right)``
        Rows and columns that the map is enlarged by, 0 to 1023.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check = self.check
        for field, count, low, high in (
            ("kernel", 2, 1, MAX_KERNEL),
            ("stride", 2, 1, MAX_KERNEL),
            ("padding", 4, 0, MAX_PADDING),
        ):
            numbers = check.wholes(field, getattr(self, field), (count,), low, high)
            object.__setattr__(self, field, numbers)

    def map_shape(self, *shapes: Shape) -> Shape:
        """Shape of its only source, which has to be a feature map."""
        (shape,) = shapes
        self.check.require(
            len(shape) == 3,
            f"sources must be a feature map (height, width, channels), not of shape {shape!r}",
        )
        return shape

    def positions(self, *shapes: Shape, ceil: bool = False) -> tuple[int, int]:
        """Rows and columns of windows in its source.

        Parameters
        ----------
        shapes : Shape
            That of its only source.
        ceil : bool
            Whether a last window may reach over the padding, as long as it starts before.
        """
        height, width, channels = self.map_shape(*shapes)
        found = []
        size = channels
        for axis, length in enumerate((height, width)):
            kernel, stride = self.kernel[axis], self.stride[axis]
            before, after = self.padding[axis], self.padding[axis + 2]
            count = (length + before + after - kernel + (stride - 1 if ceil else 0)) // stride + 1
            if ceil and (count - 1) * stride >= length + before:
                count -= 1
            self.check.require(
                count >= 1,
                f"kernel must fit its source of shape {(height, width, channels)!r}, padded, "
                f"which {self.kernel!r} does not",
            )
            found.append(count)
            size *= max(length + before + after, (count - 1) * stride + kernel)
        self.check.require(
            size <= MAX_TENSOR,
            f"padding must leave at most {MAX_TENSOR} activations, not {size}",
        )
        return found[0], found[1]
