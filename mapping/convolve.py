"""3x3 convolutions of feature maps on :mod:`hdl.maps.convolve`."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from golden.errors import FitError
from golden.layers import Convolution, Layer, Shape
from hdl.configuration import Configuration
from hdl.maps.feed import Feed
from hdl.maps.memory import OnChip
from hdl.maps.walk import Route, Walk
from hdl.winograd.parameters import BIAS_WIDTH, Parameters
from mapping import winograd
from mapping.maps import Map, Rectangle, windows

__all__ = ["WinogradPlan", "blocks", "lay_out_winograd", "positions", "takes"]


@dataclass(frozen=True, eq=False)
class WinogradPlan:
    """A convolution on the Winograd unit."""

    layer: winograd.Convolution
    descriptor: dict[str, int]
    """Fields of the unit's :class:`~hdl.winograd.parameters.Descriptor`."""
    items: np.ndarray
    """Biases, values of the codebook and beats of weights, int64 ``(items,)``, as a
    :class:`~hdl.maps.feed.Feed` has them in memory."""
    beats: int
    """How many of them are weights, which are read again for each band."""
    cycles: int
    """Of a stage, if a word of a map is read as soon as it can be, as on the chip."""


class _Blocks(NamedTuple):
    """What :func:`~mapping.maps.windows` is to know of windows that are blocks."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


def takes(layer: Layer) -> bool:
    """Whether a layer is of the kind: 3x3, stride 1, one group, a padding of 0 or 1 all around."""
    return (
        isinstance(layer, Convolution)
        and layer.kernel == (3, 3)
        and layer.stride == (1, 1)
        and layer.groups == 1
        and layer.padding in ((0,) * 4, (1,) * 4)
    )


def lay_out_winograd(
    layer: Convolution,
    configuration: Configuration,
    shape: Shape,
    order: np.ndarray,
    *,
    shift: int,
    activation_width: int,
) -> WinogradPlan:
    """A convolution that the unit :func:`takes`, laid out.

    Parameters
    ----------
    layer : Convolution
    configuration : Configuration
        With a ``winograd`` unit.
    shape : tuple of int, ``(height, width, channels)``
        Of the map it takes.
    order : ndarray of int, ``(channels,)``
        Place of each channel in a pixel. The unit takes all places up to the last one.
    shift : int
        Bits that are dropped from a sum.
    activation_width : int
        Bits of an activation of the network.

    Raises
    ------
    FitError
        If the unit is too small for the layer. The message names what is.
    """
    c, p = configuration, configuration.winograd
    assert p is not None
    places = int(order.max()) + 1
    high = (1 << (activation_width - 1)) - 1
    told = winograd.Convolution(
        height=shape[0],
        width=shape[1],
        channels=places,
        kernels=layer.outputs,
        padding="same" if layer.padding[0] else "valid",
        shift=shift,
        low=0 if layer.activation == "relu" else -high - 1,
        high=high,
    )
    _check(layer, p, activation_width)
    descriptor = winograd.describe(told, p)

    codes = np.zeros((layer.outputs, 9, places), np.uint8)
    place, channel = np.divmod(layer.columns.astype(np.int64), layer.channels)
    codes[layer.rows, place, order[channel]] = layer.codes
    weights = codes.reshape(-1, 3, 3, places).transpose(0, 3, 1, 2)
    beats = winograd.beats(weights, p, 1)
    values = np.zeros(1 << p.code_width, np.int64)
    values[: len(layer.codebook)] = layer.codebook
    items = np.concatenate(
        [
            layer.bias.astype(np.int64) & ((1 << BIAS_WIDTH) - 1),
            values & ((1 << p.weight_width) - 1),
            (beats << p.number_width * np.arange(9)).sum(axis=1),
        ]
    )
    around = winograd.Words(lanes=c.scan_width, first=_FIRST, weights=_LATE)
    words = winograd.predict(told, p, around).words
    return WinogradPlan(told, descriptor, items, len(beats), words + _STAGE)


# Cycles from when a stage begins until its first word is taken; by which biases are late; and from
# its last word to its end, that from its beginning to the unit included.
_FIRST = Walk.LATENCY + OnChip.LATENCY
_LATE = Feed.LATENCY - 2
_STAGE = 1


def _check(layer: Convolution, p: Parameters, activation_width: int) -> None:
    """Refuse what has too many bits."""
    low, high = int(layer.codebook.min()), int(layer.codebook.max())
    needed = max(high.bit_length(), (~low).bit_length() if low < 0 else 0) + 1
    for name, bits, most in (
        ("weight_width", needed, p.weight_width),
        ("code_width", layer.code_width, p.code_width),
        ("sum_width", layer.accumulator_bits(activation_width), p.sum_width),
    ):
        assert most is not None
        if bits > most:
            raise FitError(f"{name} must be at least {bits} on this unit, not {most}")


def blocks(layout: Route, where: Map, tile: int) -> dict[str, Any]:
    """Route through the words of a map as the unit's blocks have them.

    Pixel by pixel of a block, row by row; then the next word of its pixels; then the next block.
    """
    high, wide = (-(-side // tile) for side in (where.height, where.width))
    every = Rectangle(0, 0, high, wide)
    sides = (tile, tile)
    return windows(layout, _Blocks(sides, sides), where, every, channels_last=False)


def positions(shape: Shape, words: int, tile: int, scan_width: int) -> np.ndarray:
    """Where each activation of a map is in the words that such a route goes through, flat int64."""
    height, width, channels = shape
    wide = -(-width // tile)
    (down, row), (right, column) = (np.divmod(np.arange(side), tile) for side in (height, width))
    word, lane = np.divmod(np.arange(channels), scan_width)
    block = (down[:, None] * wide + right)[:, :, None] * words + word
    pixel = (row[:, None] * tile + column)[:, :, None]
    return ((block * tile**2 + pixel) * scan_width + lane).ravel()
