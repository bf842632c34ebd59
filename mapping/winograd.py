"""A 3x3 convolution on a unit of :mod:`hdl.winograd`: its descriptor, its beats, its cycles."""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from golden.errors import FitError
from hdl.ram import Ram
from hdl.winograd.collect import Collect
from hdl.winograd.drain import Drain
from hdl.winograd.kernel import Kernel
from hdl.winograd.parameters import Parameters
from hdl.winograd.transforms import INPUTS, WEIGHTS, Transform
from hdl.winograd.walk import Steps
from hdl.winograd.weights import Weights
from hdl.winograd.windows import Windows

__all__ = ["Convolution", "Prediction", "Words", "beats", "blocks", "describe", "image", "predict"]

TAPS = 3
# Cycles, about, from when weights are done with until others can take their place and be used.
_TURN = 16


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A layer: 3x3 kernels, stride 1.

    Attributes
    ----------
    height, width, channels : int
        Of the input. Without padding, at least 3 high and wide.
    kernels : int
        Output channels.
    padding : str
        ``"same"`` or ``"valid"``.
    shift : int
        Bits that are dropped from a sum.
    low, high : int
        Bounds of a result.
    paired : bool
        Whether weights are in the Winograd domain, and at each position one of a pair of channels
        has none.
    """

    height: int
    width: int
    channels: int
    kernels: int
    padding: str
    shift: int
    low: int
    high: int
    paired: bool = False

    def __post_init__(self) -> None:
        if self.padding not in ("same", "valid"):
            raise ValueError(f"padding must be 'same' or 'valid', not {self.padding!r}")
        least = 1 if self.padding == "same" else TAPS
        for name in "height", "width":
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)!r}")
        for name in "channels", "kernels":
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if not isinstance(self.paired, bool):
            raise TypeError(f"paired must be True or False, not {self.paired!r}")
        if self.paired and self.channels % 2:
            raise ValueError(f"channels must be even in a paired layer, not {self.channels!r}")
        if self.low > self.high:
            raise ValueError(f"low must be at most high, {self.high!r}, not {self.low!r}")

    @property
    def results(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        lost = 0 if self.padding == "same" else TAPS - 1
        return self.height - lost, self.width - lost

    @property
    def steps(self) -> int:
        """Of a tile and group of kernels: channels, or pairs of them."""
        return self.channels // 2 if self.paired else self.channels

    @property
    def products(self) -> int:
        """Products that a direct convolution takes, those with the padding included."""
        rows, columns = self.results
        return rows * columns * self.channels * self.kernels * TAPS**2


def describe(layer: Convolution, parameters: Parameters) -> dict[str, int]:
    """Fields of the :class:`~hdl.winograd.parameters.Descriptor` of a layer.

    A band has as many tiles as the memories allow while the input of the next one comes in; or
    fewer, if the last one would otherwise be so short that it waits for weights.

    Raises
    ------
    FitError
        If the unit is too small for the layer. The message names what is.
    """
    p = parameters
    _check(layer, p)
    rows, columns = (-(-results // p.tile) for results in layer.results)
    high, wide = (-(-length // p.tile) for length in (layer.height, layer.width))
    groups = -(-layer.kernels // p.kernels)
    stride = groups * p.per_drain
    pitch = wide * layer.channels
    tiles = rows * columns

    def ahead(band: int) -> int:
        """Blocks from the first one of a band to the last that it needs, at most."""
        begins = np.arange(0, tiles, band)
        ends = np.minimum(begins + band, tiles) - 1
        first, last = (tile // columns * wide + tile % columns for tile in (begins, ends))
        return int((last - first).max() + 2) * layer.channels + pitch

    def room(band: int, *, waits: bool) -> bool:
        """Whether there is room for a band's blocks, or, unless it waits, for two bands'."""
        most = ahead(band) + pitch + 3 * layer.channels + 2 * Windows.MARGIN
        if not waits:
            # From the first tile of one to that of the next, at most.
            most += (band + -(-band // columns) * (wide - columns)) * layer.channels
        return most <= p.window_depth

    longest = min(p.band_depth, tiles, p.output_depth // 2 // stride)
    if longest < 1:
        raise FitError(
            f"output_depth must be at least {2 << (stride - 1).bit_length()} for "
            f"{layer.kernels} kernels, not {p.output_depth}"
        )
    fitting = [band for band in range(1, longest + 1) if room(band, waits=False)]
    fitting = fitting or [band for band in range(1, longest + 1) if room(band, waits=True)]
    if not fitting:
        least = ahead(1) + pitch + 3 * layer.channels + 2 * Windows.MARGIN
        raise FitError(
            f"window_depth must be at least {1 << (least - 1).bit_length()} for "
            f"{layer.width} columns and {layer.channels} channels, not {p.window_depth}"
        )
    # A group of kernels takes as long as its tiles, or as the weights of another one.
    length = max(layer.steps, p.least)
    load = p.kernels * _beats(layer, p) + _TURN

    def cycles(band: int) -> int:
        whole, rest = divmod(tiles, band)
        return whole * max(band * length, load) + (max(rest * length, load) if rest else 0)

    band = min(reversed(fitting), key=cycles)
    return {
        "height": layer.height,
        "width": layer.width,
        "channels": layer.channels,
        "kernels": layer.kernels,
        "pads": int(layer.padding == "same"),
        "shift": layer.shift,
        "low": layer.low,
        "high": layer.high,
        "rows": rows,
        "columns": columns,
        "skips": wide - columns,
        "blocks": high * pitch,
        "pitch": pitch,
        "ahead": ahead(band),
        "groups": groups,
        "band": band,
        "bands": -(-tiles // band),
        "stride": stride,
    } | ({"paired": int(layer.paired)} if p.pairs else {})


def blocks(image: np.ndarray, tile: int) -> np.ndarray:
    """An image as blocks, in the order of the streams.

    Parameters
    ----------
    image : ndarray of int, ``(channels, height, width)``
    tile : int
        Rows and columns of a block.

    Returns
    -------
    ndarray of int, ``(blocks, tile, tile)``
        What is beyond the image is 0.
    """
    channels, *lengths = image.shape
    high, wide = (-(-length // tile) for length in lengths)
    whole = np.zeros((channels, high * tile, wide * tile), image.dtype)
    whole[:, : lengths[0], : lengths[1]] = image
    parts = whole.reshape(channels, high, tile, wide, tile)
    return parts.transpose(1, 3, 0, 2, 4).reshape(-1, tile, tile)


def image(blocks: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image that :func:`blocks` makes these blocks of.

    Parameters
    ----------
    blocks : ndarray of int, ``(blocks, tile, tile)``
    height, width : int

    Returns
    -------
    ndarray of int, ``(channels, height, width)``
    """
    tile = blocks.shape[1]
    high, wide = (-(-length // tile) for length in (height, width))
    parts = blocks.reshape(high, wide, -1, tile, tile).transpose(2, 0, 3, 1, 4)
    return parts.reshape(-1, high * tile, wide * tile)[:, :height, :width]


def beats(weights: np.ndarray, parameters: Parameters, bands: int) -> np.ndarray:
    """Weights, or their codes, in the order of the stream.

    Parameters
    ----------
    weights : ndarray of int, ``(kernels, channels, 3, 3)``
        Or those of a paired layer, ``(kernels, channels, tile + 2, tile + 2)``.
    parameters : Parameters
    bands : int
        Of the layer; see :func:`describe`.

    Returns
    -------
    ndarray of int64, ``(beats, 9)``
        Numbers of ``number_width`` bits, without a sign.

    Raises
    ------
    ValueError
        If the shape is another one, weights do not fit the unit, or both channels of a pair have a
        weight at the same position.
    """
    p = parameters
    width = p.code_width or p.weight_width
    low = 0 if p.code_width else -(1 << (width - 1))
    high = low + (1 << width) - 1
    channels = weights.shape[1]
    paired = p.pairs and weights.shape[2:] == (p.size, p.size)
    if not paired and weights.shape[2:] != (TAPS, TAPS):
        raise ValueError(
            f"weights must be of shape (kernels, channels, {TAPS}, {TAPS}) for this unit, "
            f"not {weights.shape}"
        )
    if weights.min() < low or weights.max() > high:
        raise ValueError(f"weights must be {low} to {high}, not {weights.min()} to {weights.max()}")
    numbers = weights.astype(np.int64) & ((1 << width) - 1)
    if paired:
        if channels % 2:
            raise ValueError(f"channels must be even, not {channels!r}")
        first, second = numbers[:, 0::2], numbers[:, 1::2]
        if both := np.argwhere(np.logical_and(first, second)).tolist():
            kernel, pair, row, column = both[0]
            raise ValueError(
                "weights must have a zero in one of each pair of channels, not in none as at "
                f"row {row} and column {column} of channels {2 * pair} and {2 * pair + 1}, "
                f"kernel {kernel}"
            )
        numbers = np.where(second, second | 1 << width, first).reshape(*first.shape[:2], -1)
        numbers = np.pad(numbers, ((0, 0), (0, 0), (0, -(p.size**2) % TAPS**2)))
    groups = [
        numbers[first : first + p.kernels].swapaxes(0, 1).reshape(-1, TAPS**2)
        for first in range(0, len(numbers), p.kernels)
    ]
    return np.tile(np.concatenate(groups), (bands, 1))


@dataclass(frozen=True)
class Words:
    """What is around a unit whose blocks are made of words of feature maps, and turned into these.

    See :class:`hdl.maps.convolve.Convolve`. Words are read and written one a cycle.
    """

    lanes: int
    """Channels in a word."""
    first: int
    """Cycles from when the unit takes the descriptor until the first word is taken."""
    weights: int
    """Cycles by which the first bias is late."""


@dataclass(frozen=True)
class Prediction:
    """Cycles of a layer, if nothing else is on its way and no stream ever waits outside."""

    steps: int
    """Tiles times groups of kernels times channels, or pairs of them, or ``least`` if those are
    fewer."""
    cycles: int
    """From the first tile to the last result: how long the unit is busy."""
    first: int
    """Cycles from when the unit takes the descriptor until it is busy."""
    words: int
    """Cycles from then until the last word has left, if it makes words."""


def predict(layer: Convolution, parameters: Parameters, around: Words | None = None) -> Prediction:
    """How long a layer takes, exactly.

    A tile takes as many steps as there are channels, or pairs of them. It can be kept waiting by
    its input, a block a cycle; by weights, a kernel's for a channel a cycle, where a band has
    hardly more tiles than a group has kernels; and by room for results. If it never is, cycles are
    steps and the way through the unit, which is at most 64.

    Parameters
    ----------
    layer : Convolution
    parameters : Parameters
    around : Words, optional
        What its blocks come from and go to. Without, they come and go one a cycle.

    Raises
    ------
    FitError
        If the unit is too small for the layer.
    """
    p = parameters
    fields = describe(layer, p)
    way = _Way(p)
    length = max(layer.steps, p.least)
    tiles = fields["rows"] * fields["columns"]
    wide = fields["columns"] + fields["skips"]
    loads = [
        _beats(layer, p) * min(p.kernels, layer.kernels - first)
        for first in range(0, layer.kernels, p.kernels)
    ]
    back = fields["pitch"] + 3 * layer.channels
    limit = p.window_depth - Windows.MARGIN - back

    values = 0 if p.code_width is None else 1 << p.code_width
    late = 0 if around is None else around.weights
    loaded = 3 + late + layer.kernels + values + Weights.START  # before weights can be taken
    began_load = _NEVER
    frees: list[int] = []  # cycles in which weights are done with
    rooms: list[int] = []  # and those in which results are gone
    blocks = _Arrivals() if around is None else _Turned(p, layer.channels, around)
    results = _Results() if around is None else _Written(p, layer.kernels, around)
    taken = began = _NEVER
    for first in range(0, tiles, fields["band"]):
        number = min(fields["band"], tiles - first)
        begin = (first // fields["columns"] * wide + first % fields["columns"]) * layer.channels
        # When the last tile of the band before is taken, its blocks are up to be given up.
        blocks.advance(begin + limit, since=taken + 4)
        needed = blocks.time(min(begin + fields["ahead"], fields["blocks"]) - 1)
        for load in loads:
            began_load = max(loaded, began_load + Weights.LEAST)
            loaded = began_load + load
            if len(frees) > 1:
                loaded = max(loaded, frees[-2] + Weights.TURN + load)
            waits = [taken + 4, loaded + way.weights, 5]
            if load is loads[0] and len(frees) % len(loads) == 0:
                waits += [needed + 3, *([rooms[-2] + 1] if len(rooms) > 1 else [])]
            told = max(waits) + 2
            began = told if began == _NEVER else began
            taken = max(told, taken + length) + (number - 1) * length
            frees.append(taken + Steps.LATENCY)
        done = taken + layer.steps + way.result
        rooms.append(results.read(done, number * layer.kernels))
    return Prediction(tiles * len(loads) * length, done + 1 - began, began, results.last)


# Before the first tile was taken.
_NEVER = -(1 << 40)


class _Way:
    """Cycles between what happens in the unit."""

    def __init__(self, p: Parameters) -> None:
        to_kernels = Windows.LATENCY + Transform.latency(INPUTS[p.tile])
        # From the last beat of a group until a tile can be told.
        self.weights = 1 + Transform.latency(WEIGHTS[p.tile])
        # From when a tile is taken, less its channels, until its last result is there.
        steps = Steps.LATENCY - 1
        last = (p.drains - 1) * p.per_drain + Kernel.LATENCY - Drain.AHEAD + Drain.latency(p)
        self.result = steps + to_kernels + last + (p.per_drain - 1) * p.size + p.parts - 1


class _Arrivals:
    """Blocks, one a cycle from cycle 4 on, as long as there is room.

    Whether there is room is known two cycles late.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []  # of runs, the first block
        self.begins: list[int] = []  # and its cycle
        self.count = 0
        self.times = (_NEVER, _NEVER)  # of the last two

    def advance(self, limit: int, *, since: int) -> None:
        """Take blocks while fewer than ``limit`` had been two cycles before, after ``since``."""
        while True:
            offered, offers = self.offer()
            time = max(self.times[1] + 1, since + 2, offered)
            before = self.count - sum(then >= time - 2 for then in self.times)
            if before >= limit:
                return
            # Up to the limit itself nothing changes.
            number = min(max(limit - self.count, 1), offers)
            self.starts.append(self.count)
            self.begins.append(time)
            self.count += number
            last = time + number - 1
            self.times = (last - 1 if number > 1 else self.times[1], last)
            self.take(number, last)

    def offer(self) -> tuple[int, int]:
        """From which cycle on the next blocks are on offer, and how many there are."""
        return 4, 1 << 40

    def take(self, number: int, last: int) -> None:
        """So many of them are taken, up to cycle ``last``."""

    def time(self, block: int) -> int:
        """Cycle in which a block is taken."""
        run = bisect_right(self.starts, block) - 1
        return self.begins[run] + block - self.starts[run]


class _Turned(_Arrivals):
    """Blocks that words are turned into: those of a word's channels at a time."""

    def __init__(self, p: Parameters, channels: int, around: Words) -> None:
        super().__init__()
        self.pixels = p.tile**2
        self.sizes = cycle(_pieces(channels, around.lanes))
        self.full = around.first + self.pixels  # when the words of the next ones are there
        self.left = 0
        self._turn(self.full)

    def _turn(self, time: int) -> None:
        """What is there moves on in the cycle ``time``, and the next words begin to come."""
        self.left = next(self.sizes)
        self.offered = time + 1
        self.full = time + 1 + self.pixels

    def offer(self) -> tuple[int, int]:
        return self.offered, self.left

    def take(self, number: int, last: int) -> None:
        self.left -= number
        if not self.left:
            self._turn(max(last, self.full))


class _Results:
    """Results that leave, a block a cycle."""

    def __init__(self) -> None:
        self.last = 0

    def read(self, done: int, number: int) -> int:
        """Cycle in which there is room again for a band of ``number`` blocks, done in ``done``.

        Bands are read one after another, and each some cycles after it is there.
        """
        self.last = max(done, self.last) + 4 + number
        return self.last


class _Written(_Results):
    """Results that are turned into words, those of a word's channels at a time."""

    # From when a block is read until it can be taken.
    _WAY = Ram.LATENCY + 2

    def __init__(self, p: Parameters, kernels: int, around: Words) -> None:
        super().__init__()
        self.pixels = p.tile**2
        self.sizes = cycle(_pieces(kernels, around.lanes))
        self.left = next(self.sizes)
        self.issued = 0
        self.taken = deque([_NEVER] * Collect.ROOM, Collect.ROOM)
        self.free = 0  # when the next block can be taken

    def read(self, done: int, number: int) -> int:
        self.issued = max(done, self.issued + 1) + 3
        for _ in range(number):
            # A block is read when there is room for it in the queue.
            self.issued = max(self.issued + 1, self.taken[0] + 1)
            time = max(self.issued + self._WAY, self.taken[-1] + 1, self.free)
            self.taken.append(time)
            self.left -= 1
            if not self.left:
                self.left = next(self.sizes)
                turned = max(time + 1, self.last)
                self.last = turned + self.pixels
                self.free = turned + 1
        return self.issued + 1


def _pieces(channels: int, lanes: int) -> list[int]:
    """Channels of each word of a place."""
    return [min(lanes, channels - first) for first in range(0, channels, lanes)]


def _beats(layer: Convolution, p: Parameters) -> int:
    """Beats of weights of a kernel."""
    return layer.steps * (p.parts_of_weights if layer.paired else 1)


def _check(layer: Convolution, p: Parameters) -> None:
    if layer.paired and not p.pairs:
        raise FitError("paired must be False on this unit, not True")
    if p.pairs and layer.channels % 2:
        raise FitError(f"channels must be even on this unit, not {layer.channels}")
    if p.tile == 1 and layer.padding != "same":
        raise FitError(f"padding must be 'same' on this unit, not {layer.padding!r}")
    high = (1 << (p.activation_width - 1)) - 1
    for name, value, most in (
        ("height", layer.height, p.longest),
        ("width", layer.width, p.longest),
        ("channels", layer.channels, p.channel_depth),
        ("kernels", layer.kernels, p.kernel_depth),
        ("shift", layer.shift, p.sum_width - 1),
        ("high", layer.high, high),
    ):
        if value > most:
            raise FitError(f"{name} must be at most {most} on this unit, not {value}")
    if layer.low < -high - 1:
        raise FitError(f"low must be at least {-high - 1} on this unit, not {layer.low}")
