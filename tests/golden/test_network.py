import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.image import digest
from golden.nets.random import random_network
from golden.network import run
from tests.golden.strategies import networks
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
