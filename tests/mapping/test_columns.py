import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.columns import spread


@given(st.integers(0, 300), st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 8))
def test_every_column_has_a_place_of_its_own(columns, seed, teams, width):
    weights = np.random.default_rng(seed).integers(0, 9, columns)
    places = spread(weights, teams=teams, width=width)
    assert sorted(places.tolist()) == list(range(columns))


def test_the_heaviest_comes_first():
    assert spread(np.array([1, 5, 9, 7])).argmin() == 2


@pytest.mark.parametrize(("step", "teams"), [(1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (1, 4)])
def test_stretches_are_alike(step, teams):
    """So are every second, third and fourth column, and the columns of a team."""
    weights = np.random.default_rng(0).integers(0, 16, 4096)
    scanned = np.empty_like(weights)
    scanned[spread(weights, teams=teams, width=4)] = weights
    share = scanned.reshape(-1, teams, 4)[:, 0].ravel()[::step]
    stretches = share[: len(share) // 64 * 64].reshape(-1, 64).sum(axis=1)
    by_chance = 8 * weights.std()
    assert stretches.std() < by_chance / 3


@pytest.mark.parametrize(("columns", "teams", "width"), [(4096, 4, 4), (64, 2, 8), (600, 4, 8)])
def test_teams_have_equal_work(columns, teams, width):
    weights = np.random.default_rng(1).lognormal(4, 1, columns).astype(int)
    places = spread(weights, teams=teams, width=width)
    # What remains are the first turn's differences; at most one column's more for one team.
    totals = np.zeros(teams)
    numbers = np.zeros(teams, int)
    for column, place in enumerate(places.tolist()):
        totals[place // width % teams] += weights[column]
        numbers[place // width % teams] += 1
    assert numbers.max() - numbers.min() <= width
    spare = (numbers.max() - numbers.min()) * np.median(weights)
    assert totals.max() - totals.min() <= weights.max() + spare


def test_two_kinds_of_columns_are_shared_out_equally():
    weights = np.repeat([4, 0], [960, 64])
    places = spread(weights, teams=4, width=4)
    assert np.bincount(places[:960] // 4 % 4).tolist() == [240] * 4
    assert np.bincount(places[960:] // 4 % 4).tolist() == [16] * 4
