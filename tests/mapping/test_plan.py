"""What a plan sends is read back by a plain-Python loader."""

import dataclasses

import numpy as np
import pytest

from golden.errors import FitError
from golden.layers import MaxPooling
from golden.nets.random import random_network
from hdl.configuration import PRESETS, Configuration
from hdl.loader import Space, spaces
from hdl.sparse.engine import Layer
from mapping import plan
from tests.golden.strategies import small_graph, small_network

SMALL = Configuration(elements=4, scan_width=2, entry_width=9, row_depth=16, count_width=5)


def network_of(shape=(21, 13, 10), seed=0, **options):
    return random_network(np.random.default_rng(seed), shape=shape, **options)


def read_back(beats, configuration):
    """Items by space and element; all sizes come from the hardware's own table."""
    sizes = spaces(configuration)
    items = {}
    beats = [int(beat) for beat in beats]
    while beats:
        header = beats.pop(0)
        count, element, space = header & 0xFFFFF, header >> 20 & 0xFF, Space(header >> 28)
        if space is Space.RUN:
            assert (count, beats) == (0, [])
            return items
        parts = -(-sizes[space][0] // 32)
        assert count <= sizes[space][1]
        items[space, element] = [
            sum(beats.pop(0) << (32 * part) for part in range(parts)) for _ in range(count)
        ]
    raise AssertionError("no packet RUN at the end")


def test_load_reads_back():
    network = network_of()
    laid = plan(network, SMALL)
    items = read_back(laid.load, SMALL)
    for element in range(4):
        words = items[Space.WEIGHTS, element]
        entries = [half for word in words for half in (word & 0x1FF, word >> 9)]
        counts = [
            half for word in items[Space.COUNTS, element] for half in (word & 0x1F, word >> 5)
        ]
        at = 0
        for layer in laid.layers:
            expected = layer.entries.counts[element]
            assert counts[: len(expected)] == expected.tolist()
            counts = counts[len(expected) :]
            before = layer.entries.totals[:element].sum()
            mine = layer.entries.values[before : before + expected.sum()].tolist()
            assert entries[at : at + len(mine)] == mine
            at += len(mine)
        assert counts == []
        assert len(entries) - at in (0, 1)
    codebook = [value - (value >> 15 << 16) for value in items[Space.CODEBOOK, 0]]
    in_order = sorted(network.layers, key=lambda layer: -len(layer.codebook))
    assert codebook == [int(v) for layer in in_order for v in layer.codebook]
    biases = [
        word >> (32 * lane) & 0xFFFFFFFF for word in items[Space.BIASES, 0] for lane in (0, 1)
    ]
    for layer in laid.layers:
        mine = np.array(biases[: layer.positions], np.uint32).astype(np.int32)
        assert mine[layer.outputs].tolist() == layer.layer.bias.tolist()
        assert np.delete(mine, layer.outputs).tolist() == [0] * (
            layer.positions - len(layer.outputs)
        )
        biases = biases[layer.positions :]
    assert len(items[Space.LAYERS, 0]) == 2


def test_pack_and_unpack():
    laid = plan(network_of(), SMALL)
    inputs = np.arange(42).reshape(2, 21) - 20
    blocks = laid.pack(inputs)
    assert blocks.shape == (2, 11, 2)
    first = laid.layers[0].inputs
    assert sorted(first) == list(range(21))
    assert blocks.reshape(2, -1)[:, first].tolist() == inputs.tolist()
    assert blocks[:, -1, 1].tolist() == [0, 0]
    drained = np.arange(24, dtype=np.int16).reshape(2, 12)
    assert laid.unpack(drained).tolist() == drained[:, laid.layers[-1].outputs].tolist()


def test_wrong_inputs():
    with pytest.raises(ValueError, match=r"^inputs must be of shape \(batch, 21\), not \(2, 20\)$"):
        plan(network_of(), SMALL).pack(np.zeros((2, 20)))


def test_next_layer_reads_what_this_one_drains():
    laid = plan(network_of(), SMALL)
    assert laid.layers[1].inputs is laid.layers[0].outputs
    assert laid.layers[1].columns == laid.layers[0].positions == 16


TOO_SMALL = {
    "activation_width": (8, "all layers together: activation_width must be at least 16, not 8"),
    "code_width": (3, "layer 'fc1': code_width must be at least 4, not 3"),
    "count_width": (2, r"layer 'fc1': count_width must be at least \d, not 2"),
    "activation_depth": (12, "layer 'fc1': activation_depth must be at least 16, not 12"),
    "weight_width": (8, r"layer 'fc1': weight_width must be at least \d+, not 8"),
    "accumulator_width": (24, r"layer 'fc1': accumulator_width must be at least \d+, not 24"),
    "weight_depth": (8, r"all layers together: weight_depth must be at least \d+, not 8"),
    "column_depth": (20, "all layers together: column_depth must be at least 38, not 20"),
    "codebook_depth": (16, "all layers together: codebook_depth must be at least 32, not 16"),
    "bias_depth": (20, "all layers together: bias_depth must be at least 28, not 20"),
}


@pytest.mark.parametrize("name", TOO_SMALL)
def test_too_small(name):
    value, message = TOO_SMALL[name]
    device = dataclasses.replace(SMALL, **{name: value})
    with pytest.raises(FitError, match=message):
        plan(network_of(density=1), device)


def test_all_that_is_short_is_named():
    device = dataclasses.replace(SMALL, row_depth=2, code_width=3, bias_depth=4, weight_depth=8)
    with pytest.raises(FitError) as caught:
        plan(network_of(density=0.5), device)
    text = str(caught.value)
    assert text.startswith("network 'random' does not fit the device:\n")
    assert [line.split(":")[0].strip() for line in text.splitlines()[1:]] == [
        "layer 'fc1', in 2 tiles",
        "layer 'fc2', in 2 tiles",
        "all layers together",
        "all layers together",
        "with a row_depth of 4, not 2, no layer would be in tiles",
    ]


def tiles_of(shape, **options):
    laid = plan(network_of(shape), dataclasses.replace(SMALL, row_depth=4, **options))
    return [layer.tiles for layer in laid.layers]


# What waits: an input that is read again; that and the result behind it; a tile of the last result.
WAITING = {
    (40, 20): ([2], "layer 'fc1', in 2 tiles: activation_depth must be at least 40, not 38"),
    (40, 16): ([1], "layer 'fc1': activation_depth must be at least 16, not 14"),
    (8, 12, 20, 5): (
        [1, 2, 1],
        "layer 'fc2', in 2 tiles: activation_depth must be at least 36, not 34",
    ),
    (8, 12, 40): ([1, 3], "layer 'fc2', in 3 tiles: activation_depth must be at least 16, not 14"),
    (8, 30, 4): ([2, 1], "layer 'fc1', in 2 tiles: activation_depth must be at least 32, not 30"),
}


@pytest.mark.parametrize("shape", WAITING, ids=str)
def test_what_tiles_need_to_wait_in(shape):
    tiles, message = WAITING[shape]
    needed = int(message.split()[-3][:-1])
    assert tiles_of(shape, activation_depth=needed) == tiles
    with pytest.raises(FitError, match=message) as caught:
        tiles_of(shape, activation_depth=needed - 2)
    assert ("would be in tiles" in str(caught.value)) == (max(tiles) > 1)


def test_no_device_has_so_many_rows():
    with pytest.raises(FitError, match="layer 'fc1', in 520 tiles: activation_depth") as caught:
        tiles_of((2, 8320, 5))
    assert "would be in tiles" not in str(caught.value)


def test_each_tile_takes_a_line_and_counts_of_all_columns():
    shape, lines, columns = (8, 12, 40), 4, 8 + 3 * 12
    assert tiles_of(shape, layer_depth=lines, column_depth=columns) == [1, 3]
    for name, value in ("layer_depth", lines), ("column_depth", columns):
        message = f"all layers together: {name} must be at least {value}, not {value - 2}"
        with pytest.raises(FitError, match=message):
            tiles_of(shape, **{name: value - 2})


@pytest.mark.parametrize(
    ("shape", "together"), [((8, 12), 2), ((8, 12, 5), 2), ((8, 12, 40, 5), 0)]
)
def test_program(shape, together):
    device = dataclasses.replace(SMALL, row_depth=4)
    laid = plan(network_of(shape), device)
    layout = Layer(device)
    items = read_back(laid.load, device)
    program = [layout.from_bits(item) for item in items[Space.LAYERS, 0]]
    codebooks = items[Space.CODEBOOK, 0]
    assert len(program) == len(laid.lines)
    assert [line.companions for line in program] == [together] * len(program)
    last = len(laid.layers) - 1
    for line, index, following in zip(program, laid.lines, [*laid.lines[1:], None], strict=True):
        assert line.keep == (following == index)
        assert line.last == (index == last)
        assert line.blocks == laid.layers[index].columns // 2
        assert line.scaling.rows == laid.layers[index].rows
        mine = laid.layers[index].layer.codebook
        assert line.codebook % len(mine) == 0
        assert codebooks[line.codebook : line.codebook + len(mine)] == mine.view(np.uint16).tolist()


def test_too_many_layers():
    device = dataclasses.replace(SMALL, layer_depth=2)
    with pytest.raises(FitError, match="layer_depth must be at least 3, not 2"):
        plan(network_of((8, 8, 8, 8)), device)


def test_what_is_faster_but_does_not_fit_is_not_chosen():
    """Layers that are not split need the counts of more columns."""
    network = network_of((64, 33, 64), density=0.5)
    device = dataclasses.replace(SMALL, elements=8, ways=4, row_depth=64)
    columns = 0
    for layer in plan(network, device).layers:
        columns += layer.columns // layer.teams
    tight = dataclasses.replace(device, column_depth=26)
    assert columns > tight.column_depth
    assert all(layer.split for layer in plan(network, tight).layers)


def test_most_negative_weight_fits_its_width():
    network = network_of()
    network.layers[0].codebook[1] = -(1 << 15)
    plan(network, dataclasses.replace(SMALL, weight_width=16, accumulator_width=48))


@pytest.mark.parametrize("preset", PRESETS)
def test_lenet_fits(preset):
    network = network_of((784, 300, 100, 10), density=0.08, code_width=6)
    plan(network, PRESETS[preset])


def test_layers_of_other_kinds():
    message = r"^network 'graph' has layers that take a device with feature maps \(map_depth\): "
    with pytest.raises(FitError, match=message + r"'conv' \(convolution\), 'max' \(max\), "):
        plan(small_graph(), PRESETS["pe16"])
    fields = {"output_radix": 4, "activation": "none", "kernel": (1, 1)}
    pools = [MaxPooling(name=str(index), **fields) for index in range(11)]
    many = small_graph(layers=pools, sources=())
    with pytest.raises(FitError, match=r"'6' \(max\), '7' \(max\) and 3 more$"):
        plan(many, PRESETS["pe16"])


def test_a_feature_map_for_a_fully_connected_layer():
    """Flattening it costs nothing: the plan is that for a vector."""
    flat = small_network()
    shaped = dataclasses.replace(flat, input_shape=(2, 1, 2))
    device = PRESETS["pe4"]
    assert np.array_equal(plan(flat, device).load, plan(shaped, device).load)
