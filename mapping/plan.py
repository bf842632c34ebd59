"""A network laid out on a device: memory contents, layer program, and the way in and out."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from golden.errors import FitError
from golden.image import Network
from golden.layers import FullyConnected, Weighted
from hdl.configuration import Configuration
from hdl.loader import BEAT_WIDTH, Header, Space
from hdl.maps.conductor import STAGE_ITEM, Stage, Work, stage_items
from hdl.maps.feed import Feed
from hdl.sparse import engine
from mapping.columns import spread
from mapping.cycles import ACTIVITY, companions, fastest
from mapping.layer import LayerPlan, lay_out
from mapping.rows import WORTH
from mapping.stages import StagePlan, lay_out_stages

__all__ = ["Plan", "plan", "waiting"]

# Layers that a message names.
_NAMED = 8


class Shown(NamedTuple):
    """Blocks of activations that a device shows, all or some of a layer's."""

    blocks: int
    positions: np.ndarray
    """Where in them the activations are, int64."""
    outputs: np.ndarray
    """Which of the layer's these are, int64 of the same shape."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A network laid out on a device. Made by :func:`plan`."""

    network: Network
    configuration: Configuration
    layers: tuple[LayerPlan, ...]
    """Those with weights."""
    stages: tuple[StagePlan, ...] = ()
    """All that is done, if the network goes through feature maps."""

    @cached_property
    def shown(self) -> dict[int, list[Shown]]:
        """What the device shows of each layer of the network, in order. Of layers whose result is
        only where those of others are, it shows nothing."""
        width = self.configuration.scan_width
        if not self.stages:
            return {
                n: [Shown(one.positions // width, one.outputs, np.arange(len(one.outputs)))]
                for n, one in enumerate(self.layers)
            }
        found: dict[int, list[Shown]] = {}
        for one in self.stages:
            if one.work is not Work.COPY:
                found.setdefault(one.layer, []).append(
                    Shown(one.blocks, one.positions, one.outputs)
                )
        return found

    @property
    def numbers(self) -> list[int]:
        """Which layer of the network each of ``layers`` is."""
        if self.stages:
            return [one.layer for one in self.stages if one.plan is not None]
        return [*range(len(self.layers))]

    @property
    def totals(self) -> np.ndarray:
        """Entries of each element, int64 ``(elements,)``."""
        nothing = np.zeros(self.configuration.elements, np.int64)
        return sum((one.entries.totals for one in self.layers), nothing)

    @property
    def lines(self) -> tuple[int, ...]:
        """Which layer each line of the program is of: the layers in order, tile by tile."""
        return tuple(n for n, layer in enumerate(self.layers) for _ in range(layer.tiles))

    @cached_property
    def load(self) -> np.ndarray:
        """Beats that load the network and let it run, uint32 ``(beats,)``."""
        packets = self._weights() if self.layers else []
        if self.configuration.stages:
            packets.append(self._stages())
        convolutions = [one.winograd.items for one in self.stages if one.winograd is not None]
        if convolutions:
            assert self.configuration.winograd is not None
            width = Feed.item_width(self.configuration.winograd)
            items = np.concatenate(convolutions).reshape(-1, 1)
            packets.append(_packet(Space.WINOGRAD, items, width))
        packets.append(_header(Space.RUN, 0))
        return np.concatenate(packets)

    def _weights(self) -> list[np.ndarray]:
        c = self.configuration
        packets = []
        split = [_by_element(layer) for layer in self.layers]
        for element in range(c.elements):
            entries = np.concatenate([mine[element] for mine in split])
            words = np.append(entries, np.zeros(len(entries) % 2, entries.dtype)).reshape(-1, 2)
            packets.append(_packet(Space.WEIGHTS, words, c.entry_width, element))
            counts = np.concatenate([_counts(layer, element, c) for layer in self.layers])
            blocks = counts.reshape(-1, c.scan_width)
            packets.append(_packet(Space.COUNTS, blocks, c.count_width, element))
        # The largest codebooks come first, so that each begins at a multiple of its size.
        codebooks = np.concatenate([self.layers[n].layer.codebook for n in self._by_codebook()])
        packets.append(_packet(Space.CODEBOOK, codebooks.reshape(-1, 1), c.weight_width))
        biases = np.concatenate([_place(p.layer.bias, p.outputs, p.positions) for p in self.layers])
        packets.append(_packet(Space.BIASES, biases.reshape(-1, c.scan_width), 32))
        return [*packets, self._program()]

    def _by_codebook(self) -> list[int]:
        sizes = [len(layer.layer.codebook) for layer in self.layers]
        return sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)

    def _program(self) -> np.ndarray:
        c = self.configuration
        layout = engine.Layer(c)
        high = (1 << (self.network.activation_width - 1)) - 1
        order = self._by_codebook()
        sizes = [len(self.layers[n].layer.codebook) for n in order]
        codebooks = dict(zip(order, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        items = []
        chains = [(one,) if self.stages else self.layers for one in self.layers]
        shifts = [self.network.shifts[number] for number in self.numbers]
        for n, (layer, shift, chain) in enumerate(zip(self.layers, shifts, chains, strict=True)):
            fields: dict[str, Any] = {
                "blocks": layer.columns // c.scan_width,
                "delta_width": layer.delta_width,
                "codebook": codebooks[n],
                "scaling": {
                    "rows": layer.rows,
                    "split": layer.split,
                    "shift": shift,
                    "low": 0 if layer.layer.activation == "relu" else -high - 1,
                    "high": high,
                },
                "last": bool(self.stages) or layer is self.layers[-1],
                "companions": companions(chain, c),
            }
            for tile in range(layer.tiles):
                bits = layout.const({**fields, "keep": tile < layer.tiles - 1}).as_bits()
                items.append([(bits >> n) & 1 for n in range(layout.size)])
        return _packet(Space.LAYERS, np.array(items), 1)

    def _stages(self) -> np.ndarray:
        c = self.configuration
        layout = Stage(c)
        items = []
        for fields in [one.fields for one in self.stages] or [{"work": Work.SPARSE, "endless": 1}]:
            bits = layout.const(fields).as_bits()
            items += [bits >> n * STAGE_ITEM & ~(~0 << STAGE_ITEM) for n in range(stage_items(c))]
        return np.append(_header(Space.STAGES, len(items)), np.array(items, np.uint32))

    @property
    def map_words(self) -> int:
        """Words of the memory of feature maps that are used."""
        return max((one.map_end for one in self.stages), default=0)

    @property
    def results(self) -> list[StagePlan]:
        """Stages whose words leave the device."""
        return [one for one in self.stages if not one.fields.get("to_map")]

    @property
    def beats_in(self) -> int:
        """Blocks in a vector of input."""
        if self.stages:
            return self.stages[0].blocks
        return self.layers[0].columns // self.configuration.scan_width

    @property
    def beats_out(self) -> int:
        """Blocks in a vector of output."""
        if self.stages:
            return sum(one.blocks for one in self.results)
        return self.layers[-1].positions // self.configuration.scan_width

    def pack(self, inputs: np.ndarray) -> np.ndarray:
        """Inputs as they are sent: int16 ``(batch, beats_in, scan_width)``.

        Parameters
        ----------
        inputs : ndarray of int, ``(batch, inputs)``
        """
        if inputs.ndim != 2 or inputs.shape[1] != self.network.inputs:
            raise ValueError(
                f"inputs must be of shape (batch, {self.network.inputs}), not {inputs.shape}"
            )
        width = self.configuration.scan_width
        positions = self.stages[0].positions if self.stages else self.layers[0].inputs
        blocks = _place(inputs.astype(np.int16), positions, self.beats_in * width)
        return blocks.reshape(len(inputs), self.beats_in, width)

    def unpack(self, blocks: np.ndarray) -> np.ndarray:
        """Outputs from the blocks as they came: int16 ``(batch, outputs)``."""
        values = blocks.reshape(len(blocks), -1)
        if not self.stages:
            return values[:, self.layers[-1].outputs]
        outputs = np.zeros((len(blocks), self.network.outputs), values.dtype)
        first = 0
        for one in self.results:
            outputs[:, one.outputs] = values[:, first + one.positions]
            first += one.blocks * self.configuration.scan_width
        return outputs


def plan(
    network: Network, configuration: Configuration, *, activity: Sequence[float] | None = None
) -> Plan:
    """Lay ``network`` out on a device.

    Rows go to elements by their non-zeros, and columns are scanned in an order in which heavy and
    light ones come by turns. The order in which a layer's results are drained is the order in which
    the next one scans them, so that the permutation costs nothing. A layer is split over the ways
    if that takes fewer cycles, and in tiles if its rows do not fit the accumulators. A network that
    is not a chain of fully connected layers goes through feature maps, stage by stage.

    Parameters
    ----------
    network : Network
    configuration : Configuration
    activity : sequence of float, optional
        Share of each layer's input that is expected not to be zero, 0 to 1;
        :data:`~mapping.cycles.ACTIVITY` if it is not known. It has a say in cycles only, never in
        results.

    Raises
    ------
    UnsupportedError
        If a layer adds up tensors whose channels are not in the same order.
    FitError
        If the device is too small, or layers take feature maps, and it has none. The message names
        everything that is short, layer by layer.
    """
    if not _is_chain(network):
        return _plan_stages(network, configuration, activity)
    # What is faster may not fit where all layers of the other kind do.
    attempts = []
    for split in [None, False, True] if configuration.ways > 1 else [False]:
        layers = _lay_out(network, configuration, activity, split)
        shortages = _shortages(Plan(network, configuration, layers))
        if not shortages:
            return Plan(network, configuration, layers)
        attempts.append(shortages)
    raise _unfit(network, attempts[0])


def _is_chain(network: Network) -> bool:
    """Whether there are fully connected layers only, one behind the other."""
    every = all(isinstance(layer, FullyConnected) for layer in network.layers)
    return every and network.sources == tuple((k,) for k in range(len(network.layers)))


def _plan_stages(
    network: Network, configuration: Configuration, activity: Sequence[float] | None
) -> Plan:
    if not configuration.stages:
        raise _without_maps(network)
    stages = lay_out_stages(network, configuration, activity)
    layers = tuple(one.plan for one in stages if one.plan is not None)
    laid = Plan(network, configuration, layers, stages)
    if shortages := _shortages(laid):
        raise _unfit(network, shortages)
    return laid


def _unfit(network: Network, shortages: list[str]) -> FitError:
    return FitError(
        f"network {network.name!r} does not fit the device:\n  " + "\n  ".join(shortages)
    )


def _without_maps(network: Network) -> FitError:
    others = [one for one in network.layers if not isinstance(one, FullyConnected)]
    names = ", ".join(f"{one.name!r} ({one.kind})" for one in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return FitError(
        f"network {network.name!r} has layers that take a device with feature maps (map_depth): "
        f"{names}{more}"
    )


def _lay_out(
    network: Network,
    configuration: Configuration,
    activity: Sequence[float] | None,
    split: bool | None,
) -> tuple[LayerPlan, ...]:
    """Layers, all of them split or none, or, for None, each as it takes fewer cycles."""
    c = configuration
    columns = -(-network.inputs // c.scan_width) * c.scan_width
    weights = [_column_weights(layer, c) for layer in network.layers]
    inputs = np.arange(network.inputs)
    layers: list[LayerPlan] = []
    expected = [ACTIVITY] * len(network.layers) if activity is None else activity
    followings = [*weights[1:], None]
    for layer, following, active in zip(network.layers, followings, expected, strict=True):
        # Every way needs a block.
        splits = [False, True] if split is None else [split]
        splits = splits if columns >= c.ways * c.scan_width else [False]
        options = []
        for one in splits:
            if not layers and weights[0] is not None:
                inputs = spread(weights[0], teams=c.ways if one else 1, width=c.scan_width)
            options.append(
                lay_out(layer, c, inputs=inputs, columns=columns, split=one, following=following)
            )
        layers.append(fastest(options, c, active))
        inputs, columns = layers[-1].outputs, layers[-1].positions
    return tuple(layers)


def _column_weights(layer: Weighted, configuration: Configuration) -> np.ndarray | None:
    """Non-zeros of each column, or None if they are too few to spread the columns."""
    if layer.nonzeros < WORTH * configuration.elements:
        return None
    return np.diff(layer.column_starts)


def waiting(layers: Sequence[LayerPlan]) -> list[int]:
    """Activations that a queue has to hold for each layer to get through.

    A result has to fit the queue that it goes to; one that leaves the device may do so tile by
    tile. A vector that several tiles scan has to fit the queue that it waits in; unless it is the
    input, or the layer the last one, the result of all tiles comes behind it.
    """
    found = []
    for one in layers:
        first, last = one is layers[0], one is layers[-1]
        scanned = one.columns if one.tiles > 1 else 0
        result = one.tile_positions if last else one.positions
        found.append(max(scanned, result) if first or last else scanned + result)
    return found


def _shortages(laid: Plan) -> list[str]:
    """Everything that the device has too little of."""
    network, c, layers = laid.network, laid.configuration, laid.layers
    shifts = [network.shifts[number] for number in laid.numbers]
    # Each sparse stage is a network of one layer.
    waits = [waiting([one])[0] for one in layers] if laid.stages else waiting(layers)
    found = []

    def need(where: str, name: str, needed: int, available: int) -> None:
        if needed > available:
            found.append(f"{where}: {name} must be at least {needed}, not {available}")

    every, tiled = "all layers together", any(one.tiles > 1 for one in layers)
    need(every, "activation_width", network.activation_width, c.activation_width)
    need(every, "layer_depth", sum(one.tiles for one in layers), c.layer_depth)
    for one, wait, shift in zip(layers, waits, shifts, strict=True):
        layer, where = one.layer, f"layer {one.name!r}"
        where += f", in {one.tiles} tiles" if one.tiles > 1 else ""
        need(where, "code_width", layer.code_width, c.code_width)
        need(where, "entry_width", layer.code_width + 1, c.entry_width)
        need(where, "count_width", int(one.entries.counts.max()).bit_length(), c.count_width)
        need(where, "activation_depth", wait, c.activation_depth)
        weights = layer.codebook.astype(np.int64)
        widest = int(np.where(weights < 0, ~weights, weights).max())
        need(where, "weight_width", widest.bit_length() + 1, c.weight_width)
        bits = max(layer.accumulator_bits(network.activation_width), shift + 1)
        need(where, "accumulator_width", bits, c.accumulator_width)

    entries = int(laid.totals.max())
    need(every, "weight_depth", entries + entries % 2, c.weight_depth)
    if laid.stages:
        need(every, "stage_depth", len(laid.stages), c.stage_depth)
    columns = sum(one.tiles * one.team_columns[0] for one in layers)
    need(every, "column_depth", columns, c.column_depth)
    need(every, "codebook_depth", sum(len(one.layer.codebook) for one in layers), c.codebook_depth)
    need(every, "bias_depth", sum(one.positions for one in layers), c.bias_depth)
    if found and tiled:
        rows = max(-(-one.layer.outputs * one.teams // c.elements) for one in layers)
        # It may be more than any device can have.
        with suppress(ValueError):
            replace(c, row_depth=rows)
            found.append(
                f"with a row_depth of {rows}, not {c.row_depth}, no layer would be in tiles"
            )
    return found


def _place(values: np.ndarray, positions: np.ndarray, length: int) -> np.ndarray:
    """``values`` at their ``positions`` in the last dimension, zeros elsewhere."""
    placed = np.zeros((*values.shape[:-1], length), values.dtype)
    placed[..., positions] = values
    return placed


def _by_element(layer: LayerPlan) -> list[np.ndarray]:
    """Entries of each element."""
    return np.split(layer.entries.values, np.cumsum(layer.entries.totals)[:-1])


def _counts(layer: LayerPlan, element: int, configuration: Configuration) -> np.ndarray:
    """Counts of the columns that an element is told of."""
    team = element // (configuration.elements // layer.teams)
    tiles = layer.entries.counts[element].reshape(layer.tiles, -1)
    return tiles[:, : layer.team_columns[team]].ravel()


def _header(space: Space, count: int, element: int = 0) -> np.ndarray:
    fields = {"space": space, "count": count, "element": element}
    return np.array([Header.const(fields).as_bits()], np.uint32)


def _packet(space: Space, items: np.ndarray, width: int, element: int = 0) -> np.ndarray:
    """Beats of a packet whose items consist of fields of ``width`` bits, the lowest first."""
    shifts = np.arange(width)
    bits = (items.astype(np.int64)[:, :, None] >> shifts & 1).astype(np.uint8)
    bits = bits.reshape(len(items), items.shape[1] * width)
    bits = np.pad(bits, ((0, 0), (0, -bits.shape[1] % BEAT_WIDTH)))
    beats = np.packbits(bits, axis=1, bitorder="little").view("<u4")
    return np.concatenate([_header(space, len(items), element), beats.ravel()])
