"""The judge and the golden model, which share little, and plain Python, which shares nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden import judge
from golden.network import run
from tests.golden.strategies import graphs, networks, small_graph
from tests.golden.test_network import plain_network


def extremes(network, seed):
    high = 2 ** (network.activation_width - 1)
    rng = np.random.default_rng(seed)
    batch = rng.choice([-high, -3, -1, 0, 1, 2, high - 1], (2, network.inputs))
    return torch.from_numpy(batch)


@given(st.one_of(graphs(), networks()), st.integers(0, 2**32))
@settings(max_examples=150)
def test_the_golden_model_is_right(network, seed):
    inputs = extremes(network, seed)
    found = judge.run(network, inputs)
    for own, (_, outputs) in zip(found, run(network, inputs), strict=True):
        assert torch.equal(own, outputs)


@given(graphs(), st.integers(0, 2**32))
@settings(max_examples=25)
def test_graphs_match_plain_python(network, seed):
    inputs = extremes(network, seed)
    expected = [plain_network(network, vector) for vector in inputs.tolist()]
    for index, outputs in enumerate(judge.run(network, inputs)):
        assert outputs.tolist() == [one[index][1] for one in expected]


@pytest.mark.parametrize("layer", range(6))
def test_can_fail(layer, monkeypatch):
    """Sums that are wrong in one layer are seen in it, and not in front of it."""
    network = small_graph()
    # Small ones, so that not all outputs are as great as they can be already.
    inputs = extremes(network, 1).clamp(-3, 3)
    right = [outputs for _, outputs in run(network, inputs)]
    sums = judge._sums
    calls = []

    def wrong(*arguments):
        calls.append(None)
        return sums(*arguments) + (2.0**20 if len(calls) - 1 == layer else 0)

    monkeypatch.setattr(judge, "_sums", wrong)
    equal = [
        torch.equal(own, other)
        for own, other in zip(judge.run(network, inputs), right, strict=True)
    ]
    assert all(equal[:layer])
    assert not equal[layer]
