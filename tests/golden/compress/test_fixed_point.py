import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from golden.compress.convert import convert
from golden.compress.fixed_point import activation_radix, to_layer
from golden.compress.model import Model
from golden.compress.prune import keep
from golden.errors import FitError
from golden.fixed import quantise
from golden.nets.chain import chain
from golden.network import run


def squared_error(values, width, radix):
    """In exact arithmetic, one value at a time."""
    scale = Fraction(2) ** radix
    low, high = -(2 ** (width - 1)), 2 ** (width - 1) - 1
    # Python's round is half to even on fractions too.
    rounded = (min(max(round(Fraction(value) * scale), low), high) / scale for value in values)
    return sum((a - Fraction(b)) ** 2 for a, b in zip(rounded, values, strict=True))


@given(
    st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=20),
    st.sampled_from([8, 16]),
)
def test_radix_matches_brute_force(values, width):
    radixes = range(-2, 18)
    chosen = activation_radix(torch.tensor(values), width, radixes)
    best = min(squared_error(values, width, radix) for radix in radixes)
    # Sums in float64 may take either of two radixes whose errors differ in the last bits.
    assert float(squared_error(values, width, chosen)) <= float(best) * (1 + 1e-9) + 1e-18


def test_equally_good_radixes():
    """Sixteenths are exact from 4 fraction bits on: no more than that are spent."""
    assert activation_radix(torch.arange(17) / 16, 8, range(8)) == 4
    assert activation_radix(torch.zeros(3), 8, range(8)) == 0


def test_saturation_only_where_it_pays():
    values = torch.linspace(-1, 1, 1000)
    # With 6 fraction bits the greatest number is 1.984. A seventh would cost one value 0.9.
    assert activation_radix(torch.cat([values, torch.tensor([1.9])]), 8, range(8)) == 6
    # Here 6 saturate one value by 0.016, but 5 would double the steps of all the others.
    assert activation_radix(torch.cat([values, torch.tensor([2.0])]), 8, range(8)) == 6


def shared_model(seed, *, bits=4, scale=1.0, widths=(20, 30, 5)):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Model(chain(widths), widths[:1])
    with torch.no_grad():
        for weights in model.weights:
            weights.mul_(scale)
    model.masks = [keep(weights, 0.3) for weights in model.weights]
    model.share([bits] * len(model.weights))
    return model


def one_layer(model, index=0, **options):
    options = {
        "activation": "relu",
        "input_radix": 12,
        "output_radix": 11,
        "activation_width": 16,
        "accumulator_width": 36,
        **options,
    }
    return to_layer(
        "fc1",
        model.codes[index].numpy().astype(np.uint8),
        model.codebooks[index].numpy(),
        model.others[index].detach().numpy(),
        **options,
    )


@pytest.mark.parametrize("accumulator_width", range(24, 49, 2))
def test_weights_are_as_fine_as_the_accumulator_allows(accumulator_width):
    model = shared_model(1)
    layer = one_layer(model, accumulator_width=accumulator_width)
    assert layer.accumulator_bits(16) <= accumulator_width

    # With one fraction bit more something would overflow: the accumulator in the worst case, a
    # value of the codebook, or a bias. Found without numpy, from the float weights.
    radix = layer.weight_radix + 1
    weights = model.weights[0].detach().double() * 2**radix
    bias = (model.others[0].detach().double() * 2 ** (radix + 12)).round().abs()
    worst = int((weights.round().abs().sum(dim=1) * 2**15 + bias).max())
    too_long = worst.bit_length() + 1 > accumulator_width
    too_great = float(weights.abs().max().round()) > 2**15 - 1
    too_far = float(bias.max()) > 2**31 - 1
    too_deep = radix + 12 - 11 > 47
    assert too_long or too_great or too_far or too_deep


def test_values():
    model = shared_model(2)
    layer = one_layer(model)
    step = 2.0**-layer.weight_radix
    np.testing.assert_allclose(
        layer.dense() * step, model.weights[0].detach(), atol=step / 2, rtol=0
    )
    np.testing.assert_allclose(
        layer.bias * step * 2.0**-12, model.others[0].detach(), atol=step * 2.0**-13, rtol=0
    )
    assert layer.nonzeros == int(model.masks[0].sum())
    assert layer.code_width == 4
    assert layer.activation == "relu"


def test_output_is_never_finer_than_the_accumulator():
    layer = one_layer(shared_model(3, scale=100.0), input_radix=0, output_radix=31)
    assert layer.output_radix == layer.weight_radix < 31


def test_accumulator_too_narrow():
    with pytest.raises(FitError, match=r"^layer 'fc1' fits no accumulator of 16 bits: raise "):
        one_layer(shared_model(3, scale=100.0), accumulator_width=16)


@pytest.mark.parametrize(("width", "tolerance"), [(16, 0.002), (8, 0.1)])
def test_image_computes_what_the_model_computes(width, tolerance):
    model = shared_model(4, widths=(20, 30, 12, 5))
    x = torch.rand(200, 20, generator=torch.Generator().manual_seed(4))
    network = convert(model.module, x, name="small", bits=4, activation_width=width)
    assert [layer.name for layer in network.layers] == ["fc1", "fc2", "fc3"]
    assert [layer.activation for layer in network.layers] == ["relu", "relu", "none"]
    assert (network.name, network.activation_width) == ("small", width)

    outputs = run(network, quantise(x, network.input_radix, width))
    first, second, third = (layer for layer in model.module if isinstance(layer, nn.Linear))
    floats = [first(x).relu()]
    floats.append(second(floats[0]).relu())
    floats.append(third(floats[1]))
    for (_, integers), layer, real in zip(outputs, network.layers, floats, strict=True):
        torch.testing.assert_close(
            integers.float() / 2.0**layer.output_radix, real.detach(), atol=tolerance, rtol=0
        )
        # Half of the range or more is used, or else the radix point would have been another; of the
        # scores, a quarter.
        spare = 3 if layer is network.layers[-1] else 2
        assert integers.abs().max() >= 2 ** (width - spare) * 0.9


def test_twice_the_greatest_score_fits():
    """And only just: of two scores that saturate, neither would be the greater."""
    model = shared_model(5, widths=(20, 5))
    x = torch.rand(500, 20, generator=torch.Generator().manual_seed(5))
    network = convert(model.module, x, name="small", bits=4)
    greatest = float(model.outputs(x).abs().max())
    assert network.layers[-1].output_radix == 14 - math.ceil(math.log2(greatest))
