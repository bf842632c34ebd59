"""Feature maps on :mod:`hdl.maps`: how they lie in memory, routes through them, what to fold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

import numpy as np

from golden.errors import FitError
from golden.layers import (
    Addition,
    AveragePooling,
    Concatenation,
    MaxPooling,
    Pooling,
    Shape,
    Windowed,
)
from hdl.maps.fold import Folding, Operation
from hdl.maps.walk import Route

__all__ = [
    "Loop",
    "Map",
    "Rectangle",
    "addition",
    "align",
    "folding",
    "pack",
    "pixels",
    "places",
    "rectangles",
    "route",
    "unpack",
    "whole",
    "windows",
    "words_of",
]

_Number = TypeVar("_Number", int, np.ndarray)
_POSITION = ("row", "column", "address")


@dataclass(frozen=True, kw_only=True)
class Map:
    """Where a feature map is: pixel by pixel, row by row, each pixel in whole words.

    Attributes
    ----------
    height, width : int
    words : int
        Of a pixel.
    base : int
        Address of the first word.
    pitch : int
        Words from one pixel to the next. More than ``words`` if this is a part of the channels.
    """

    height: int
    width: int
    words: int
    base: int
    pitch: int

    @classmethod
    def of(cls, shape: Shape, *, scan_width: int, base: int) -> "Map":
        """A map of ``shape``, (height, width, channels), from address ``base`` on."""
        height, width, channels = shape
        words = words_of(channels, scan_width)
        return cls(height=height, width=width, words=words, base=base, pitch=words)

    @property
    def size(self) -> int:
        """Words from the first one to behind the last one."""
        return (self.height * self.width - 1) * self.pitch + self.words

    def part(self, first: int, words: int) -> "Map":
        """Of each pixel, ``words`` from number ``first`` on."""
        if first < 0 or words < 1 or first + words > self.words:
            raise ValueError(
                f"words must be some of the {self.words} of a pixel, "
                f"not {words!r} from {first!r} on"
            )
        return replace(self, words=words, base=self.base + first)

    def address(self, row: int, column: int) -> int:
        """Of the first word of a pixel, which may be padding."""
        return self.base + (row * self.width + column) * self.pitch


class Rectangle(NamedTuple):
    """Some of the windows of a layer, or of the pixels of a map."""

    row: int
    column: int
    height: int
    width: int


class Loop(NamedTuple):
    """How often something is done, and how far each time is from the one before."""

    count: int
    row: int = 0
    column: int = 0
    address: int = 0


def words_of(channels: int, scan_width: int) -> int:
    """Words of a pixel."""
    return -(-channels // scan_width)


def pack(activations: np.ndarray, scan_width: int) -> np.ndarray:
    """Words of a map, ``(height * width * words, scan_width)``, from ``(height, width, channels)``.

    What is left of the last word of a pixel is 0.

    Examples
    --------
    >>> pack(np.arange(1, 7).reshape(1, 2, 3), 2).tolist()
    [[1, 2], [3, 0], [4, 5], [6, 0]]
    """
    rest = -activations.shape[2] % scan_width
    return np.pad(activations, ((0, 0), (0, 0), (0, rest))).reshape(-1, scan_width)


def unpack(words: np.ndarray, shape: Shape) -> np.ndarray:
    """A map of ``shape``, (height, width, channels), from its words."""
    height, width, channels = shape
    return words.reshape(height, width, -1)[:, :, :channels]


def route(
    layout: Route,
    loops: Sequence[Loop],
    *,
    inner: int,
    source: Map,
    row: int = 0,
    column: int = 0,
) -> dict[str, Any]:
    """Fields of a route.

    Parameters
    ----------
    layout : Route
        That of the :class:`~hdl.maps.walk.Walk` it is for.
    loops : sequence of Loop
        The innermost first.
    inner : int
        How many of them are a window.
    source : Map
    row, column : int
        Where the first place is.

    Raises
    ------
    FitError
        If the walk has too few levels or too few bits. The message names which.
    """
    bits, depth = layout["row"].width, 1 << layout["address"].width
    levels = layout["levels"].shape.length
    if len(loops) > levels:
        raise FitError(f"levels must be at least {len(loops)}, not {levels}")
    if source.base + source.size > depth:
        raise FitError(
            f"address_width must be at least {(source.base + source.size - 1).bit_length()} for a "
            f"map of {source.size} words at {source.base}, not {layout['address'].width}"
        )
    reach = [source.height, source.width, *(loop.count // 2 for loop in loops)]
    for axis, first in ("row", row), ("column", column):
        ways = [(loop.count - 1) * getattr(loop, axis) for loop in loops]
        reach += [first + sum(way for way in ways if way > 0)]
        reach += [-1 - first - sum(way for way in ways if way < 0)]
    if max(reach) >= 1 << (bits - 1):
        raise FitError(
            f"coordinate_width must be at least {max(reach).bit_length() + 1}, not {bits}"
        )

    levels_of = []
    gone = Loop(0)
    for loop in (*loops, *[Loop(1)] * (levels - len(loops))):
        step = {
            key: _wrapped(getattr(loop, key) - getattr(gone, key), layout[key].width)
            for key in _POSITION
        }
        levels_of.append({"count": loop.count, **step})
        gone = Loop(0, *(a + (loop.count - 1) * b for a, b in zip(gone[1:], loop[1:], strict=True)))
    return {
        "levels": levels_of,
        "inner": inner,
        "row": row,
        "column": column,
        "address": source.address(row, column) % depth,
        "height": source.height,
        "width": source.width,
    }


def places(layout: Route, fields: dict[str, Any]) -> dict[str, np.ndarray]:
    """What a walk tells for a route: fields of its places, ``(places,)`` each."""
    depth = 1 << layout["address"].width
    counts = [level["count"] for level in fields["levels"]]
    each = np.cumprod([1, *counts])
    # The highest level that goes on before a place is that whose inner ones are all through.
    number = np.arange(each[-1])
    found = {}
    for key in _POSITION:
        steps = np.zeros(len(number), np.int64)
        for level, size in zip(fields["levels"], each, strict=False):
            steps[number % size == 0] = level[key]
        steps[0] = fields[key]
        found[key] = _wrapped(np.cumsum(steps), layout[key].width)
    rows, columns = found.pop("row"), found.pop("column")
    found["address"] %= depth
    found["inside"] = (
        (rows >= 0) & (rows < fields["height"]) & (columns >= 0) & (columns < fields["width"])
    )
    found["ends_window"] = (number + 1) % each[fields["inner"]] == 0
    found["ends_route"] = number + 1 == each[-1]
    return found


def whole(layer: Windowed, shape: Shape) -> Rectangle:
    """All windows of a layer in a map of ``shape``."""
    ceil = isinstance(layer, Pooling) and layer.ceil_mode
    return Rectangle(0, 0, *layer.positions(shape, ceil=ceil))


def windows(
    layout: Route,
    layer: Windowed,
    source: Map,
    rectangle: Rectangle,
    *,
    channels_last: bool,
) -> dict[str, Any]:
    """Route through the windows of a layer.

    Parameters
    ----------
    layout : Route
    layer : Windowed
        Kernel, stride and padding.
    source : Map
        What the windows are in.
    rectangle : Rectangle
        Which of them.
    channels_last : bool
        Whether a window has all words of its pixels, each pixel's together, as convolution
        takes them; otherwise one word of each, and the windows of the words of a position follow
        each other, as pooling takes them.
    """
    pixel, line = source.pitch, source.pitch * source.width
    word = Loop(source.words, address=1)
    kernel = (Loop(layer.kernel[1], column=1, address=pixel), Loop(layer.kernel[0], 1, 0, line))
    down, right = layer.stride
    positions = (
        Loop(rectangle.width, 0, right, right * pixel),
        Loop(rectangle.height, down, 0, down * line),
    )
    within = (word, *kernel) if channels_last else (*kernel, word)
    return route(
        layout,
        (*within, *positions),
        inner=3 if channels_last else 2,
        source=source,
        row=rectangle.row * down - layer.padding[0],
        column=rectangle.column * right - layer.padding[1],
    )


def pixels(layout: Route, source: Map, rectangle: Rectangle | None = None) -> dict[str, Any]:
    """Route through the words of a map, or of a rectangle of it; each word is a window."""
    row, column, height, width = rectangle or Rectangle(0, 0, source.height, source.width)
    loops = (
        Loop(source.words, address=1),
        Loop(width, 0, 1, source.pitch),
        Loop(height, 1, 0, source.pitch * source.width),
    )
    return route(layout, loops, inner=0, source=source, row=row, column=column)


def addition(layout: Route, first: Map, second: Map) -> dict[str, Any]:
    """Route through the words of two maps of one shape, in turns; each pair is a window.

    Raises
    ------
    FitError
        As :func:`route` does.
    ValueError
        If the maps are not alike.
    """
    if replace(second, base=first.base) != first:
        raise ValueError(f"second must be like first, {first!r}, not {second!r}")
    loops = (
        Loop(2, address=second.base - first.base),
        Loop(first.words, address=1),
        Loop(first.width, 0, 1, first.pitch),
        Loop(first.height, 1, 0, first.pitch * first.width),
    )
    # Whichever is higher has to fit.
    pixels(layout, second)
    return route(layout, loops, inner=1, source=first)


def rectangles(layer: Pooling, shape: Shape) -> list[tuple[Rectangle, int]]:
    """The windows of a pooling layer, in rectangles with one factor each.

    Windows at the edges of a map can have fewer activations that count than others, and the factor
    of a mean is one over their number. That of a maximum is 1.

    Examples
    --------
    >>> pool = AveragePooling(
    ...     name="pool", output_radix=0, activation="none", kernel=(2, 2), stride=(2, 2),
    ...     ceil_mode=True, weight_radix=8)
    >>> [(tuple(rectangle), factor) for rectangle, factor in rectangles(pool, (4, 5, 1))]
    [((0, 0, 2, 2), 64), ((0, 2, 2, 1), 128)]
    """
    if not isinstance(layer, AveragePooling):
        return [(whole(layer, shape), 1)]
    rows, columns = (_runs(counts) for counts in layer.areas(shape))
    return [
        (Rectangle(row, column, height, width), layer.reciprocal(high * wide))
        for row, height, high in rows
        for column, width, wide in columns
    ]


def align(layer: Addition, *radixes: int) -> tuple[tuple[int, int], int]:
    """Which source of an addition comes first, and the factor that aligns it with the other.

    Examples
    --------
    >>> both = Addition(name="both", output_radix=0, activation="none")
    >>> align(both, 3, 5), align(both, 5, 3)
    (((0, 1), 4), ((1, 0), 4))
    """
    left, right = layer.alignment(*radixes)
    return ((0, 1), 1 << left) if left >= right else ((1, 0), 1 << right)


_OPERATIONS = {
    MaxPooling: Operation.GREATEST,
    AveragePooling: Operation.SUM,
    Addition: Operation.ADD,
    # Each of its sources is brought to its place, a word a window.
    Concatenation: Operation.GREATEST,
}


def folding(
    layout: Folding,
    layer: Pooling | Addition | Concatenation,
    *,
    factor: int,
    shift: int,
    width: int,
) -> dict[str, Any]:
    """Fields of a folding.

    Parameters
    ----------
    layout : Folding
        That of the :class:`~hdl.maps.fold.Fold` it is for.
    layer : Pooling, Addition or Concatenation
    factor : int
        As :func:`rectangles` or :func:`align` has it. For a concatenation 1.
    shift : int
        Fraction bits that an accumulator has more than an output activation.
    width : int
        Bits of an activation.

    Raises
    ------
    FitError
        If the unit has too few bits. The message names for what.
    """
    factor_width, accumulator_width = layout["factor"].width, layout.accumulator_width
    if factor >= 1 << (factor_width - 1):
        raise FitError(
            f"factor_width must be at least {factor.bit_length() + 1}, not {factor_width}"
        )
    area = layer.area if isinstance(layer, AveragePooling) else 1
    least = max(((area << (width - 1)) - 1).bit_length() + 1, shift + 1 - factor_width)
    if least > accumulator_width:
        raise FitError(f"accumulator_width must be at least {least}, not {accumulator_width}")
    high = (1 << (width - 1)) - 1
    return {
        "operation": _OPERATIONS[type(layer)],
        "factor": factor,
        "shift": shift,
        "low": 0 if layer.activation == "relu" else -high - 1,
        "high": high,
    }


def _wrapped(number: _Number, bits: int) -> _Number:
    """The number of two's complement that has the same lowest ``bits``."""
    half = 1 << (bits - 1)
    return (number + half) % (2 * half) - half


def _runs(counts: Sequence[int]) -> list[tuple[int, int, int]]:
    """Where each run of equal numbers begins, how long it is, and of which number."""
    runs = []
    begin = 0
    for count, group in groupby(counts):
        length = len(list(group))
        runs.append((begin, length, count))
        begin += length
    return runs
