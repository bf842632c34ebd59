from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden import sparse
from golden.layers import MAX_SIDE, FullyConnected
from tests.golden.strategies import layers


def plain_layer(layer, vector, shift, width):
    """Accumulators and outputs for one input, in plain Python, weight by weight."""
    sums = [int(bias) for bias in layer.bias]
    for column in range(layer.inputs):
        for k in range(layer.column_starts[column], layer.column_starts[column + 1]):
            sums[layer.rows[k]] += int(layer.codebook[layer.codes[k]]) * vector[column]
    high = 2 ** (width - 1) - 1
    low = 0 if layer.activation == "relu" else -high - 1
    return sums, [min(max(round(Fraction(x, 2**shift)), low), high) for x in sums]


def check(layer, batch, shift, width):
    accumulators, outputs = sparse.layer(layer, torch.tensor(batch), shift=shift, width=width)
    expected = [plain_layer(layer, vector, shift, width) for vector in batch]
    assert accumulators.dtype == outputs.dtype == torch.int64
    assert accumulators.tolist() == [sums for sums, _ in expected]
    assert outputs.tolist() == [activations for _, activations in expected]


def make(codes, codebook, bias, activation="none"):
    return FullyConnected.from_matrix(
        "layer",
        np.array(codes, np.uint8),
        codebook=np.array(codebook, np.int16),
        code_width=2,
        weight_radix=4,
        bias=np.array(bias, np.int32),
        output_radix=4,
        activation=activation,
    )


@given(layers(), st.data())
def test_matches_plain_python(layer, data):
    width = data.draw(st.sampled_from([8, 16]))
    high = 2 ** (width - 1) - 1
    numbers = st.one_of(st.integers(-high - 1, high), st.sampled_from([-high - 1, 0, high]))
    vectors = st.lists(numbers, min_size=layer.inputs, max_size=layer.inputs)
    batch = data.draw(st.lists(vectors, min_size=1, max_size=3))
    check(layer, batch, data.draw(st.integers(0, 47)), width)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_of_columns(monkeypatch, block):
    rng = np.random.default_rng(block)
    codes = rng.integers(0, 4, (5, 23), dtype=np.uint8)
    layer = make(codes, [0, 32767, -32768, 1], [0, 1, -1, 2**31 - 1, -(2**31)])
    monkeypatch.setattr(sparse, "_BLOCK", block)
    check(layer, rng.integers(-32768, 32768, (4, 23)).tolist(), 13, 16)


@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("shift", [0, 1, 15, 31, 47])
def test_extremes(activation, shift):
    # Every product and bias at an end of its range, both signs; one row is empty.
    codes = [[1, 1, 1], [2, 2, 2], [1, 2, 1], [0, 0, 0]]
    layer = make(codes, [0, 32767, -32768, 0], [2**31 - 1, -(2**31), 0, -1], activation)
    batch = [[-32768] * 3, [32767] * 3, [-32768, 32767, -32768], [0, 0, 0]]
    check(layer, batch, shift, 16)


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_ties_and_saturation(activation):
    # The accumulator is the input: at ties of either parity and sign, and beside them, ...
    layer = make([[1]], [0, 1, 0, 0], [0], activation)
    check(layer, [[x] for x in range(-17, 18)], 2, 8)
    # ... and, times 11, about both ends of 8 bits: 11 * 46 / 4 is 126.5.
    layer = make([[1]], [0, 11, 0, 0], [0], activation)
    check(layer, [[x] for x in (-48, -47, -46, 46, 47, 48)], 2, 8)


def test_saturates_both_ways():
    layer = make([[1], [2]], [0, 32767, -32768, 0], [0, 0])
    _, outputs = sparse.layer(layer, torch.tensor([[127], [-128]]), shift=0, width=8)
    assert outputs.tolist() == [[127, -128], [-128, 127]]
    assert sparse.layer(layer, torch.tensor([[100]]), shift=16, width=16)[1].tolist() == [[50, -50]]


def test_float64_holds_every_sum():
    """The claim that the fast path rests on, for the largest layer there can be."""
    assert MAX_SIDE * 2**15 * 2**15 + 2**31 < 2**53


def test_long_sum_is_exact():
    # Neighbours of 2**46 differ in the last bit: float32, or int32, would lose it.
    side = 2**16
    codes = np.ones((2, side), np.uint8)
    codes[1, -1] = 2
    layer = make(codes, [0, 32767, 32766, 0], [1, 1])
    inputs = torch.full((1, side), 32767, dtype=torch.int16)
    accumulators, _ = sparse.layer(layer, inputs, shift=0, width=16)
    total = side * 32767 * 32767 + 1
    assert accumulators.tolist() == [[total, total - 32767]]


def test_empty_batch():
    layer = make([[1, 2]], [0, 1, 2, 3], [5])
    inputs = torch.zeros((0, 2), dtype=torch.int64)
    accumulators, outputs = sparse.layer(layer, inputs, shift=0, width=8)
    assert accumulators.shape == outputs.shape == (0, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool, torch.complex64])
def test_wrong_dtype(dtype):
    with pytest.raises(TypeError, match=r"^inputs must be of a signed integer dtype, not torch\."):
        sparse.layer(make([[1]], [0] * 4, [0]), torch.zeros((1, 1), dtype=dtype), shift=0, width=8)


@pytest.mark.parametrize("shape", [(2,), (1, 2, 1), (1, 3)])
def test_wrong_shape(shape):
    layer = make([[1, 1]], [0] * 4, [0])
    with pytest.raises(ValueError, match=r"^inputs must be of shape \(batch, 2\), not \("):
        sparse.layer(layer, torch.zeros(shape, dtype=torch.int64), shift=0, width=8)


@pytest.mark.parametrize("value", [128, -129])
def test_wrong_value(value):
    message = rf"^inputs must lie within -128 to 127, not {min(0, value)} to {max(0, value)}$"
    with pytest.raises(ValueError, match=message):
        sparse.layer(make([[1]], [0] * 4, [0]), torch.tensor([[0], [value]]), shift=0, width=8)
