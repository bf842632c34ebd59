"""The compiled accelerator against the golden model: every layer of whole networks."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.errors import DeviceError, FitError, PrunusError
from golden.nets.random import random_network
from golden.network import run
from hdl.configuration import PRESETS, Configuration
from hdl.maps.conductor import Work
from mapping import Plan, plan
from mapping.plan import _lay_out
from mapping.stages import predict_stages
from sim.compiled import CompiledModel
from sim.graphs import convolutions, fitting

_SMALL = {"weight_depth": 4096, "column_depth": 512, "activation_depth": 256, "bias_depth": 512}
DEVICES = {
    # One lane of 8 bits.
    "narrow": Configuration(
        elements=1, scan_width=1, activation_width=8, row_depth=128, layer_depth=4, **_SMALL
    ),
    # Four lanes of 16 bits: a port of 64 bits.
    "pe4": PRESETS["pe4"],
    # Eight lanes of 12 bits: a wide port, and lanes across the words it is made of. Two scans.
    "wide": Configuration(
        elements=16,
        scan_width=8,
        ways=2,
        activation_width=12,
        row_depth=16,
        layer_depth=4,
        **_SMALL,
    ),
}


@pytest.fixture(scope="module", params=DEVICES)
def model(request):
    with CompiledModel(DEVICES[request.param]) as model:
        yield model


@pytest.fixture(scope="module")
def pe4():
    with CompiledModel(DEVICES["pe4"]) as model:
        yield model


def widths_of(model):
    """Widths of activations in networks that the device can run."""
    return [width for width in (8, 16) if width <= model.configuration.activation_width]


def network_for(model, rng, **options):
    """A random network of the widest activations that the device can do."""
    return random_network(rng, activation_width=widths_of(model)[-1], **options)


def inputs_for(rng, network, batch, *, density=0.5):
    high = 1 << (network.activation_width - 1)
    inputs = rng.integers(-high, high, (batch, network.inputs))
    return inputs * (rng.random(inputs.shape) < density)


def check(model, network, inputs, *, ahead=1, **options):
    """Run ``inputs`` and compare every activation of every layer; return the run.

    Of vectors that are not run one at a time, only the results.
    """
    found = model.run(inputs, ahead=ahead, taps=ahead == 1, **options)
    expected = run(network, torch.from_numpy(inputs))
    if found.taps is not None:
        for layer, tap, (_, outputs) in zip(network.layers, found.taps, expected, strict=True):
            np.testing.assert_array_equal(tap, outputs.numpy(), f"layer {layer.name}")
    np.testing.assert_array_equal(found.outputs, expected[-1][1].numpy())
    assert found.outputs.dtype == np.int16
    return found


SHAPES = [
    (24, 16, 10),
    (1, 1),
    (1, 40, 1),
    (100, 3),
    (5, 64, 33, 17, 10),
    (128, 100),
    (31, 7, 50),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_layer(model, shape):
    rng = np.random.default_rng(sum(shape))
    for width in widths_of(model):
        network = random_network(rng, shape=shape, activation_width=width)
        model.load(plan(network, model.configuration))
        check(model, network, inputs_for(rng, network, 5))


@pytest.mark.parametrize("density", [0.0, 0.02, 1.0])
def test_densities(model, density):
    rng = np.random.default_rng(3)
    network = network_for(model, rng, shape=(40, 20, 12), density=density)
    model.load(plan(network, model.configuration))
    for active in 0.0, 0.05, 1.0:
        check(model, network, inputs_for(rng, network, 3, density=active))


def test_extremes(model):
    rng = np.random.default_rng(4)
    network = network_for(model, rng, shape=(30, 20))
    model.load(plan(network, model.configuration))
    high = 1 << (network.activation_width - 1)
    inputs = np.array([np.full(30, value) for value in (-high, high - 1, -1, 1)])
    check(model, network, inputs)
    # Any integer type does, and any layout in memory.
    strided = np.asfortranarray(np.repeat(inputs, 2, axis=1).astype(np.int32))[:, ::2]
    np.testing.assert_array_equal(model.run(strided).outputs, model.run(inputs).outputs)


def test_back_to_back(model):
    rng = np.random.default_rng(5)
    network = network_for(model, rng, shape=(60, 30, 10))
    model.load(plan(network, model.configuration))
    inputs = inputs_for(rng, network, 20)
    runs = {ahead: check(model, network, inputs, ahead=ahead) for ahead in (1, 2, 8, 10**9)}
    assert runs[1].cycles > runs[2].cycles >= runs[8].cycles == runs[10**9].cycles
    for found in runs.values():
        finished = found.finished.astype(np.int64)
        assert found.cycles == finished[-1]
        assert (np.diff(finished) > 0).all()
    finished = runs[1].finished.astype(np.int64)
    first, last = (tapped.astype(np.int64) for tapped in runs[1].tapped)
    # A layer comes after the one before it, and the result after both.
    assert (first.max(axis=1) < last.max(axis=1)).all()
    assert (last.max(axis=1) < finished).all()
    assert (first.min(axis=1)[1:] > last.max(axis=1)[:-1]).all()
    # A beat has as many activations as there are lanes.
    most = model.configuration.scan_width
    assert np.unique(first[0], return_counts=True)[1].max() <= most


def test_one_after_another(model):
    """The same network twice, then another one, without building or resetting anything."""
    rng = np.random.default_rng(6)
    first = network_for(model, rng, shape=(50, 20, 10))
    inputs = inputs_for(rng, first, 4)
    for _ in range(2):
        model.load(plan(first, model.configuration))
        for _ in range(2):
            check(model, first, inputs)
    second = network_for(model, rng, shape=(9, 30, 5, 4), density=0.8)
    model.load(plan(second, model.configuration))
    check(model, second, inputs_for(rng, second, 4))


def test_taps_are_not_taken_unless_asked_for(pe4):
    network = random_network(np.random.default_rng(7))
    pe4.load(plan(network, pe4.configuration))
    found = pe4.run(np.ones((2, network.inputs), int))
    assert found.taps is None
    assert found.tapped is None
    with pytest.raises(ValueError, match=r"^ahead must be 1 to watch activations, not 2$"):
        pe4.run(np.ones((2, network.inputs), int), ahead=2, taps=True)


FLAT = Configuration(elements=4, scan_width=2, row_depth=3, activation_depth=128, layer_depth=32)


def test_tiles():
    """All activations of layers in tiles, and what is counted of these is that of the layer."""
    rng = np.random.default_rng(15)
    network = random_network(rng, shape=(20, 30, 8, 40))
    laid = plan(network, FLAT)
    assert [layer.tiles for layer in laid.layers] == [3, 1, 4]
    inputs = inputs_for(rng, network, 5)
    with CompiledModel(FLAT) as model:
        model.load(laid)
        found = check(model, network, inputs)
        report = model.report()
        for ahead in 2, 8:
            check(model, network, inputs, ahead=ahead)
    activations = [inputs, *found.taps[:-1]]
    products = [
        ((x != 0) @ np.bincount(layer.columns, minlength=layer.inputs)).sum()
        for layer, x in zip(network.layers, activations, strict=True)
    ]
    assert report.counters["busy"].sum() == sum(products)
    assert len(report.cycles) == 3
    assert all(cycles > n / 4 for cycles, n in zip(report.cycles, products, strict=True))


def test_a_vector_that_is_too_long_to_be_kept():
    """What plans refuse is what the hardware cannot do."""
    rng = np.random.default_rng(16)
    network = random_network(rng, shape=(130, 20, 5))
    with pytest.raises(FitError, match="layer 'fc1', in 2 tiles: activation_depth must be at"):
        plan(network, FLAT)
    laid = Plan(network, FLAT, _lay_out(network, FLAT, None, False))
    with CompiledModel(FLAT) as model:
        model.load(laid)
        with pytest.raises(DeviceError, match=r"^the accelerator gave 0 of 1 .*, in layer 'fc1'$"):
            model.run(inputs_for(rng, network, 1))


def test_report(model):
    rng = np.random.default_rng(8)
    network = network_for(model, rng, shape=(60, 40, 10))
    model.load(plan(network, model.configuration))
    model.report()
    inputs = inputs_for(rng, network, 6)
    found = check(model, network, inputs)
    report = model.report()
    activations = [inputs, *found.taps[:-1]]
    products = sum(
        ((x != 0) @ np.bincount(layer.columns, minlength=layer.inputs)).sum()
        for layer, x in zip(network.layers, activations, strict=True)
    )
    assert report.counters["busy"].shape == (model.configuration.elements,)
    assert report.counters["busy"].sum() == products
    assert len(report.cycles) == 2
    assert 0 < sum(report.cycles) <= found.cycles
    again = model.report()
    assert again.cycles == [0, 0]
    assert not again.counters["busy"].any()


def test_slices_change_nothing(model, monkeypatch):
    rng = np.random.default_rng(9)
    network = network_for(model, rng, shape=(60, 40, 10))
    model.load(plan(network, model.configuration))
    inputs = inputs_for(rng, network, 40)
    whole = check(model, network, inputs)
    monkeypatch.setattr(CompiledModel, "SLICE", 0)
    monkeypatch.setattr(CompiledModel, "LOADED", 7)
    model.load(plan(network, model.configuration))
    told = []
    sliced = check(model, network, inputs, progress=told.append)
    assert sliced.cycles == whole.cycles
    np.testing.assert_array_equal(sliced.finished, whole.finished)
    for mine, other in zip(sliced.tapped, whole.tapped, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert len(told) > 2
    assert told == sorted(told)
    assert told[-1] == 40


def test_interrupted(model, monkeypatch):
    """A run that is given up leaves an accelerator that takes the next network."""

    def give_up(done):
        if done > 1:
            raise KeyboardInterrupt

    rng = np.random.default_rng(10)
    network = network_for(model, rng, shape=(60, 40, 10))
    inputs = inputs_for(rng, network, 40)
    monkeypatch.setattr(CompiledModel, "SLICE", 0)
    model.load(plan(network, model.configuration))
    with pytest.raises(KeyboardInterrupt):
        model.run(inputs, progress=give_up)
    with pytest.raises(PrunusError, match="no network is loaded"):
        model.run(inputs)
    model.load(plan(network, model.configuration))
    check(model, network, inputs)
    model.reset()
    model.load(plan(network, model.configuration))
    check(model, network, inputs[:3])


def test_an_accelerator_that_stops(pe4):
    rng = np.random.default_rng(11)
    network = random_network(rng, shape=(20, 10))
    good = plan(network, pe4.configuration)
    inputs = inputs_for(rng, network, 3)

    never_begins = replace(good)
    never_begins.__dict__["load"] = good.load[:-1]
    pe4.load(never_begins)
    with pytest.raises(
        DeviceError,
        match=r"^the accelerator gave 0 of 3 results, then nothing for \d+ cycles, between layers$",
    ):
        pe4.run(inputs)

    # It waits for the rest of a longer vector.
    longer = replace(good)
    longer.__dict__["load"] = plan(random_network(rng, shape=(80, 10)), pe4.configuration).load
    pe4.load(longer)
    with pytest.raises(
        DeviceError,
        match=r"^the accelerator gave 0 of 3 results, then nothing for \d+ cycles, "
        r"in layer 'fc1'$",
    ):
        pe4.run(inputs)

    # It takes no packet while it has a part of a vector.
    pe4.load(good)
    pe4._library.prunus_run(pe4._handle, _a_beat(good), 1, 100)
    with pytest.raises(
        DeviceError,
        match=r"^the accelerator took 0 of \d+ beats to load, then none for \d+ cycles$",
    ):
        pe4.load(good)

    pe4.load(good)
    check(pe4, network, inputs)


def _a_beat(good):
    from sim.compiled import _State

    beat = np.ones(4, np.int16)
    state = _State(inputs=beat.ctypes.data, vectors=1, beats_in=good.beats_in, beats_out=1, ahead=1)
    _a_beat.keep = beat
    return state


def test_a_network_that_does_not_fit(pe4):
    rng = np.random.default_rng(12)
    with pytest.raises(FitError, match="bias_depth must be at least"):
        pe4.load(plan(random_network(rng, shape=(8, 1600)), pe4.configuration))
    network = random_network(rng)
    pe4.load(plan(network, pe4.configuration))
    check(pe4, network, inputs_for(rng, network, 2))


def test_another_device(pe4):
    network = random_network(np.random.default_rng(13))
    with pytest.raises(ValueError, match=r"^plan must be for Configuration\(elements=4"):
        pe4.load(plan(network, PRESETS["pe16"]))


def test_wrong_inputs(pe4):
    network = random_network(np.random.default_rng(14), activation_width=8)
    pe4.load(plan(network, pe4.configuration))
    inputs = np.zeros((2, 24), np.int16)
    for wrong in inputs.astype(float), inputs.astype(bool), inputs.tolist():
        with pytest.raises(TypeError, match="^inputs must be an array of integers, not "):
            pe4.run(wrong)
    for wrong in inputs + 128, inputs - 129:
        with pytest.raises(ValueError, match=r"^inputs must be -128 to 127, not "):
            pe4.run(wrong)
    for wrong in inputs[0], inputs[:, :23]:
        with pytest.raises(ValueError, match=r"^inputs must be of shape \(batch, 24\), not "):
            pe4.run(wrong)
    with pytest.raises(ValueError, match="^inputs must be at least one vector, not none$"):
        pe4.run(inputs[:0])
    for ahead in 0, -1, 1.0, True:
        with pytest.raises(TypeError, match=f"^ahead must be a positive integer, not {ahead!r}$"):
            pe4.run(inputs, ahead=ahead)


def test_wrong_configuration():
    with pytest.raises(TypeError, match=r"^configuration must be a Configuration, not 'pe4'$"):
        CompiledModel("pe4")


def test_closed():
    model = CompiledModel(DEVICES["narrow"])
    assert model.cycles == 2
    with pytest.raises(PrunusError, match="^no network is loaded$"):
        model.report()
    model.close()
    model.close()
    with pytest.raises(ValueError, match="^the model is closed$"):
        model.reset()


STAGES = {
    "chip": Configuration(
        elements=8,
        scan_width=2,
        ways=2,
        row_depth=4,
        activation_depth=512,
        map_depth=2048,
        layer_depth=32,
        winograd_tile=2,
    ),
    "outside": Configuration(
        elements=3,
        scan_width=3,
        activation_width=8,
        row_depth=13,
        column_depth=3000,
        bias_depth=999,
        activation_depth=510,
        map_depth=3000,
        map_reads=9,
        winograd_tile=4,
        winograd_kernels=2,
    ),
}


@pytest.mark.parametrize("device", STAGES)
def test_stages(device):
    """All activations of random networks through feature maps, one at a time and back to back.

    On the chip, cycles are as predicted, but for the first window of a layer with weights in the
    sparse engine: its words are still being read.
    """
    c = STAGES[device]
    late, late_on_unit = [], []
    with CompiledModel(c) as model:
        for seed in range(120):
            # By turns, for the unit for convolutions too.
            options = {"make": convolutions} if seed % 2 else {"layers": 12}
            laid = fitting(c, random.Random(seed), **options)
            network = laid.network
            inputs = inputs_for(np.random.default_rng(seed), network, 3)
            model.load(laid)
            model.report()
            tensors, counted = [], []
            for row in inputs:
                tensors.append(check_stages(model, laid, row[None]))
                counted.append(model.report().cycles)
            if device == "chip" and laid.stages:
                together = [np.concatenate(rows) for rows in zip(*tensors, strict=True)]
                found = predict_stages(laid.stages, network, c, together)
                cycles = dict(zip(laid.shown, np.transpose(counted), strict=True))
                assert found.keys() == cycles.keys()
                on_unit = {one.layer for one in laid.stages if one.work is Work.WINOGRAD}
                for number in found:
                    own = late_on_unit if number in on_unit else late
                    own.append(cycles[number] - found[number][0])
            expected = run(network, torch.from_numpy(inputs))[-1][1].numpy()
            np.testing.assert_array_equal(model.run(inputs).outputs, expected)
    if device == "chip":
        late = np.array(late)
        assert late.size > 900
        assert len(late_on_unit) > 60
        assert not np.any(late_on_unit)
        assert late.min() >= 0
        assert late.max() <= 10
        assert (late > 0).mean() < 0.05


def check_stages(model, laid, inputs):
    """Run a vector and compare what is shown of every layer; return all tensors."""
    found = model.run(inputs, ahead=1, taps=True)
    golden = [outputs.numpy() for _, outputs in run(laid.network, torch.from_numpy(inputs))]
    for number, tap in zip(laid.shown, found.taps, strict=True):
        name = laid.network.layers[number].name
        np.testing.assert_array_equal(tap, golden[number], f"layer {name}")
    np.testing.assert_array_equal(found.outputs, golden[-1])
    return [inputs, *golden]
