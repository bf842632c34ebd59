"""The model of cycles against the RTL: equal to the cycle, and to each element's counters."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from golden.errors import FitError
from golden.nets.random import random_network
from golden.network import run
from hdl.configuration import PRESETS, Configuration
from mapping import Plan, plan
from mapping.cycles import companions, predict, predict_stream, predict_streams, useful
from mapping.plan import _lay_out
from sim.compiled import CompiledModel

DEVICE = PRESETS["pe4"]
# Layers are split over two ways where that is faster.
WAYS = Configuration(elements=8, scan_width=2, ways=2, row_depth=256, weight_depth=1 << 13)
FIELDS = ("busy", "starved", "blocked", "padding")


@pytest.fixture(scope="module", params=[DEVICE, WAYS], ids=["one way", "two ways"])
def model(request):
    with CompiledModel(request.param) as model:
        yield model


def activations_of(network, inputs):
    """The input of each layer."""
    results = run(network, torch.from_numpy(inputs))
    return [inputs, *(outputs.numpy() for _, outputs in results[:-1])]


def inputs_of(rng, network, batch, density):
    inputs = rng.integers(-(1 << 12), 1 << 12, (batch, network.inputs))
    return inputs * (rng.random(inputs.shape) < density)


CASES = [
    # shape, density of the weights, bits of a code, density of the input
    ((24, 16, 10), 0.25, 4, 0.5),
    ((200, 90, 60, 10), 0.1, 4, 0.3),
    ((200, 90, 60, 10), 0.1, 4, 1.0),
    ((64, 120, 8), 0.9, 6, 1.0),  # the queues fill up and block the scan
    ((150, 300), 0.01, 6, 0.8),  # most entries are escapes, some of them in pairs
    ((300, 40), 0.02, 2, 0.05),  # most segments are empty
    ((30, 20), 0.5, 4, 0.0),
    ((30, 20), 0.0, 4, 1.0),
    ((1, 1), 1.0, 2, 1.0),
    ((7, 1, 9), 0.6, 3, 0.7),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_equal_to_the_rtl(model, case):
    shape, density, code_width, input_density = CASES[case]
    rng = np.random.default_rng(case)
    network = random_network(rng, shape=shape, density=density, code_width=code_width)
    laid = plan(network, model.configuration, activity=[input_density] * len(network.layers))
    inputs = inputs_of(rng, network, 6, input_density)
    predicted = predict(laid, activations_of(network, inputs))
    model.load(laid)
    answers = run(network, torch.from_numpy(inputs))[-1][1].numpy()
    for vector in range(len(inputs)):
        assert np.array_equal(model.run(inputs[[vector]]).outputs, answers[[vector]])
        report = model.report()
        assert predicted.cycles[vector].tolist() == report.cycles
        for field in FIELDS:
            counted = getattr(predicted, field)[vector].sum(axis=0)
            assert counted.tolist() == report.counters[field].tolist(), field


def test_what_the_cases_reach():
    """The cases above are of use only if they reach all that the model knows."""
    reached = dict.fromkeys(FIELDS, 0)
    split = []
    for case, (shape, density, code_width, input_density) in enumerate(CASES):
        rng = np.random.default_rng(case)
        network = random_network(rng, shape=shape, density=density, code_width=code_width)
        inputs = inputs_of(rng, network, 6, input_density)
        predicted = predict(plan(network, DEVICE), activations_of(network, inputs))
        for field in FIELDS:
            reached[field] += int(getattr(predicted, field).sum())
        laid = plan(network, WAYS, activity=[input_density] * len(network.layers))
        split += [layer.split for layer in laid.layers]
    assert min(reached.values()) > 20, reached
    assert 3 < sum(split) < len(split) - 3


def test_useful_products_one_by_one():
    rng = np.random.default_rng(0)
    network = random_network(rng, shape=(12, 9, 5), density=0.4)
    activations = activations_of(network, inputs_of(rng, network, 3, 0.5))
    counted = useful(plan(network, DEVICE), activations)
    for vector in range(3):
        for index, layer in enumerate(network.layers):
            weights = layer.dense()
            products = sum(
                bool(weights[row, column]) and bool(activations[index][vector, column])
                for row in range(layer.outputs)
                for column in range(layer.inputs)
            )
            assert counted[vector, index] == products


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize(("depth", "together"), [(8, 1), (10, 1), (14, 1), (16, 2)])
def test_shallow_queues(depth, together, ways):
    """Blocks go through a queue of four faster than through a deeper one, a vector of input may be
    longer than what they hold, and not all of them have room for two results."""
    device = Configuration(
        elements=4, scan_width=2, ways=ways, activation_depth=depth, accumulator_width=40
    )
    with CompiledModel(device) as model:
        for inputs in 5, 300:
            rng = np.random.default_rng(inputs)
            network = random_network(rng, shape=(inputs, 7, 3), density=0.5)
            laid = plan(network, device)
            assert companions(laid.layers, device) == together
            vectors = inputs_of(rng, network, 7, 0.3)
            predicted = predict_stream(laid, activations_of(network, vectors))
            answers = run(network, torch.from_numpy(vectors))[-1][1].numpy()
            model.load(laid)
            assert np.array_equal(model.run(vectors).outputs, answers)
            assert model.report().cycles == predicted.cycles.sum(axis=0).tolist()


def test_never_fewer_cycles_than_the_busiest_element_needs():
    rng = np.random.default_rng(0)
    network = random_network(rng, shape=(300, 100, 10), density=0.1)
    laid = plan(network, dataclasses.replace(DEVICE, queue_depth=256))
    predicted = predict(laid, activations_of(network, inputs_of(rng, network, 3, 0.5)))
    work = predicted.busy + predicted.padding
    assert (predicted.cycles > work.max(axis=2)).all()
    assert (predicted.cycles[:, 0] < 1.1 * work.max(axis=2)[:, 0]).all()


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_stream_equal_to_the_rtl(model, case, batch):
    """Vectors sent one behind the other go through the layers in threes."""
    shape, density, code_width, input_density = CASES[case]
    rng = np.random.default_rng(case)
    network = random_network(rng, shape=shape, density=density, code_width=code_width)
    laid = plan(network, model.configuration, activity=[input_density] * len(network.layers))
    inputs = inputs_of(rng, network, batch, input_density)
    predicted = predict_stream(laid, activations_of(network, inputs))
    model.load(laid)
    answers = run(network, torch.from_numpy(inputs))[-1][1].numpy()
    assert np.array_equal(model.run(inputs, ahead=8).outputs, answers)
    report = model.report()
    assert predicted.cycles.sum(axis=0).tolist() == report.cycles
    for field in FIELDS:
        counted = getattr(predicted, field).sum(axis=(0, 1))
        assert counted.tolist() == report.counters[field].tolist(), field


@pytest.mark.parametrize("width", [1, 4, 16])
@pytest.mark.parametrize("preset", ["pe1", "pe4"])
def test_small_layers_back_to_back(preset, width):
    """Beyond steps and products, a layer takes no more than ten cycles."""
    rng = np.random.default_rng(width)
    network = random_network(rng, shape=(width,) * 5, density=0.2)
    laid = plan(network, PRESETS[preset])
    inputs = activations_of(network, inputs_of(rng, network, 12, 0.5))
    predicted = predict_stream(laid, inputs)
    steps = []
    for layer, vectors in zip(laid.layers, inputs, strict=True):
        placed = np.zeros((len(vectors), layer.columns), bool)
        placed[:, layer.inputs] = vectors != 0
        blocks = placed.reshape(len(placed), -1, laid.configuration.scan_width).sum(axis=2)
        steps.append(np.maximum(blocks, 1).sum(axis=1))
    needed = np.maximum(np.stack(steps, axis=1), predicted.busy.max(axis=2))
    # The first and last vectors fill and empty the pipeline.
    assert (predicted.cycles - needed)[3:-3].mean() <= 10


@pytest.mark.parametrize("device", [DEVICE, WAYS], ids=["one way", "two ways"])
def test_streams_do_not_disturb_each_other(device):
    """Each takes the cycles that it takes by itself, however long the others are."""
    rng = np.random.default_rng(3)
    network = random_network(rng, shape=(60, 30, 10), density=0.3)
    laid = plan(network, device)
    streams = [
        activations_of(network, inputs_of(rng, network, 5, density)) for density in (0.1, 0.5, 1)
    ]
    together = predict_streams(laid, [np.stack(layer) for layer in zip(*streams, strict=True)])
    for index, stream in enumerate(streams):
        alone = predict_stream(laid, stream)
        for field in ("cycles", *FIELDS):
            assert np.array_equal(getattr(together, field)[index], getattr(alone, field)), field


def check(model, laid, inputs):
    """Outputs, cycles and counters of vectors one at a time, together and in a stream."""
    activations = activations_of(laid.network, inputs)
    answers = run(laid.network, torch.from_numpy(inputs))[-1][1].numpy()
    model.load(laid)
    for ahead, predicted in (1, predict(laid, activations)), (8, predict_stream(laid, activations)):
        assert np.array_equal(model.run(inputs, ahead=ahead).outputs, answers)
        report = model.report()
        assert predicted.cycles.sum(axis=0).tolist() == report.cycles
        for field in FIELDS:
            counted = getattr(predicted, field).sum(axis=(0, 1))
            assert counted.tolist() == report.counters[field].tolist(), field


# Few rows to an element, so that layers are in tiles; and queues of as few blocks as will do, one
# of them so shallow that blocks go through it in one cycle.
TILED = {
    "one way": Configuration(
        elements=4, scan_width=2, row_depth=3, activation_depth=128, layer_depth=32
    ),
    "two ways": Configuration(
        elements=8, scan_width=2, ways=2, row_depth=2, activation_depth=96, layer_depth=32
    ),
    "eight blocks": Configuration(elements=1, scan_width=1, row_depth=2, activation_depth=8),
    "four blocks": Configuration(elements=1, scan_width=1, row_depth=2, activation_depth=4),
}
# Shapes, and tiles of the layers where all are joined.
TILED_SHAPES = {
    "one way": {
        (20, 30, 40, 50): [3, 4, 5],
        (60, 30, 8, 40): [3, 1, 4],
        (20, 10, 30, 5): [1, 3, 1],
        (128, 13, 64): [2, 6],
        (9, 100): [9],
    },
    "two ways": {
        (20, 30, 40, 50): [2, 3, 4],
        (60, 30, 8, 40): [2, 1, 3],
        (96, 17, 64): [2, 4],
        (3, 32, 60, 5): [2, 4, 1],
        (3, 1, 40): [1, 3],
    },
    "eight blocks": {(8, 2, 5, 4): [1, 3, 2], (8, 4, 4, 4): [2, 2, 2], (50, 2, 6): [1, 3]},
    "four blocks": {(4, 4, 4): [2, 2], (3, 7): [4], (50, 2, 3): [1, 2], (4, 3, 1): [2, 1]},
}


@pytest.fixture(scope="module", params=TILED)
def tiled(request):
    with CompiledModel(TILED[request.param]) as model:
        yield request.param, model


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_tiles_equal_to_the_rtl(tiled, batch):
    """Tiles in the first, middle and last layers, whether layers are split or not."""
    name, model = tiled
    device = model.configuration
    for number, (shape, tiles) in enumerate(TILED_SHAPES[name].items()):
        for density, active in (0.3, 0.5), (1.0, 1.0), (0.02, 0.1):
            rng = np.random.default_rng(number)
            network = random_network(rng, shape=shape, density=density, code_width=3)
            laid = Plan(network, device, _lay_out(network, device, None, False))
            assert [layer.tiles for layer in laid.layers] == tiles
            inputs = inputs_of(rng, network, batch, active)
            check(model, laid, inputs)
            if device.ways > 1:
                split = Plan(network, device, _lay_out(network, device, None, True))
                assert max(layer.tiles * layer.split for layer in split.layers) > 1
                check(model, split, inputs)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_tiles_equal_to_the_rtl(tiled, data):
    _, model = tiled
    # What waits together has to fit; the last result leaves tile by tile.
    most = model.configuration.activation_depth // 2
    shape = data.draw(st.lists(st.integers(1, most), min_size=1, max_size=3), "shape")
    shape.append(data.draw(st.integers(1, 4 * most), "outputs"))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), "seed"))
    densities = st.sampled_from([0.0, 0.1, 0.5, 1.0])
    network = random_network(rng, shape=tuple(shape), density=data.draw(densities, "density"))
    inputs = inputs_of(rng, network, data.draw(st.integers(1, 4), "batch"), data.draw(densities))
    try:
        laid = plan(network, model.configuration)
    except FitError:
        reject()
    check(model, laid, inputs)
