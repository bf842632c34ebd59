"""Networks through feature maps: stage by stage on a memory of garbage, against the golden model;
what is refused."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from golden.errors import FitError, UnsupportedError
from golden.layers import (
    Addition,
    AveragePooling,
    Concatenation,
    Convolution,
    FullyConnected,
    MaxPooling,
    Network,
)
from golden.network import run
from hdl.configuration import Configuration
from hdl.maps.conductor import Stage, Work
from hdl.maps.fold import Operation
from mapping import plan
from mapping.maps import places
from sim.graphs import convolutions, graph

_LARGE = {
    "weight_depth": 1 << 12,
    "column_depth": 1 << 12,
    "bias_depth": 1 << 12,
    "codebook_depth": 1 << 10,
    "activation_depth": 1 << 10,
    "layer_depth": 64,
    "map_depth": 1 << 11,
}
DEVICES = {
    # Rows of many layers come in tiles.
    "wide": Configuration(elements=8, scan_width=2, ways=2, row_depth=2, **_LARGE),
    "one": Configuration(elements=1, scan_width=1, row_depth=64, **_LARGE),
    "long": Configuration(elements=8, scan_width=4, activation_width=8, row_depth=32, **_LARGE),
    # With a unit for 3x3 convolutions.
    "f2": Configuration(elements=2, scan_width=2, winograd_tile=2, **_LARGE),
    "f4": Configuration(
        elements=4, scan_width=4, activation_width=8, winograd_tile=4, winograd_kernels=3, **_LARGE
    ),
}


class Machine:
    """What a device with feature maps does, in plain numbers.

    The memory has garbage at first, and keeps what vectors leave there.
    """

    def __init__(self, laid, seed=0):
        self.laid, self.c = laid, laid.configuration
        layout = Stage(self.c)
        self.read, self.write = layout["read"].shape, layout["write"].shape
        self.shape = self.c.map_depth, self.c.scan_width
        high = 1 << (laid.network.activation_width - 1)
        self.memory = np.random.default_rng(seed).integers(-high, high, self.shape)

    def run(self, vector):
        """The result, and what is shown of each layer, in order."""
        shown, results = {}, []
        for one in self.laid.stages:
            words, windows = self._taken(one, vector)
            made = self._made(one, words, windows)
            assert len(made) == one.blocks
            where = places(self.write, one.fields["write"])
            kept = where["inside"]
            assert len(kept) == len(made)
            if one.fields.get("to_map"):
                targets = where["address"][kept]
                assert len(np.unique(targets)) == len(targets)
                assert not set(targets) & self.reads, "what is read and written lie apart"
                self.memory[targets] = made[kept]
            else:
                assert kept.all(), "results that are dropped would be missed"
                results.append(made)
            if one.work is not Work.COPY:
                found = shown.setdefault(one.layer, {})
                values = made.ravel()[one.positions].tolist()
                assert not found.keys() & set(one.outputs.tolist())
                found.update(zip(one.outputs.tolist(), values, strict=True))
        outputs = self.laid.unpack(np.concatenate(results)[None])[0]
        return outputs, {n: [found[k] for k in sorted(found)] for n, found in shown.items()}

    def _taken(self, one, vector):
        """Words that a stage takes, 0 where they are not inside; and its windows."""
        self.reads = set()
        if not one.fields.get("from_map"):
            words = self.laid.pack(vector[None])[0]
            return words, [(slice(n, n + 1), np.ones(1, bool)) for n in range(len(words))]
        found = places(self.read, one.fields["read"])
        self.reads = set(found["address"][found["inside"]])
        words = np.zeros((len(found["inside"]), self.c.scan_width), np.int64)
        words[found["inside"]] = self.memory[found["address"][found["inside"]]]
        ends = np.flatnonzero(found["ends_window"]) + 1
        starts = [0, *ends[:-1]]
        windows = [slice(*pair) for pair in zip(starts, ends, strict=True)]
        return words, [(window, found["inside"][window]) for window in windows]

    def _made(self, one, words, windows):
        if one.work is Work.COPY:
            return words
        if one.work is Work.FOLD:
            folding = one.fields["folding"]
            return np.array([_folded(words[w], inside, folding) for w, inside in windows])
        if one.work is Work.WINOGRAD:
            return self._convolved(one, words)
        layer, laid = one.plan.layer, one.plan
        number = self.laid.network.shifts[one.layer]
        vectors = words.reshape(-1, laid.columns)
        assert len(vectors) == one.windows
        sums = vectors[:, laid.inputs] @ layer.dense().astype(np.int64).T + layer.bias
        made = np.zeros((one.windows, laid.positions), np.int64)
        high = (1 << (self.laid.network.activation_width - 1)) - 1
        low = 0 if layer.activation == "relu" else -high - 1
        made[:, laid.outputs] = np.clip(_rounded(sums, number), low, high)
        return made.reshape(-1, self.c.scan_width)

    def _convolved(self, one, words):
        """As the Winograd unit does it, but directly, and from what its memory has."""
        p, lanes = self.c.winograd, self.c.scan_width
        task, tile = one.fields["winograd"], p.tile
        told, first = task["layer"], task["first"]
        channels, kernels = told["channels"], told["kernels"]
        height, width = told["height"], told["width"]
        # Of all stages' items, as the device has them.
        items = np.concatenate([x.winograd.items for x in self.laid.stages if x.winograd])[first:]
        biases = items[:kernels].astype(np.uint32).view(np.int32)
        codebook = items[kernels : kernels + (1 << p.code_width)]
        codebook = (codebook ^ (1 << p.weight_width - 1)) - (1 << p.weight_width - 1)
        beats = items[kernels + len(codebook) :][: task["beats"]]
        codes = beats[:, None] >> p.code_width * np.arange(9) & (1 << p.code_width) - 1
        weights = np.zeros((kernels, channels, 3, 3), np.int64)
        for group in range(0, kernels, p.kernels):
            size = min(p.kernels, kernels - group)
            mine = codebook[codes[group * channels :][: size * channels]]
            weights[group : group + size] = mine.reshape(channels, size, 3, 3).swapaxes(0, 1)

        high, wide = -(-height // tile), -(-width // tile)
        picture = words.reshape(high, wide, -1, tile, tile, lanes).transpose(2, 5, 0, 3, 1, 4)
        picture = picture.reshape(-1, high * tile, wide * tile)[:channels, :height, :width]
        sums = (
            torch.nn.functional.conv2d(
                torch.from_numpy(picture[None].astype(np.float64)),
                torch.from_numpy(weights.astype(np.float64)),
                padding=told["pads"],
            )[0]
            .numpy()
            .astype(np.int64)
            + biases[:, None, None]
        )
        made = np.clip(_rounded(sums, told["shift"]), told["low"], told["high"])
        _, down, right = made.shape
        rows, columns = -(-down // tile), -(-right // tile)
        places = -(-kernels // lanes)
        whole = np.full((places * lanes, rows * tile, columns * tile), 99)
        whole[kernels:] = 0
        whole[:kernels, :down, :right] = made
        parts = whole.reshape(places, lanes, rows, tile, columns, tile)
        return parts.transpose(2, 4, 0, 3, 5, 1).reshape(-1, lanes)


def _folded(words, inside, folding):
    factor, addend = folding["factor"], 0
    if folding["operation"] is Operation.GREATEST:
        value = words[inside].max(axis=0)
    elif folding["operation"] is Operation.SUM:
        value = words[inside].sum(axis=0)
    else:
        value, addend = words
    found = _rounded(value * factor + addend, folding["shift"])
    return np.clip(found, folding["low"], folding["high"])


def _rounded(values, shift):
    """Divided by ``2 ** shift``, half to even."""
    if shift == 0:
        return values
    down, rest = values >> shift, values & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return down + ((rest > half) | ((rest == half) & (down & 1 == 1)))


def check(laid, inputs):
    machine = Machine(laid)
    golden = [layer.numpy() for _, layer in run(laid.network, torch.from_numpy(inputs))]
    for vector, row in enumerate(inputs):
        outputs, shown = machine.run(row)
        assert list(shown) == list(laid.shown)
        for number, found in shown.items():
            layer = laid.network.layers[number]
            np.testing.assert_array_equal(found, golden[number][vector], f"layer {layer.name}")
        np.testing.assert_array_equal(outputs, golden[-1][vector])


def inputs_for(network, seed, batch=2):
    high = 1 << (network.activation_width - 1)
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-high, high, (batch, network.inputs))
    return inputs * (rng.random(inputs.shape) < 0.7)


@pytest.mark.parametrize("device", DEVICES)
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(seed=st.integers(0, 2**32 - 1), layers=st.integers(1, 12))
def test_every_layer(device, seed, layers):
    """What a stage needs is there when it begins, and stays until nobody needs it any more."""
    network = graph(DEVICES[device], random.Random(seed), layers=layers)
    try:
        laid = plan(network, DEVICES[device])
    except UnsupportedError:
        assume(False)
    if laid.stages:
        check(laid, inputs_for(network, seed))


@pytest.mark.parametrize("device", ["f2", "f4"])
def test_convolutions(device):
    """On the unit for these, wherever that is faster."""
    on_unit = 0
    for seed in range(60):
        network = convolutions(DEVICES[device], random.Random(seed))
        laid = plan(network, DEVICES[device])
        on_unit += sum(one.work is Work.WINOGRAD for one in laid.stages)
        check(laid, inputs_for(network, seed))
    assert on_unit > 60


SAME = {"output_radix": 0, "activation": "none"}
SMALL = Configuration(elements=4, scan_width=2, activation_width=16, **_LARGE)


def conv(name, channels, outputs, kernel=(1, 1), **fields):
    matrix = np.ones((outputs, kernel[0] * kernel[1] * channels), np.uint8)
    return Convolution.from_matrix(
        name,
        matrix,
        **SAME
        | {
            "kernel": kernel,
            "codebook": np.array([0, 1, 2, -3], np.int16),
            "code_width": 2,
            "weight_radix": 0,
            "bias": np.arange(outputs, dtype=np.int32),
        }
        | fields,
    )


def net(shape, *layers, sources=(), width=16):
    return Network("net", layers, width, 0, input_shape=shape, sources=sources)


def refused(network, message, c=SMALL):
    with pytest.raises(FitError, match=rf"^network 'net' does not fit the device:\n  {message}"):
        plan(network, c)


def mean(kernel, weight_radix, **fields):
    return AveragePooling(
        name="mean", **SAME, kernel=kernel, stride=kernel, weight_radix=weight_radix, **fields
    )


def test_windows_that_are_too_large():
    """Of more words than the sums have bits for. The greatest of them needs no sum."""
    check(plan(net((32, 32, 1), mean((32, 32), 11)), SMALL), np.full((1, 1024), -(1 << 15)))
    refused(
        net((33, 32, 1), mean((33, 32), 11)),
        "layer 'mean': accumulator_width must be at least 27, not 26$",
    )
    largest = MaxPooling(name="max", **SAME, kernel=(33, 32), stride=(1, 1))
    check(plan(net((33, 32, 1), largest), SMALL), np.arange(1056)[None] - 500)


def test_factors_that_are_too_large():
    check(plan(net((2, 2, 1), mean((1, 1), 16)), SMALL), np.arange(4)[None] - 2)
    message = "layer 'mean': factor_width must be at least 19, not 18$"
    refused(net((2, 2, 1), mean((1, 1), 17)), message)
    # Only the windows in the corners have one activation.
    refused(net((4, 4, 1), mean((2, 2), 17, padding=(1, 1, 1, 1))), message)
    for apart in 16, 17:
        fine = conv("fine", 1, 1, weight_radix=apart, output_radix=apart)
        both = Addition(name="both", **SAME)
        network = net((2, 2, 1), fine, both, sources=((0,), (0, 1)))
        if apart == 16:
            check(plan(network, SMALL), np.array([[1, -1, 300, -32768]]))
        else:
            refused(network, "layer 'both': factor_width must be at least 19, not 18$")


def test_sides_that_are_too_long():
    long = replace(SMALL, map_depth=1 << 13)
    tall = (2047, 1, 1)
    check(plan(net(tall, conv("conv", 1, 1)), long), np.arange(2047)[None])
    message = "coordinate_width must be at least 13, not 12$"
    refused(net((2048, 1, 1), conv("conv", 1, 1)), f"the input: {message}", long)
    padded = conv("conv", 1, 1, stride=(3, 1), padding=(0, 0, 3, 0))
    refused(net(tall, padded), f"layer 'conv': {message}", long)


def test_maps_that_are_too_large():
    layers = conv("first", 4, 6), conv("second", 6, 8), conv("third", 8, 2), conv("last", 2, 1)
    network = net((5, 5, 4), *layers)
    # The first's three words a pixel, the second's four, and two of the input below them, where the
    # third goes.
    check(plan(network, replace(SMALL, map_depth=225)), np.arange(100)[None] - 50)
    refused(
        network,
        "layer 'second': map_depth must be at least 225, for all feature maps that are needed "
        "then, not 224$",
        replace(SMALL, map_depth=224),
    )
    refused(net((40, 40, 4), layers[0]), "the input: map_depth must be at least 3200, ")


def test_too_many_stages():
    layers = [conv(f"conv {n}", 1, 1) for n in range(4)]
    check(plan(net((1, 1, 1), *layers), replace(SMALL, stage_depth=5)), np.array([[3]]))
    refused(
        net((1, 1, 1), *layers),
        "all layers together: stage_depth must be at least 5, not 4$",
        replace(SMALL, stage_depth=4),
    )


def test_what_is_short_of_a_layer_with_weights():
    refused(
        net((3, 3, 4), conv("conv", 4, 9, (3, 3))),
        "all layers together: column_depth must be at least 36, not 34$",
        replace(SMALL, column_depth=34),
    )


def joined(*channels):
    """A convolution of as many channels as two others, joined, and the sum of both."""
    first, second = channels
    return net(
        (2, 2, 2),
        conv("a", 2, first),
        conv("b", 2, second),
        Concatenation(name="cat", **SAME),
        conv("c", 2, first + second),
        Addition(name="add", **SAME),
        sources=((0,), (0,), (1, 2), (0,), (3, 4)),
    )


def test_addition_of_tensors_in_unlike_orders():
    """A concatenation begins each of its sources with a word."""
    check(plan(joined(4, 3), SMALL), np.arange(8)[None])
    message = (
        r"^layer 'add' adds up tensors that were joined from others in different ways, "
        "which devices cannot$"
    )
    with pytest.raises(UnsupportedError, match=message):
        plan(joined(3, 4), SMALL)


def test_addition_of_a_part():
    """What is added is not a part of a concatenation, but copied there."""
    network = net(
        (3, 2, 2),
        conv("a", 2, 4),
        conv("b", 2, 4),
        Concatenation(name="cat", **SAME),
        Addition(name="add", **SAME),
        Concatenation(name="end", **SAME),
        sources=((0,), (0,), (1, 2), (1, 2), (3, 4)),
    )
    laid = plan(network, SMALL)
    assert [one.name for one in laid.stages] == ["input", "a", "b", "cat", "cat", "add", "end"]
    check(laid, np.arange(24).reshape(2, 12) - 9)


def test_addition_of_layers_in_tiles():
    """Whatever is added is in the order of its channels, tiles or not."""
    c = replace(SMALL, elements=4, row_depth=2)
    network = net(
        (1, 1, 19),
        conv("a", 19, 19),
        Addition(name="add", **SAME),
        sources=((0,), (0, 1)),
    )
    laid = plan(network, c)
    assert [one.tiles for one in laid.layers] == [3]
    assert laid.layers[0].outputs.tolist() == [*range(19)]
    check(laid, np.arange(19)[None])


def test_what_is_joined_takes_no_stage():
    """Each part is written to its place, however deep; only what leaves the device is copied."""
    network = net(
        (2, 2, 3),
        conv("a", 3, 3),
        Concatenation(name="inner", **SAME),
        conv("b", 6, 5),
        Concatenation(name="outer", **SAME),
        sources=((0,), (0, 1), (2,), (2, 3)),
    )
    laid = plan(network, SMALL)
    assert [one.name for one in laid.stages] == ["input", "a", "b", "outer"]
    assert laid.stages[-1].work is Work.COPY
    # Two words for three channels, three for five.
    assert laid.map_words == 4 * (2 + 2 + 3)
    assert list(laid.shown) == [0, 2]
    check(laid, np.arange(24).reshape(2, 12) - 9)


def test_no_weights_at_all():
    both = Addition(name="both", **SAME)
    laid = plan(net((5,), both, sources=((0, 0),)), SMALL)
    assert laid.layers == ()
    assert laid.totals.tolist() == [0] * 4
    check(laid, np.array([[1, -2, 30000, -30000, 0]]))


def test_fully_connected_layers_only():
    """They take no stages, whatever the device has."""
    layer = FullyConnected.from_matrix(
        "fc",
        np.ones((2, 3), np.uint8),
        **SAME,
        codebook=np.array([0, 1, 2, 3], np.int16),
        code_width=2,
        weight_radix=0,
        bias=np.zeros(2, np.int32),
    )
    assert plan(net((3,), layer), SMALL).stages == ()
