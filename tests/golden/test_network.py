from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden import network as golden_network
from golden.image import digest
from golden.layers import Addition, Concatenation, Convolution, FullyConnected, MaxPooling
from golden.nets.random import random_network
from golden.network import answers, batch_size, run
from tests.golden import test_convolution, test_pooling
from tests.golden.strategies import graphs, networks, small_graph
from tests.golden.test_sparse import plain_layer


@given(networks(), st.data())
def test_matches_plain_python(network, data):
    high = 2 ** (network.activation_width - 1) - 1
    vectors = st.lists(
        st.integers(-high - 1, high), min_size=network.inputs, max_size=network.inputs
    )
    batch = data.draw(st.lists(vectors, min_size=1, max_size=3))
    results = run(network, torch.tensor(batch))
    radix = network.input_radix
    for layer, (accumulators, outputs) in zip(network.layers, results, strict=True):
        shift = radix + layer.weight_radix - layer.output_radix
        radix = layer.output_radix
        expected = [plain_layer(layer, x, shift, network.activation_width) for x in batch]
        assert accumulators.tolist() == [sums for sums, _ in expected]
        batch = [activations for _, activations in expected]
        assert outputs.tolist() == batch


def nested(flat, shape):
    """A flat list as rows of pixels of channels."""
    _, wide, channels = shape
    pixels = [flat[i : i + channels] for i in range(0, len(flat), channels)]
    return [pixels[i : i + wide] for i in range(0, len(pixels), wide)]


def flat(values):
    return [x for value in values for x in flat(value)] if isinstance(values, list) else [values]


def plain_network(network, vector):
    """Accumulators and outputs of each layer for one input, in plain Python."""
    width = network.activation_width
    tensors, radixes, shapes = [vector], [network.input_radix], [network.input_shape]
    results = []
    for layer, own in zip(network.layers, network.sources, strict=True):
        taken = [tensors[k] for k in own]
        radix = max(radixes[k] for k in own) + getattr(layer, "weight_radix", 0)
        shift = radix - layer.output_radix
        if isinstance(layer, FullyConnected):
            sums, outputs = plain_layer(layer, taken[0], shift, width)
        elif isinstance(layer, Addition | Concatenation):
            if isinstance(layer, Addition):
                pairs = [
                    [x << radix - radixes[k] for x in one]
                    for one, k in zip(taken, own, strict=True)
                ]
                sums = [x + y for x, y in zip(*pairs, strict=True)]
            else:
                pieces = [
                    [one[i : i + shapes[k][-1]] for i in range(0, len(one), shapes[k][-1])]
                    for one, k in zip(taken, own, strict=True)
                ]
                sums = flat([list(pixels) for pixels in zip(*pieces, strict=True)])
            high = 2 ** (width - 1) - 1
            low = 0 if layer.activation == "relu" else -high - 1
            outputs = [min(max(round(Fraction(x, 2**shift)), low), high) for x in sums]
        else:
            module = test_convolution if isinstance(layer, Convolution) else test_pooling
            image = nested(taken[0], shapes[own[0]])
            sums, outputs = map(flat, module.plain_layer(layer, image, shift, width))
        results.append((sums, outputs))
        tensors.append(outputs)
        radixes.append(layer.output_radix)
        shapes.append(layer.output_shape(*(shapes[k] for k in own)))
    return results


@given(graphs(), st.integers(0, 2**32))
@settings(max_examples=100)
def test_graphs_match_plain_python(network, seed):
    high = 2 ** (network.activation_width - 1)
    rng = np.random.default_rng(seed)
    batch = rng.choice([-high, -3, -1, 0, 1, 2, high - 1], (2, network.inputs))
    results = run(network, torch.from_numpy(batch))
    expected = [plain_network(network, vector) for vector in batch.tolist()]
    for index, (sums, outputs) in enumerate(results):
        assert sums.tolist() == [one[index][0] for one in expected]
        assert outputs.tolist() == [one[index][1] for one in expected]
        bits = network.accumulator_bits[index]
        assert -(2 ** (bits - 1)) <= int(sums.min()) <= int(sums.max()) < 2 ** (bits - 1)
    assert torch.equal(answers(network, torch.from_numpy(batch)), results[-1][1])


def test_a_graph_with_every_kind_of_layer():
    """All tensors of a small one by hand, but for the sums, which PyTorch adds up."""
    network = small_graph()
    inputs = torch.from_numpy(np.random.default_rng(2).integers(-128, 128, (3, 32)))
    found = [outputs for _, outputs in run(network, inputs)]
    assert [tuple(x.shape) for x in found] == [(3, 32), (3, 8), (3, 8), (3, 8), (3, 16), (3, 3)]
    windows = found[0].reshape(3, 2, 2, 2, 2, 2)
    assert torch.equal(found[1], windows.amax(dim=(2, 4)).flatten(1))
    assert torch.equal(found[2], windows.double().mean(dim=(2, 4)).round().long().flatten(1))
    assert torch.equal(found[3], (found[1] + found[2]).clamp(-128, 127))
    joined = torch.stack([found[1].reshape(3, 4, 2), found[3].reshape(3, 4, 2)], dim=2)
    assert torch.equal(found[4], joined.flatten(1))
    last = network.layers[5]
    sums = found[4].double() @ torch.from_numpy(last.dense().astype(float)).T
    expected = ((sums + torch.from_numpy(last.bias)) / 8).round().clamp(-128, 127)
    assert torch.equal(found[5], expected.long())


@pytest.mark.parametrize("own", [(1, 2), (2, 1), (0, 2), (2, 0), (2, 2)])
def test_addition_takes_each_source_at_its_radix(own):
    """Layers that shift by 1 and by 3 bits, added up in either order."""
    fields = {"activation": "none", "kernel": (1, 1)}
    layers = [
        MaxPooling(name="a", output_radix=3, **fields),
        MaxPooling(name="b", output_radix=0, **fields),
        Addition(name="sum", output_radix=0, activation="none"),
        # What else there is, so that every tensor is taken.
        Concatenation(name="all", output_radix=0, activation="none"),
    ]
    sources = ((0,), (1,), own, (2, 3))
    network = small_graph(layers=layers, sources=sources, input_shape=(1, 1, 3))
    inputs = torch.tensor([[-128, 77, 16]])
    rounded = {0: inputs / 16, 1: (inputs / 2).round() / 8}
    rounded[2] = (rounded[1]).round()
    expected = (rounded[own[0]] + rounded[own[1]]).round()
    assert torch.equal(answers(network, inputs)[:, 3:], expected.long())


@pytest.mark.parametrize("most", [1, 100, 250, 10**6])
def test_answers_a_few_at_a_time(monkeypatch, most):
    monkeypatch.setattr(golden_network, "_BATCH", most)
    network = small_graph()
    assert network.activations == 32 + 32 + 8 + 8 + 8 + 16 + 3
    assert batch_size(network) == max(1, most // 107)
    inputs = torch.from_numpy(np.random.default_rng(2).integers(-128, 128, (7, 32)))
    assert torch.equal(answers(network, inputs), run(network, inputs)[-1][1])


@pytest.mark.parametrize("function", [answers, lambda *given: run(*given)[-1][1]])
def test_no_inputs(function):
    assert function(small_graph(), torch.zeros((0, 32), dtype=torch.int64)).shape == (0, 3)


def test_wrong_inputs_of_a_graph():
    with pytest.raises(
        ValueError, match=r"^inputs must be of shape \(batch, 32\), not \(1, 4, 4, 2"
    ):
        run(small_graph(), torch.zeros((1, 4, 4, 2), dtype=torch.int16))
    with pytest.raises(TypeError, match=r"^inputs must be of a signed integer dtype, not torch"):
        run(small_graph(), torch.zeros((1, 32)))
    with pytest.raises(ValueError, match=r"^inputs must lie within -128 to 127, not 128 to 128$"):
        run(small_graph(), torch.full((1, 32), 128))


def test_wrong_inputs():
    network = random_network(np.random.default_rng(0), shape=(4, 3, 2))
    with pytest.raises(ValueError, match=r"^inputs must be of shape \(batch, 4\), not \(1, 5\)$"):
        run(network, torch.zeros((1, 5), dtype=torch.int16))


def test_random_network_is_reproducible():
    first, second, third = (random_network(np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert digest(first) == digest(second) != digest(third)


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("density", [0.0, 0.08, 1.0])
def test_random_network_is_what_was_asked_for(width, density):
    rng = np.random.default_rng(3)
    network = random_network(rng, (400, 300, 100), density, code_width=5, activation_width=width)
    assert [layer.shape for layer in network.layers] == [(300, 400), (100, 300)]
    assert [layer.activation for layer in network.layers] == ["relu", "none"]
    assert [layer.code_width for layer in network.layers] == [5, 5]
    assert network.activation_width == width
    assert all(abs(layer.density - density) < 0.01 for layer in network.layers)


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("density", [0.05, 0.5])
def test_random_network_keeps_activations_alive(width, density):
    rng = np.random.default_rng(5)
    network = random_network(rng, (200, 100, 50, 20), density, activation_width=width)
    high = 2 ** (width - 1) - 1
    inputs = torch.from_numpy(rng.integers(-high - 1, high, (50, 200), endpoint=True))
    for _, outputs in run(network, inputs):
        assert (outputs != 0).double().mean() > 0.3
        assert (outputs.abs() >= high).double().mean() < 0.3
