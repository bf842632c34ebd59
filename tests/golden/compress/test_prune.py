import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.compress.prune import density_at, keep


@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=40),
    st.floats(0.001, 1),
)
def test_keeps_the_greatest(values, density):
    """Ties are everywhere with so few different values: the first of them must be kept."""
    mask = keep(torch.tensor(values, dtype=torch.float32), density)
    count = max(1, round(density * len(values)))
    order = sorted(range(len(values)), key=lambda index: (-abs(values[index]), index))
    assert set(mask.nonzero().flatten().tolist()) == set(order[:count])


@pytest.mark.parametrize("density", [0.001, 0.0123, 0.08, 0.5, 1.0])
def test_count_is_exact(density):
    weights = torch.randn(300, 784, generator=torch.Generator().manual_seed(1))
    assert int(keep(weights, density).sum()) == round(density * 300 * 784)


def test_equal_weights():
    assert keep(torch.ones(2, 3), 0.5).tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("density", [0, -0.1, 1.1, float("nan")])
def test_wrong_density(density):
    with pytest.raises(
        ValueError, match=rf"^density must be above 0 and at most 1, not {density!r}$"
    ):
        keep(torch.ones(3), density)


@given(st.floats(0.001, 1), st.integers(1, 50))
def test_schedule(target, steps):
    densities = [density_at(target, step, steps) for step in range(steps + 1)]
    assert densities[0] == pytest.approx(1)
    assert densities[-1] == target
    assert (np.diff(densities) <= 0).all()
    # The steps become gentler.
    assert (np.diff(densities, 2) >= -1e-12).all()
