import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from golden.compress.model import Model
from golden.compress.post_training import choose, prune, sensitivity
from golden.nets.chain import chain


def model():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Model(chain(("6x6", "conv 3x3 4", "max 2x2", 8, 3)), (1, 6, 6))


def inputs():
    source = torch.Generator().manual_seed(2)
    return torch.rand(50, 36, generator=source), torch.randint(3, (50,), generator=source)


def test_sensitivity_is_of_one_layer_at_a_time():
    tested, (x, y) = model(), inputs()
    before = [weights.detach().clone() for weights in tested.weights]
    densities = (1.0, 0.5, 0.1)
    gains = sensitivity(tested, x, y, densities)
    assert all(map(torch.equal, tested.weights, before))
    assert gains.shape == (3, 3)
    assert (gains[:, 0] == 0).all()

    def loss(network):
        with torch.no_grad():
            return float(functional.cross_entropy(network(x.view(-1, 1, 6, 6)).double(), y))

    for layer, column in itertools.product(range(3), (1, 2)):
        network = model().module
        weight = [one.weight for one in network if hasattr(one, "weight")][layer]
        kept = round(densities[column] * weight.numel())
        least = weight.detach().abs().flatten().sort(descending=True).values[kept - 1]
        with torch.no_grad():
            weight[weight.abs() < least] = 0
        assert float(gains[layer, column]) == pytest.approx(
            loss(network) - loss(model().module), abs=1e-6
        )


GRID = (1.0, 0.5, 0.2)


@given(
    st.lists(
        st.tuples(st.floats(-0.1, 1), st.floats(-0.1, 1), st.integers(1, 10**6)),
        min_size=1,
        max_size=5,
    ),
    st.floats(0, 2),
)
def test_choices_keep_to_the_budget(layers, budget):
    gains = torch.tensor([[0, half, fifth] for half, fifth, _ in layers], dtype=torch.float64)
    sizes = [size for _, _, size in layers]
    found = choose(gains, sizes, GRID, budget)
    spent = sum(max(0, gains[k, GRID.index(d)].item()) for k, d in enumerate(found))
    assert spent <= budget * (1 + 1e-9)
    assert choose(gains, sizes, GRID, budget + 10) == [0.2] * len(sizes)


def test_choice_by_hand():
    """Half of the first layer costs as much as a fifth of the second, and saves less."""
    gains = torch.tensor([[0.0, 0.1, 0.5], [0.0, 0.05, 0.1]], dtype=torch.float64)
    assert choose(gains, [100, 1000], GRID, 0.0) == [1.0, 1.0]
    assert choose(gains, [100, 1000], GRID, 0.05) == [1.0, 0.5]
    assert choose(gains, [100, 1000], GRID, 0.1) == [1.0, 0.2]
    assert choose(gains, [100, 1000], GRID, 0.2) == [0.5, 0.2]
    assert choose(gains, [100, 1000], GRID, 0.6) == [0.2, 0.2]


def test_what_one_layer_wins_is_not_spent_on_another():
    gains = torch.tensor([[0.0, -0.5, 0.9], [0.0, 0.3, 0.9]], dtype=torch.float64)
    assert choose(gains, [1000, 1000], GRID, 0.1) == [0.5, 1.0]


def test_prune():
    tested = model()
    prune(tested, [0.5, 0.25, 1.0])
    counts = [int(weights.count_nonzero()) for weights in tested.weights]
    assert counts == [round(0.5 * 36), round(0.25 * 128), 24]
    assert [int(mask.sum()) for mask in tested.masks] == counts
