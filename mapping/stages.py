# amaranth: UnusedElaboratable=no
"""A network of any layers on a device with feature maps: stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from golden.errors import FitError, UnsupportedError
from golden.layers import (
    Addition,
    Concatenation,
    Convolution,
    FullyConnected,
    Layer,
    Network,
    Pooling,
    Weighted,
)
from golden.layers.base import Shape
from hdl.configuration import Configuration
from hdl.maps import maps
from hdl.maps.conductor import Stage, Work
from hdl.maps.fold import Fold
from hdl.maps.walk import Route
from mapping.convolve import WinogradPlan, blocks, lay_out_winograd, positions, takes
from mapping.cycles import ACTIVITY, Prediction, expected, fastest, predict_streams
from mapping.layer import LayerPlan, Order, lay_out
from mapping.maps import (
    Loop,
    Map,
    Rectangle,
    addition,
    align,
    folding,
    pixels,
    rectangles,
    route,
    windows,
    words_of,
)
from mapping.maps import whole as rectangle_of

__all__ = [
    "StagePlan",
    "Tensor",
    "lay_out_stages",
    "matrix",
    "predict_stages",
    "window_columns",
    "window_inputs",
]


@dataclass(frozen=True, eq=False)
class Tensor:
    """Where a tensor of activations is: a feature map, or a vector as the only pixel of one."""

    shape: Shape
    """``(height, width, channels)``."""
    order: np.ndarray
    """Place of each channel in a pixel, int64 ``(channels,)``: lane ``place % scan_width`` of word
    ``place // scan_width``."""
    where: Map

    def positions(self, scan_width: int) -> np.ndarray:
        """Place of each activation, int64 ``(height * width * channels,)``, in the words of the
        tensor as they come one after another."""
        height, width, _ = self.shape
        return _spread(np.arange(height * width), self.where.words, self.order, scan_width)


@dataclass(frozen=True, eq=False)
class StagePlan:
    """A stage: what it takes, what it makes of that, and where that goes."""

    name: str
    """Of the layer, or what the stage does."""
    layer: int | None
    """Which layer of the network it is, or is a part of."""
    work: Work
    plan: LayerPlan | None
    """Of sparse stages: the layer as a matrix, which is applied to each window."""
    winograd: WinogradPlan | None
    """Of stages on the Winograd unit."""
    fields: dict[str, Any]
    """What the device is told, as of :class:`~hdl.maps.conductor.Stage`."""
    windows: int
    """Windows, each of which makes ``words``."""
    words: int
    """Words that it makes of a window, those included that are dropped."""
    positions: np.ndarray
    """Where in these words the activations are that are the layer's, int64."""
    outputs: np.ndarray
    """Which activations of the layer these are, int64 of the same shape."""

    window: int
    """Words of a window that is folded; 0 of other stages."""
    map_end: int
    """Address behind the map that it makes; 0 if it makes none."""

    @property
    def blocks(self) -> int:
        """Words that it makes."""
        return self.windows * self.words


def matrix(layer: Weighted) -> FullyConnected:
    """What a layer applies to each window, as a layer by itself.

    The columns are those of a window with the channels of all groups.
    """
    fields = {name: getattr(layer, name) for name in _FIELDS}
    if not isinstance(layer, Convolution) or layer.groups == 1:
        return FullyConnected(**fields)
    columns = window_columns(layer)
    order = np.lexsort((layer.rows, columns))
    starts = np.zeros(layer.inputs * layer.groups + 1, np.int64)
    np.cumsum(np.bincount(columns, minlength=len(starts) - 1), out=starts[1:])
    fields |= {"codes": layer.codes[order], "rows": layer.rows[order], "column_starts": starts}
    return FullyConnected(**fields)


def window_columns(layer: Weighted) -> np.ndarray:
    """Column of each non-zero weight in a window with the channels of all groups, int64."""
    if not isinstance(layer, Convolution):
        return layer.columns.astype(np.int64)
    own = layer.channels // layer.groups
    place, channel = np.divmod(layer.columns.astype(np.int64), own)
    group = layer.rows // (layer.outputs // layer.groups)
    return place * layer.channels + group * own + channel


_FIELDS = (
    "name",
    "output_radix",
    "activation",
    "codes",
    "rows",
    "column_starts",
    "codebook",
    "code_width",
    "weight_radix",
    "bias",
)


def lay_out_stages(
    network: Network, configuration: Configuration, activity: Sequence[float] | None = None
) -> tuple[StagePlan, ...]:
    """The stages of a network, the first of which takes its input, and the last gives its result.

    Parameters
    ----------
    network : Network
    configuration : Configuration
        With feature maps.
    activity : sequence of float, optional
        As of :func:`~mapping.plan.plan`.

    Raises
    ------
    UnsupportedError
        If a layer adds up tensors whose channels are not in the same order.
    FitError
        If a map, or all that are needed at a time, are too large, or a window, its factor or a side
        too large for the units. The message names the layer and what would have to be wider.
    """
    return _Builder(network, configuration, activity).stages()


def predict_stages(
    stages: Sequence[StagePlan],
    network: Network,
    configuration: Configuration,
    tensors: Sequence[np.ndarray],
) -> dict[int, tuple[np.ndarray, Prediction | None]]:
    """Cycles of each layer that takes any, for vectors one at a time, as the device counts them.

    They are right if a word of a map is read as soon as it can be, as on the chip; memory outside
    may take longer. A convolution is the same matrix for one window after another, so what is said
    of vectors that follow each other is true of these (:func:`~mapping.cycles.predict_streams`);
    that the first words are still to be read then may make a handful of cycles.

    Parameters
    ----------
    stages : sequence of StagePlan
        Of the network on the device.
    network : Network
    configuration : Configuration
    tensors : sequence of ndarray of int, ``(batch, activations)``
        The network's input, and what each layer makes of it.

    Returns
    -------
    dict of int to tuple
        By layer of the network: cycles, int64 ``(batch,)``, and what the elements do in them if the
        layer has weights, a stream of windows for each vector.
    """
    latency = Fold(**maps.folding(configuration)).latency
    found: dict[int, tuple[np.ndarray, Prediction | None]] = {}
    nothing = np.zeros(len(tensors[0]), np.int64)
    for one in stages:
        if one.layer is None or one.work is Work.COPY:
            continue
        cycles, done = found.get(one.layer, (nothing, None))
        if one.winograd is not None:
            cycles = cycles + one.winograd.cycles
        elif one.plan is None:
            longest = max(one.window, configuration.scan_width)
            cycles = cycles + (one.blocks - 1) * longest + one.window + latency + _FOLDED
        else:
            inputs = window_inputs(network, one.layer, tensors)
            done = predict_streams(
                _Single((one.plan,), configuration, (0,) * one.plan.tiles), [inputs]
            )
            # Of a layer in tiles, the last one's words.
            drained = one.plan.tile_positions // configuration.scan_width
            cycles = cycles + done.cycles.sum(axis=(1, 2)) + drained + _SPARSE
        found[one.layer] = cycles, done
    return found


def window_inputs(network: Network, number: int, tensors: Sequence[np.ndarray]) -> np.ndarray:
    """What a layer with weights takes, window by window, ``(batch, windows, columns)``.

    Parameters
    ----------
    network : Network
    number : int
        Which layer.
    tensors : sequence of ndarray of int, ``(batch, activations)``
        As of :func:`predict_stages`.
    """
    layer, (source,) = network.layers[number], network.sources[number]
    taken = tensors[source]
    if not isinstance(layer, Convolution):
        return taken[:, None]
    shape = network.shapes[source]
    top, left, bottom, right = layer.padding
    padded = np.pad(taken.reshape(-1, *shape), ((0, 0), (top, bottom), (left, right), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, axis=(1, 2))
    views = views[:, :: layer.stride[0], :: layer.stride[1]]
    columns = layer.kernel[0] * layer.kernel[1] * shape[2]
    return views.transpose(0, 1, 2, 4, 5, 3).reshape(len(taken), -1, columns)


class _Single(NamedTuple):
    """A layer by itself, as a plan."""

    layers: tuple[LayerPlan]
    configuration: Configuration
    lines: tuple[int, ...]


# Cycles of a stage before its first run and after its last one, words that it makes not counted;
# and before and after folding.
_SPARSE, _FOLDED = 19, 6


class _Builder:
    """Lays out one network."""

    def __init__(
        self, network: Network, configuration: Configuration, activity: Sequence[float] | None
    ):
        self.network, self.c, self.activity = network, configuration, activity
        layout = Stage(configuration)
        self.read, self.write = layout["read"].shape, layout["write"].shape
        self.layout = layout["folding"].shape
        self.shapes = [shape if len(shape) == 3 else (1, 1, *shape) for shape in network.shapes]
        self.added = {
            source
            for layer, sources in zip(network.layers, network.sources, strict=True)
            if isinstance(layer, Addition)
            for source in sources
        }
        self.plans: dict[int, LayerPlan | WinogradPlan] = {}
        self.items = 0  # in the memory of weights of the Winograd unit
        self.orders: list[np.ndarray] = [np.arange(self.shapes[0][2])]
        self.words = [words_of(self.shapes[0][2], configuration.scan_width)]
        for number in range(1, len(network.layers) + 1):
            self._order(number)
        self.parts: dict[int, tuple[int, int]] = {}
        """Of which whole a tensor is a part, and from which word on."""
        self.joined: set[int] = set()
        """Tensors that consist of others, and so need no stage."""
        self._join()
        self.tensors = self._place()

    def _layer(self, number: int) -> tuple[Layer, tuple[int, ...]]:
        """The layer that makes a tensor, and the tensors that it takes."""
        return self.network.layers[number - 1], self.network.sources[number - 1]

    def _order(self, number: int) -> None:
        """Lay a layer out, and with it the order of its channels."""
        layer, sources = self._layer(number)
        width = self.c.scan_width
        orders, words = self.orders[sources[0]], self.words[sources[0]]
        if isinstance(layer, Weighted):
            plan = self._lay_out(number, layer, orders, words)
            self.plans[number] = plan = self._winograd(number, layer, orders, plan) or plan
            orders = np.arange(layer.outputs) if isinstance(plan, WinogradPlan) else plan.outputs
            words = int(orders.max()) // width + 1
        elif isinstance(layer, Concatenation):
            firsts = np.cumsum([0, *(self.words[source] for source in sources)])
            orders = np.concatenate(
                [self.orders[k] + n * width for k, n in zip(sources, firsts[:-1], strict=True)]
            )
            words = int(firsts[-1])
        elif any(not np.array_equal(orders, self.orders[source]) for source in sources):
            raise UnsupportedError(
                f"layer {layer.name!r} adds up tensors that were joined from others in different "
                "ways, which devices cannot"
            )
        self.orders.append(orders)
        self.words.append(words)

    def _lay_out(self, number: int, layer: Weighted, order: np.ndarray, words: int) -> LayerPlan:
        c = self.c
        (source,) = self.network.sources[number - 1]
        kernel = self.shapes[source][:2]
        if isinstance(layer, Convolution):
            kernel = layer.kernel
        pixels = kernel[0] * kernel[1]
        inputs = _spread(np.arange(pixels), words, order, c.scan_width)
        columns = pixels * words * c.scan_width
        active = ACTIVITY if self.activity is None else self.activity[number - 1]
        options = [
            lay_out(
                matrix(layer),
                c,
                inputs=inputs,
                columns=columns,
                split=split,
                # What is added up is in the order of its channels.
                order=Order.KEPT if self.added else Order.DENSE,
            )
            # Every way needs a block.
            for split in (
                [False, True] if columns >= c.ways * c.scan_width > c.scan_width else [False]
            )
        ]
        return fastest(options, c, active)

    def _winograd(
        self, number: int, layer: Weighted, order: np.ndarray, plan: LayerPlan
    ) -> WinogradPlan | None:
        """The layer on the Winograd unit, if that takes it and is faster."""
        network, c = self.network, self.c
        # The words of edges do not leave a device.
        if c.winograd is None or not takes(layer) or number == len(network.layers):
            return None
        assert isinstance(layer, Convolution)
        (source,) = network.sources[number - 1]
        try:
            found = lay_out_winograd(
                layer,
                c,
                self.shapes[source],
                order,
                shift=network.shifts[number - 1],
                activation_width=network.activation_width,
            )
        except FitError:
            return None
        height, width, _ = self.shapes[number]
        active = ACTIVITY if self.activity is None else self.activity[number - 1]
        if self.items + len(found.items) > c.winograd_depth or found.cycles >= (
            height * width * expected(plan, c, active)
        ):
            return None
        self.items += len(found.items)
        return found

    def _join(self) -> None:
        """Find tensors that are a part of another one, and those that consist of these.

        What a concatenation takes is written where its result is, unless it is a part of something
        else, or has to be requantised, or is added to something, for which its pixels have to
        follow each other.
        """
        for number in range(len(self.network.layers), 0, -1):
            layer, sources = self._layer(number)
            if (
                isinstance(layer, Concatenation)
                and layer.activation == "none"
                and self.network.shifts[number - 1] == 0
                and len({*sources, *self.parts, *self.added})
                == len(sources) + len(self.parts) + len(self.added)
            ):
                self.joined.add(number)
                whole, word = self.parts.get(number, (number, 0))
                for source in sources:
                    self.parts[source] = whole, word
                    word += self.words[source]

    def _place(self) -> list[Tensor | None]:
        """Where each tensor is; None for the result, if no other is a part of it.

        Each has its place from the stage that makes the first of its parts to the last one that
        takes any. The lowest gap that is large enough will do.
        """
        count = len(self.words)
        wholes = [self.parts.get(number, (number, 0))[0] for number in range(count)]
        begins, ends = {}, {}
        for number, whole in enumerate(wholes):
            if number not in self.joined:
                begins[whole] = min(begins.get(whole, count), number)
            ends[whole] = max(ends.get(whole, 0), number)
        for number in range(1, count):
            for source in self._layer(number)[1]:
                ends[wholes[source]] = max(ends[wholes[source]], number)
        bases: dict[int, int] = {}
        for whole in sorted(begins, key=begins.__getitem__):
            if whole == count - 1 and whole not in self.joined:
                continue
            others = [
                (bases[other], bases[other] + self._size(other))
                for other in bases
                if ends[other] >= begins[whole]
            ]
            candidates = [0, *(end for _, end in others)]
            bases[whole] = min(
                base
                for base in candidates
                if all(base + self._size(whole) <= low or high <= base for low, high in others)
            )
        needed, highest = max((base + self._size(whole), whole) for whole, base in bases.items())
        if needed > self.c.map_depth:
            raise self._unfit(
                highest,
                f"map_depth must be at least {needed}, for all feature maps that are needed then, "
                f"not {self.c.map_depth}",
            )
        tensors: list[Tensor | None] = []
        for number, whole in enumerate(wholes):
            if whole not in bases:
                tensors.append(None)
                continue
            height, width, _ = self.shapes[number]
            where = Map(
                height=height,
                width=width,
                words=self.words[number],
                base=bases[whole] + self.parts.get(number, (number, 0))[1],
                pitch=self.words[whole],
            )
            tensors.append(Tensor(self.shapes[number], self.orders[number], where))
        return tensors

    def _size(self, whole: int) -> int:
        height, width, _ = self.shapes[whole]
        return height * width * self.words[whole]

    def stages(self) -> tuple[StagePlan, ...]:
        """All of them."""
        stages: list[StagePlan] = []
        for number in range(len(self.network.layers) + 1):
            try:
                stages += self._stages(number) if number else [self._input()]
            except FitError as error:
                raise self._unfit(number, str(error)) from error
        stages[-1].fields["last"] = 1
        # Weights lie one behind the other.
        first = 0
        for one in stages:
            if one.winograd is not None:
                one.fields["winograd"]["first"] = first
                first += len(one.winograd.items)
        return tuple(stages)

    def _unfit(self, number: int, shortage: str) -> FitError:
        where = f"layer {self._layer(number)[0].name!r}" if number else "the input"
        return FitError(
            f"network {self.network.name!r} does not fit the device:\n  {where}: {shortage}"
        )

    def _input(self) -> StagePlan:
        tensor = self.tensors[0]
        assert tensor is not None
        height, width, channels = tensor.shape
        return StagePlan(
            name="input",
            layer=None,
            work=Work.COPY,
            plan=None,
            winograd=None,
            fields={"work": Work.COPY, "to_map": 1, "write": pixels(self.write, tensor.where)},
            windows=height * width,
            words=tensor.where.words,
            positions=tensor.positions(self.c.scan_width),
            outputs=np.arange(height * width * channels),
            window=0,
            map_end=tensor.where.base + tensor.where.size,
        )

    def _stages(self, number: int) -> list[StagePlan]:
        """Those of a layer: none if what it takes is there already, several if it is cut."""
        layer, sources = self._layer(number)
        taken = [self._tensor(source) for source in sources]
        first = taken[0]
        if number in self.joined:
            if number < len(self.network.layers):
                return []
            whole = self._tensor(number)
            read = pixels(self.read, whole.where)
            return [self._stage(number, Work.COPY, read, words=whole.where.words)]
        if isinstance(layer, Weighted):
            plan = self.plans[number]
            if isinstance(plan, WinogradPlan):
                return [self._convolution(number, plan)]
            if isinstance(layer, Convolution):
                every = rectangle_of(layer, first.shape)
                read = windows(self.read, layer, first.where, every, channels_last=True)
            else:
                read = _all(self.read, first.where)
            words = plan.positions // self.c.scan_width
            return [self._stage(number, Work.SPARSE, read, words=words, plan=plan)]
        if isinstance(layer, Pooling):
            return [
                self._stage(
                    number,
                    Work.FOLD,
                    windows(self.read, layer, first.where, rectangle, channels_last=False),
                    words=first.where.words,
                    rectangle=rectangle,
                    folding=self._folding(number, layer, factor),
                    window=layer.kernel[0] * layer.kernel[1],
                )
                for rectangle, factor in rectangles(layer, first.shape)
            ]
        if isinstance(layer, Addition):
            turn, factor = align(layer, *(self.network.radixes[source] for source in sources))
            return [
                self._stage(
                    number,
                    Work.FOLD,
                    addition(self.read, *(taken[n].where for n in turn)),
                    words=first.where.words,
                    folding=self._folding(number, layer, factor),
                    window=2,
                )
            ]
        assert isinstance(layer, Concatenation)
        stages, channel, word = [], 0, 0
        for one in taken:
            stages.append(
                self._stage(
                    number,
                    Work.FOLD,
                    pixels(self.read, one.where),
                    words=one.where.words,
                    folding=self._folding(number, layer, 1),
                    window=1,
                    part=(channel, one.shape[2], word),
                )
            )
            channel, word = channel + one.shape[2], word + one.where.words
        return stages

    def _convolution(self, number: int, plan: WinogradPlan) -> StagePlan:
        """The stage of a layer on the Winograd unit."""
        assert self.c.winograd is not None
        tile = self.c.winograd.tile
        (source,) = self._layer(number)[1]
        taken, made = self._tensor(source), self._tensor(number)
        height, width, channels = made.shape
        count = -(-height // tile) * -(-width // tile)
        return StagePlan(
            name=self.network.layers[number - 1].name,
            layer=number - 1,
            work=Work.WINOGRAD,
            plan=None,
            winograd=plan,
            fields={
                "work": Work.WINOGRAD,
                "from_map": 1,
                "to_map": 1,
                "read": blocks(self.read, taken.where, tile),
                "write": blocks(self.write, made.where, tile),
                "winograd": {"layer": plan.descriptor, "beats": plan.beats},
            },
            windows=count,
            words=made.where.words * tile**2,
            positions=positions(made.shape, made.where.words, tile, self.c.scan_width),
            outputs=np.arange(height * width * channels),
            window=0,
            map_end=made.where.base + made.where.size,
        )

    def _tensor(self, number: int) -> Tensor:
        tensor = self.tensors[number]
        assert tensor is not None
        return tensor

    def _stage(
        self,
        number: int,
        work: Work,
        read: dict[str, Any],
        *,
        words: int,
        plan: LayerPlan | None = None,
        folding: dict[str, Any] | None = None,
        window: int = 0,
        rectangle: Rectangle | None = None,
        part: tuple[int, int, int] | None = None,
    ) -> StagePlan:
        """A stage that makes ``words`` of each window.

        It makes all of the layer's result, or a ``rectangle`` of its pixels, or a ``part`` of their
        channels: the first, how many, and which word they begin with.
        """
        tensor = self.tensors[number]
        height, width, channels = self.shapes[number]
        rectangle = rectangle or Rectangle(0, 0, height, width)
        channel, own, word = part or (0, channels, 0)
        fields = {"work": work, "from_map": 1, "read": read}
        if folding is not None:
            fields["folding"] = folding
        where = None
        if tensor is not None and number not in self.joined:
            fields["to_map"] = 1
            where = tensor.where.part(word, min(words, tensor.where.words - word))
        fields["write"] = _made(self.write, rectangle, words, where)
        count = rectangle.height * rectangle.width
        order = self.orders[number][channel : channel + own] - word * self.c.scan_width
        rows = rectangle.row + np.arange(rectangle.height)
        columns = rectangle.column + np.arange(rectangle.width)
        place = (rows[:, None] * width + columns).ravel()
        return StagePlan(
            name=self.network.layers[number - 1].name,
            layer=number - 1,
            work=work,
            plan=plan,
            winograd=None,
            fields=fields,
            windows=count,
            words=words,
            positions=_spread(np.arange(count), words, order, self.c.scan_width),
            outputs=(place[:, None] * channels + channel + np.arange(own)).ravel(),
            window=window,
            map_end=where.base + where.size if where else 0,
        )

    def _folding(
        self, number: int, layer: Pooling | Addition | Concatenation, factor: int
    ) -> dict[str, Any]:
        network = self.network
        return folding(
            self.layout,
            layer,
            factor=factor,
            shift=network.shifts[number - 1],
            width=network.activation_width,
        )


def _spread(places: np.ndarray, words: int, order: np.ndarray, scan_width: int) -> np.ndarray:
    """Where each channel of each of ``places`` is, if one has so many words; flat."""
    return (places[:, None] * (words * scan_width) + order).ravel()


def _all(layout: Route, where: Map) -> dict[str, Any]:
    """Route through all words of a map, as one window."""
    loops = (
        Loop(where.words, address=1),
        Loop(where.width, 0, 1, where.pitch),
        Loop(where.height, 1, 0, where.pitch * where.width),
    )
    return route(layout, loops, inner=3, source=where)


def _made(
    layout: Route, rectangle: Rectangle, words: int, where: Map | None = None
) -> dict[str, Any]:
    """Route of ``words`` for each pixel of a rectangle.

    Those of them that the map ``where`` has no place for are outside; without one, none is.
    """
    # The walk's columns are the words of a pixel.
    kept = Map(height=1, width=words, words=1, base=0, pitch=0)
    pitch = line = 0
    if where is not None:
        base = where.address(rectangle.row, rectangle.column)
        kept = replace(kept, width=where.words, base=base)
        pitch, line = where.pitch, where.pitch * where.width
    loops = (
        Loop(words, column=1, address=1),
        Loop(rectangle.width, address=pitch),
        Loop(rectangle.height, address=line),
    )
    return route(layout, loops, inner=1, source=kept)
