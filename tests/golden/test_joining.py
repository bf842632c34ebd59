from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden import joining
from golden.errors import ImageError
from golden.layers import Addition, Concatenation


@given(
    st.data(),
    st.sampled_from([8, 16]),
    st.sampled_from(["none", "relu"]),
    st.integers(-16, 31),
    st.integers(0, 31),
    st.booleans(),
)
def test_addition(data, width, activation, radix, apart, swapped):
    """The sum of the real numbers that the activations stand for, rounded once."""
    radixes = [radix, max(-16, radix - apart)]
    if swapped:
        radixes.reverse()
    output_radix = data.draw(st.integers(max(-16, max(radixes) - 47), max(radixes)))
    layer = Addition(name="add", output_radix=output_radix, activation=activation)
    high = 2 ** (width - 1)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    inputs = rng.choice([-high, -high + 1, -2, -1, 0, 1, 5, high - 1], (2, 3, 2, 2, 4))
    shift = max(radixes) - output_radix
    sums, outputs = joining.layer(
        layer, list(torch.from_numpy(inputs)), radixes=radixes, shift=shift, width=width
    )
    low = 0 if activation == "relu" else -high
    real = [
        Fraction(int(x)) / Fraction(2) ** radixes[0] + Fraction(int(y)) / Fraction(2) ** radixes[1]
        for x, y in zip(inputs[0].flat, inputs[1].flat, strict=True)
    ]
    assert sums.flatten().tolist() == [x * Fraction(2) ** max(radixes) for x in real]
    assert outputs.flatten().tolist() == [
        min(max(round(x * Fraction(2) ** output_radix), low), high - 1) for x in real
    ]
    assert sums.shape == outputs.shape == (3, 2, 2, 4)
    bits = layer.accumulator_bits(width, *radixes)
    assert bits <= 48
    assert -(2 ** (bits - 1)) <= int(sums.min()) <= int(sums.max()) < 2 ** (bits - 1)


@pytest.mark.parametrize(("width", "apart", "bits"), [(8, 0, 9), (16, 0, 17), (16, 31, 48)])
def test_bits_of_a_sum(width, apart, bits):
    layer = Addition(name="add", output_radix=0, activation="none")
    assert layer.accumulator_bits(width, 0, apart) == bits
    # One bit less would not hold the lowest sum.
    lowest = -(2 ** (width - 1)) * (1 + 2**apart)
    assert lowest < -(2 ** (bits - 2))


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.booleans(), st.integers(0, 5))
def test_concatenation(channels, is_map, shift):
    lead = (3, 2) if is_map else ()
    layer = Concatenation(name="join", output_radix=0, activation="none")
    rng = np.random.default_rng(sum(channels))
    inputs = [rng.integers(-128, 128, (2, *lead, count)) for count in channels]
    sums, outputs = joining.layer(
        layer, list(map(torch.from_numpy, inputs)), radixes=[4] * len(inputs), shift=shift, width=8
    )
    expected = np.concatenate(inputs, axis=-1)
    assert np.array_equal(sums.numpy(), expected)
    assert outputs.flatten().tolist() == [round(Fraction(int(x), 2**shift)) for x in expected.flat]
    assert layer.accumulator_bits(8, *[4] * len(inputs)) == 8


def test_wrong_inputs():
    add = Addition(name="add", output_radix=0, activation="none")
    join = Concatenation(name="join", output_radix=0, activation="none")
    one, two = torch.zeros((1, 2), dtype=torch.int64), torch.zeros((1, 3), dtype=torch.int64)
    flat = torch.zeros((1, 2, 2, 2), dtype=torch.int64)

    def run(layer, *inputs, radixes=(0, 0)):
        joining.layer(layer, inputs, radixes=radixes, shift=0, width=8)

    with pytest.raises(ImageError, match=r"^layer 'add': sources must be of one shape, not \(2,\)"):
        run(add, one, two)
    with pytest.raises(
        ImageError, match=r"^layer 'add': sources must have radix points at most 31"
    ):
        run(add, one, one, radixes=(-1, 31))
    with pytest.raises(ImageError, match=r"^layer 'join': sources must be of one shape but for th"):
        run(join, one, flat)
    with pytest.raises(ImageError, match=r"^layer 'join': sources must have one radix point, not "):
        run(join, one, two, radixes=(0, 1))
    with pytest.raises(ValueError, match=r"^inputs must lie within -128 to 127, not 999 to 999$"):
        run(add, one, one + 999)
    with pytest.raises(TypeError, match=r"^inputs must be of a signed integer dtype, not torch.fl"):
        run(add, one, one.double())
