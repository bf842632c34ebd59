"""What a Winograd unit is built for, and how it is told about a layer."""

from dataclasses import dataclass
from functools import cached_property

from amaranth import *
from amaranth.lib import data
from amaranth.utils import ceil_log2

from hdl.multiplier import Multiplier
from hdl.ram import Ram
from hdl.winograd.transforms import INPUTS, OUTPUTS, SHIFTS, WEIGHTS, moduli, widths

__all__ = ["BIAS_WIDTH", "TAPS", "Block", "Descriptor", "Parameters"]

BIAS_WIDTH = 32
TAPS = 9
"""Weights of a kernel and channel."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Size of a unit.

    Attributes
    ----------
    tile : int
        Results on a side of a tile, 2 or 4. Or 1, which is direct convolution, to compare with: it
        takes layers with padding only.
    kernels : int
        Output channels at a time, at most 16. Each takes ``size**2`` multipliers.
    drains : int
        Units that take sums from kernels. A tile takes at least :attr:`least` cycles, which is a
        matter of kernels to a drain.
    activation_width : int
        Bits of an activation, 8 to 16. With a ``tile`` of 4, at most 11.
    weight_width : int
        Bits of a weight, or of a value of the codebook. At most 14, or with a ``tile`` of 4, 12.
    code_width : int or None
        Bits of a weight's code, 2 to 6. None if weights come as they are.
    sum_width : int
        Bits that a result has to fit before it is rounded, bias included.
    window_depth : int
        Blocks of the input that are kept, each of one channel. A power of two.
    channel_depth : int
        Most input channels.
    kernel_depth : int
        Most output channels, filled up to a multiple of ``kernels``.
    band_depth : int
        Most tiles that share a reading of weights.
    output_depth : int
        Blocks of the output that are kept for each drain, half of them of one band. A power of
        two.
    longest : int
        Most rows and columns of an image.
    pairs : bool
        Whether layers can be *paired*: their weights are in the Winograd domain, and at each
        position one of a pair of channels has none. A step takes both channels, and each product
        one of them. All layers have an even number of channels then.
    """

    tile: int
    kernels: int
    drains: int = 1
    activation_width: int = 8
    weight_width: int = 8
    code_width: int | None = None
    sum_width: int = 24
    window_depth: int = 1024
    channel_depth: int = 64
    kernel_depth: int = 64
    band_depth: int = 16
    output_depth: int = 1024
    longest: int = 255
    pairs: bool = False

    def __post_init__(self):
        if self.tile not in INPUTS or isinstance(self.tile, bool):
            raise ValueError(f"tile must be one of {tuple(INPUTS)}, not {self.tile!r}")
        bounds = {
            "kernels": (1, 16),
            "drains": (1, 16),
            "weight_width": (2, 16),
            "activation_width": (8, 16),
            "sum_width": (9, 48),
            "window_depth": (16, Ram.DEEPEST),
            "channel_depth": (2, Ram.DEEPEST // 2),
            "kernel_depth": (2, Ram.DEEPEST // 2),
            "band_depth": (1, 1 << 16),
            "output_depth": (4, Ram.DEEPEST),
            "longest": (3, 1 << 16),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise TypeError(f"{name} must be an integer from {low} to {high}, not {value!r}")
        if not isinstance(self.pairs, bool):
            raise TypeError(f"pairs must be a bool, not {self.pairs!r}")
        if self.pairs and self.tile == 1:
            raise ValueError("pairs must be False with a tile of 1, which transforms nothing")
        if self.sum_width <= self.activation_width:
            raise ValueError(
                f"sum_width must be more than activation_width ({self.activation_width}), "
                f"not {self.sum_width}"
            )
        if self.code_width not in (None, 2, 3, 4, 5, 6):
            raise ValueError(f"code_width must be None or 2 to 6, not {self.code_width!r}")
        if self.drains > self.kernels:
            raise ValueError(f"drains must be at most kernels ({self.kernels}), not {self.drains}")
        for name in "window_depth", "output_depth":
            if getattr(self, name) & (getattr(self, name) - 1):
                raise ValueError(f"{name} must be a power of two, not {getattr(self, name)}")
        for name, width, factors in (
            ("activation_width", self.activation_width, self.value_widths),
            ("weight_width", self.weight_width, self.product_weight_widths),
        ):
            if max(factors) > Multiplier.WIDEST:
                raise ValueError(
                    f"{name} must be such that factors have at most {Multiplier.WIDEST} bits, "
                    f"not {width}, which takes {max(factors)}"
                )

    @property
    def size(self):
        """Inputs on a side of a tile."""
        return self.tile + 2

    @property
    def ways(self):
        """Channels in a step, at most."""
        return 2 if self.pairs else 1

    @property
    def number_width(self):
        """Bits of each number of a beat of weights."""
        return (self.code_width or self.weight_width) + self.pairs

    @property
    def parts_of_weights(self):
        """Beats of nine that the weights of a paired layer take, for a kernel and two channels."""
        return -(-(self.size**2) // TAPS)

    @property
    def per_drain(self):
        """Kernels to a drain. The last one can have fewer."""
        return -(-self.kernels // self.drains)

    @property
    def groups(self):
        """Most groups of kernels of a layer."""
        return -(-self.kernel_depth // self.kernels)

    @property
    def least(self):
        """Cycles that a tile takes at least: sums leave kernels row by row, one a cycle.

        And six are what the walk takes to the next one.
        """
        return max(6, self.per_drain * self.size)

    @property
    def lanes(self):
        """Results that a drain rounds in a cycle.

        It has a column of them in ``tile`` of every ``size`` cycles; one after another if the
        cycles suffice for that.
        """
        return 1 if self.tile**2 <= self.size else self.tile

    @property
    def parts(self):
        """Cycles that it takes for a block."""
        return self.tile**2 // self.lanes

    @property
    def spare(self):
        """How many times two divides what a result is multiplied by, until it is divided."""
        return SHIFTS[self.tile]

    @cached_property
    def value_widths(self):
        """Bits of each transformed input."""
        return widths(INPUTS[self.tile], self.activation_width)

    @cached_property
    def product_weight_widths(self):
        """Bits of each transformed weight."""
        return widths(WEIGHTS[self.tile], self.weight_width)

    @cached_property
    def sum_widths(self):
        """Bits of each accumulator, and of what the rows and the columns' steps take of it.

        Modulo two to the power of the last one all is exact; an operand that counts twice or more
        has to be so many bits less.
        """
        bits = [self.sum_width + self.spare] * self.tile
        for matrix in reversed(OUTPUTS[self.tile]):
            bits = moduli(matrix, bits)
        lost = [self.sum_width + self.spare - width for width in bits]
        return [[self.sum_width + self.spare - x - y for y in lost] for x in lost]

    @cached_property
    def row_widths(self):
        """Bits of the widest sums of each column."""
        return [max(widths) for widths in zip(*self.sum_widths, strict=True)]


class Block(data.ArrayLayout):
    """``tile`` rows and columns of a channel of an image: ``[row][column]``.

    Blocks are aligned to the first row and column. What a block has beyond the last ones means
    nothing.

    Parameters
    ----------
    parameters : Parameters
    """

    def __init__(self, parameters):
        p = parameters
        super().__init__(data.ArrayLayout(signed(p.activation_width), p.tile), p.tile)


class Descriptor(data.StructLayout):
    """A layer. :func:`mapping.winograd.describe` makes one.

    Of these, height, width, channels, kernels, pads, shift, low and high are the layer; all others
    follow from them and spare the hardware multiplications.

    Parameters
    ----------
    parameters : Parameters
    """

    def __init__(self, parameters):
        p = parameters
        tiles = range(-(-p.longest // p.tile) + 1)
        groups = range(p.groups + 1)
        window = ceil_log2(p.window_depth)
        super().__init__(
            {
                "height": range(p.longest + 1),
                "width": range(p.longest + 1),
                "channels": range(p.channel_depth + 1),
                "kernels": range(p.kernel_depth + 1),
                "pads": 1,  # with zeros all around, so that results are as many as inputs
                "shift": range(p.sum_width),
                "low": signed(p.activation_width),
                "high": signed(p.activation_width),
                "rows": tiles,  # of tiles
                "columns": tiles,
                "skips": 1,  # whether rows have a block more than tiles
                "blocks": 2 * len(Const(0, tiles)) + ceil_log2(p.channel_depth + 1),  # of the input
                "pitch": window,  # blocks of a row
                "ahead": window,  # blocks from the first one of a band to the last that it needs
                "groups": groups,  # of kernels
                "band": range(p.band_depth + 1),  # tiles of every band but the last
                "bands": 2 * len(Const(0, tiles)),
                "stride": range(p.output_depth // 2 + 1),  # of a tile in the memory of a drain
            }
            | ({"paired": 1} if p.pairs else {})
        )
