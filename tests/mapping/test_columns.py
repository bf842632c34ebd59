import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.columns import spread


@given(st.integers(0, 300), st.integers(0, 2**32))
def test_every_column_has_a_place_of_its_own(columns, seed):
    places = spread(np.random.default_rng(seed).integers(0, 9, columns))
    assert sorted(places.tolist()) == list(range(columns))


def test_the_heaviest_comes_first():
    assert spread(np.array([1, 5, 9, 7])).argmin() == 2


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_stretches_are_alike(step):
    """So are every second, third and fourth column, which may be those of one scan."""
    weights = np.random.default_rng(0).integers(0, 16, 4096)
    scanned = np.empty_like(weights)
    scanned[spread(weights)] = weights
    share = scanned[::step]
    stretches = share[: len(share) // 64 * 64].reshape(-1, 64).sum(axis=1)
    by_chance = 8 * weights.std()
    assert stretches.std() < by_chance / 3
