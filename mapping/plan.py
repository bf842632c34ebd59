"""A network laid out on a device: memory contents, layer program, and the way in and out."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from golden.errors import FitError
from golden.image import Layer, Network
from hdl.configuration import Configuration
from hdl.loader import BEAT_WIDTH, Header, Space
from hdl.sparse import engine
from mapping.entries import Entries, encode
from mapping.rows import assign

__all__ = ["LayerPlan", "Plan", "plan"]


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """A layer laid out on a device."""

    layer: Layer
    inputs: np.ndarray
    """Position of each input in the vector that is scanned, int64 ``(inputs,)``."""
    outputs: np.ndarray
    """Position of each output in the vector that is drained, int64 ``(outputs,)``."""
    columns: int
    """Length of the vector that is scanned, padding included."""
    positions: int
    """Length of the vector that is drained, padding included."""
    delta_width: int
    """Bits of an entry that are not its code."""
    codebook: int
    """Address of the first codebook value."""
    shift: int
    low: int
    high: int
    entries: Entries

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def padding(self) -> int:
        """Entries that hold no weight."""
        return len(self.entries.values) - self.layer.nonzeros


@dataclass(frozen=True, eq=False)
class Plan:
    """A network laid out on a device. Made by :func:`plan`."""

    network: Network
    configuration: Configuration
    layers: tuple[LayerPlan, ...]

    @cached_property
    def load(self) -> np.ndarray:
        """Beats that load the network and let it run, uint32 ``(beats,)``."""
        c = self.configuration
        entries = _concatenate(self.layers, lambda layer: _split(layer.entries))
        counts = np.concatenate([layer.entries.counts for layer in self.layers], axis=1)
        packets = []
        for element in range(c.elements):
            mine = entries[element]
            mine = np.append(mine, np.zeros(len(mine) % 2, mine.dtype))
            packets.append(_packet(Space.WEIGHTS, mine.reshape(-1, 2), c.entry_width, element))
            blocks = counts[element].reshape(-1, c.scan_width)
            packets.append(_packet(Space.COUNTS, blocks, c.count_width, element))
        codebooks = np.concatenate([layer.layer.codebook for layer in self.layers])
        packets.append(_packet(Space.CODEBOOK, codebooks.reshape(-1, 1), c.weight_width))
        biases = np.concatenate([_place(p.layer.bias, p.outputs, p.positions) for p in self.layers])
        packets.append(_packet(Space.BIASES, biases.reshape(-1, c.scan_width), 32))
        packets.append(self._program())
        packets.append(_header(Space.RUN, 0))
        return np.concatenate(packets)

    def _program(self) -> np.ndarray:
        layout = engine.Layer(self.configuration)
        items = []
        for index, layer in enumerate(self.layers):
            fields = {
                "blocks": layer.columns // self.configuration.scan_width,
                "delta_width": layer.delta_width,
                "codebook": layer.codebook,
                "scaling": {
                    "rows": layer.positions // self.configuration.elements,
                    "shift": layer.shift,
                    "low": layer.low,
                    "high": layer.high,
                },
                "last": index == len(self.layers) - 1,
            }
            bits = layout.const(fields).as_bits()
            items.append([(bits >> n) & 1 for n in range(layout.size)])
        return _packet(Space.LAYERS, np.array(items), 1)

    @property
    def beats_in(self) -> int:
        """Blocks in a vector of input."""
        return self.layers[0].columns // self.configuration.scan_width

    @property
    def beats_out(self) -> int:
        """Blocks in a vector of output."""
        return self.layers[-1].positions // self.configuration.scan_width

    def pack(self, inputs: np.ndarray) -> np.ndarray:
        """Inputs as they are sent: int16 ``(batch, beats_in, scan_width)``.

        Parameters
        ----------
        inputs : ndarray of int, ``(batch, inputs)``
        """
        first = self.layers[0]
        if inputs.ndim != 2 or inputs.shape[1] != first.layer.inputs:
            raise ValueError(
                f"inputs must be of shape (batch, {first.layer.inputs}), not {inputs.shape}"
            )
        blocks = _place(inputs.astype(np.int16), first.inputs, first.columns)
        return blocks.reshape(len(inputs), self.beats_in, self.configuration.scan_width)

    def unpack(self, blocks: np.ndarray) -> np.ndarray:
        """Outputs from the blocks as they came: int16 ``(batch, outputs)``."""
        return blocks.reshape(len(blocks), -1)[:, self.layers[-1].outputs]


def plan(network: Network, configuration: Configuration) -> Plan:
    """Lay ``network`` out on a device.

    Rows go to elements by their non-zeros. The order in which a layer's results are drained is the
    order in which the next one scans them, so that the permutation costs nothing.

    Raises
    ------
    FitError
        If the device is too small. The message names everything that is short, layer by layer.
    """
    c = configuration
    short = _Shortages()
    short.need("activation_width", network.activation_width, c.activation_width)
    short.need("layer_depth", len(network.layers), c.layer_depth)

    high = (1 << (network.activation_width - 1)) - 1
    columns = -(-network.inputs // c.scan_width) * c.scan_width
    inputs = np.arange(network.inputs)
    codebook = 0
    layers = []
    for layer, shift in zip(network.layers, network.shifts, strict=True):
        short.layer = layer.name
        outputs = assign(np.bincount(layer.rows, minlength=layer.outputs), c.elements)
        positions = -(-layer.outputs // c.elements) * c.elements
        short.need("code_width", layer.code_width, c.code_width)
        short.need("entry_width", layer.code_width + 1, c.entry_width)
        delta_width = max(1, c.entry_width - layer.code_width)
        entries = encode(
            layer,
            outputs=outputs,
            inputs=inputs,
            columns=columns,
            elements=c.elements,
            delta_width=delta_width,
        )
        short.need("count_width", int(entries.counts.max()).bit_length(), c.count_width)
        short.need("activation_depth", max(columns, positions), c.activation_depth)
        short.need("row_depth", positions // c.elements, c.row_depth)
        weights = layer.codebook.astype(np.int64)
        widest = int(np.where(weights < 0, ~weights, weights).max())
        short.need("weight_width", widest.bit_length() + 1, c.weight_width)
        short.need(
            "accumulator_width",
            max(layer.accumulator_bits(network.activation_width), shift + 1),
            c.accumulator_width,
        )
        layers.append(
            LayerPlan(
                layer=layer,
                inputs=inputs,
                outputs=outputs,
                columns=columns,
                positions=positions,
                delta_width=delta_width,
                codebook=codebook,
                shift=shift,
                low=0 if layer.activation == "relu" else -high - 1,
                high=high,
                entries=entries,
            )
        )
        codebook += len(layer.codebook)
        inputs, columns = outputs, positions

    short.layer = None
    totals = sum(layer.entries.totals for layer in layers)
    short.need("weight_depth", int(totals.max()) + int(totals.max()) % 2, c.weight_depth)
    short.need("column_depth", sum(layer.columns for layer in layers), c.column_depth)
    short.need("codebook_depth", codebook, c.codebook_depth)
    short.need("bias_depth", sum(layer.positions for layer in layers), c.bias_depth)
    short.check(network)
    return Plan(network, configuration, tuple(layers))


class _Shortages:
    """Everything that a device has too little of."""

    def __init__(self) -> None:
        self.layer: str | None = None
        self.found: list[str] = []

    def need(self, name: str, needed: int, available: int) -> None:
        if needed > available:
            where = f"layer {self.layer!r}" if self.layer is not None else "all layers together"
            self.found.append(f"{where}: {name} must be at least {needed}, not {available}")

    def check(self, network: Network) -> None:
        if self.found:
            raise FitError(
                f"network {network.name!r} does not fit the device:\n  " + "\n  ".join(self.found)
            )


def _place(values: np.ndarray, positions: np.ndarray, length: int) -> np.ndarray:
    """``values`` at their ``positions`` in the last dimension, zeros elsewhere."""
    placed = np.zeros((*values.shape[:-1], length), values.dtype)
    placed[..., positions] = values
    return placed


def _split(entries: Entries) -> list[np.ndarray]:
    """Entries of each element."""
    return np.split(entries.values, np.cumsum(entries.totals)[:-1])


def _concatenate(layers: tuple[LayerPlan, ...], split) -> list[np.ndarray]:
    """For each element, what ``split`` gives for each layer."""
    return [np.concatenate(parts) for parts in zip(*map(split, layers), strict=True)]


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
