import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mapping.rows import assign


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 9))
def test_every_row_has_a_place_of_its_own(work, elements):
    positions = assign(np.array(work), elements)
    room = -(-len(work) // elements)
    assert len(set(positions.tolist())) == len(work)
    assert positions.min() >= 0
    assert positions.max() < room * elements
    for element in range(elements):
        mine = positions[positions % elements == element] // elements
        # The first rows are used, without gaps, in the rows' own order.
        assert mine.tolist() == list(range(len(mine)))


def test_work_is_equal():
    work = np.random.default_rng(0).lognormal(3, 1, 4096).astype(np.int64)
    element = assign(work, 64) % 64
    loads = np.bincount(element, work, 64)
    dealt = np.bincount(np.arange(4096) % 64, work, 64)
    assert loads.max() <= 1.002 * loads.mean()
    assert dealt.max() > 1.2 * dealt.mean()


def test_an_element_may_have_no_row():
    assert sorted(assign(np.array([7, 7, 7]), elements=5) % 5) == [0, 1, 2]
