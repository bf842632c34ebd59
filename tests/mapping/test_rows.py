import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.compress.prune import keep_balanced, keep_of_each
from golden.image import FullyConnected
from hdl.configuration import Configuration
from mapping import rows
from mapping.columns import spread
from mapping.layer import lay_out
from mapping.rows import assign


def layer_of(matrix):
    """A layer with weights where ``matrix`` is not 0."""
    codes = (np.asarray(matrix) != 0).astype(np.uint8)
    return FullyConnected.from_matrix(
        "fc",
        codes,
        codebook=np.arange(4, dtype=np.int16),
        code_width=2,
        weight_radix=0,
        bias=np.zeros(len(codes), np.int32),
        output_radix=0,
        activation="none",
    )


def counts_of(matrix, element, elements):
    """Weights of each element in each column."""
    return np.array([matrix[element == one].sum(axis=0) for one in range(elements)])


def squares(counts):
    """Sum of the squares of what each element has more or less than the mean, by column."""
    return ((counts - counts.mean(axis=0)) ** 2).sum()


@given(
    st.integers(0, 2**32),
    st.integers(1, 60),
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(1, 3),
    st.sampled_from([0, 0.1, 1]),
)
def test_every_row_has_a_place_of_its_own(seed, outputs, inputs, elements, teams, density):
    rng = np.random.default_rng(seed)
    matrix = rng.random((outputs, inputs)) < density
    team = rng.integers(0, teams, inputs)
    positions = assign(layer_of(matrix), elements, team=team)
    room = -(-outputs // elements)
    assert len(set(positions.tolist())) == outputs
    assert positions.min() >= 0
    assert positions.max() < room * elements
    for element in range(elements):
        mine = positions[positions % elements == element] // elements
        # The first rows are used, without gaps, in the rows' own order.
        assert mine.tolist() == list(range(len(mine)))


@pytest.mark.parametrize("elements", [7, 16])
def test_totals_are_equal(elements):
    rng = np.random.default_rng(0)
    scale = rng.lognormal(0, 0.6, (600, 1))
    matrix = rng.random((600, 500)) < np.minimum(0.1 * scale, 1)
    loads = counts_of(matrix, assign(layer_of(matrix), elements) % elements, elements).sum(axis=1)
    dealt = counts_of(matrix, np.arange(600) % elements, elements).sum(axis=1)
    assert loads.max() <= loads.mean() + 2
    assert dealt.max() > 1.05 * dealt.mean()


def test_columns_are_more_equal_than_by_chance():
    matrix = np.random.default_rng(0).random((512, 700)) < 0.1
    found = counts_of(matrix, assign(layer_of(matrix), 16) % 16, 16)
    dealt = counts_of(matrix, rows._deal(matrix.sum(axis=1), 16), 16)
    assert squares(found) < 0.75 * squares(dealt)


def test_teams_have_equal_work_each():
    rng = np.random.default_rng(1)
    matrix = rng.random((150, 800)) < 0.1
    team = np.arange(800) // 4 % 4
    counts = counts_of(matrix, assign(layer_of(matrix), 8, team=team) % 8, 8)
    loads = np.array([counts[:, team == one].sum(axis=1) for one in range(4)])
    assert (loads.max(axis=1) < 1.005 * loads.mean(axis=1)).all()


@pytest.mark.parametrize("weight", [0, 1, 64])
def test_an_exchange_makes_the_squares_less_by_what_it_promises(weight, monkeypatch):
    """One pairing of elements, each of whose exchanges must be the best, by trying all."""
    monkeypatch.setattr(rows, "_pairings", lambda count: [(np.array([0, 3]), np.array([2, 1]))])
    monkeypatch.setattr(rows, "_SWEEPS", 1)
    matrix = np.random.default_rng(2).random((20, 50)) < 0.2
    table = np.arange(20).reshape(4, 5)

    def cost(table):
        counts = np.array([matrix[line].sum(axis=0) for line in table])
        return (counts**2).sum() + weight * (counts.sum(axis=1) ** 2).sum()

    def best(one, other):
        costs = [cost(table)]
        for mine in range(5):
            for its in range(5):
                tried = table.copy()
                tried[one, mine], tried[other, its] = table[other, its], table[one, mine]
                costs.append(cost(tried))
        return costs[0] - min(costs)

    work = matrix.sum(axis=1, keepdims=True).astype(np.float32)
    overlaps, fields = rows._overlaps(layer_of(matrix), table, slice(None))
    moved = rows._improve(overlaps, fields, work, work[table].sum(axis=1), weight)
    assert sorted(moved.ravel().tolist()) == list(range(20))
    assert cost(table) - cost(moved) == best(0, 2) + best(3, 1) > 0


def test_overlaps_one_by_one():
    matrix = np.random.default_rng(3).random((6, 30)) < 0.4
    # Row 6 is none.
    table = np.array([[5, 0, 3], [6, 2, 4], [1, 6, 6]])
    overlaps, fields = rows._overlaps(layer_of(matrix), table, slice(0, 2))
    padded = [*matrix.tolist(), [False] * 30]

    def shared(one, other):
        return sum(a and b for a, b in zip(padded[one], padded[other], strict=True))

    block = [5, 0, 6, 2, 1, 6]
    assert overlaps.tolist() == [[shared(one, other) for other in block] for one in block]
    expected = [[sum(shared(one, row) for row in line) for one in block] for line in table]
    assert fields.tolist() == expected


def test_blocks_of_columns_add_up(monkeypatch):
    matrix = np.random.default_rng(4).random((90, 200)) < 0.2
    whole = assign(layer_of(matrix), 4)
    monkeypatch.setattr(rows, "_CHUNK", 32)
    assert np.array_equal(assign(layer_of(matrix), 4), whole)
    # A sample of the columns still gives equal totals.
    monkeypatch.setattr(rows, "_CELLS", 90 * 50)
    found = assign(layer_of(matrix), 4)
    assert not np.array_equal(found, whole)
    loads = counts_of(matrix, found % 4, 4).sum(axis=1)
    assert loads.max() <= loads.mean() + 2


@pytest.mark.parametrize("twice", [0, 1 << 20])
def test_rows_in_blocks(twice, monkeypatch):
    matrix = np.random.default_rng(5).random((301, 200)) < 0.1
    monkeypatch.setattr(rows, "_BLOCK", 64)
    monkeypatch.setattr(rows, "_TWICE", twice)
    found = assign(layer_of(matrix), 8) % 8
    assert np.bincount(found).max() <= 38
    loads = counts_of(matrix, found, 8).sum(axis=1)
    assert loads.max() <= loads.mean() + 3


@pytest.mark.parametrize("count", range(1, 10))
def test_pairings(count):
    pairs = []
    for one, other in rows._pairings(count):
        assert len({*one.tolist(), *other.tolist()}) == 2 * len(one)
        pairs += [frozenset(pair) for pair in zip(one.tolist(), other.tolist(), strict=True)]
    assert len(pairs) == len(set(pairs)) == count * (count - 1) // 2


def test_an_element_may_have_no_row():
    assert sorted(assign(layer_of(np.ones((3, 7))), elements=5) % 5) == [0, 1, 2]
    assert sorted(assign(layer_of(np.ones((3, 40))), elements=5) % 5) == [0, 1, 2]


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 9))
def test_rows_of_an_element_are_spread(seed, outputs, elements):
    rng = np.random.default_rng(seed)
    layer = layer_of(rng.random((outputs, 20)) < 0.2)
    following = rng.integers(0, 9, outputs)
    before, after = assign(layer, elements), assign(layer, elements, following=following)
    assert np.array_equal(before % elements, after % elements)
    for element in range(elements):
        own = np.flatnonzero(after % elements == element)
        assert (after[own] // elements).tolist() == spread(following[own]).tolist()


def gaussian(rows, columns):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize("outputs", [256, 300, 1000])
@pytest.mark.parametrize("elements", [64, 32, 16, 1])
def test_a_balanced_layer_stays_balanced(outputs, elements):
    """One that was pruned for 64 elements is even for the divisors of 64, too."""
    matrix = keep_balanced(gaussian(outputs, 200), 0.1, 64).numpy()
    owner = assign(layer_of(matrix), elements) % elements
    counts = counts_of(matrix, owner, elements)
    assert (counts == counts[0]).all()
    assert np.bincount(owner).max() == -(-outputs // elements)


@pytest.mark.parametrize("elements", [2, 8, 16, 32])
def test_n_of_m_is_even_where_the_pieces_can_be_shared_out(elements):
    matrix = keep_of_each(gaussian(256, 200), 3, 8).numpy()
    counts = counts_of(matrix, assign(layer_of(matrix), elements) % elements, elements)
    assert (counts == 256 // elements // 8 * 3).all()


def test_n_of_m_is_shared_out_in_another_way_where_pieces_are_left():
    """37 pieces and a half for 16 elements: three for some would be many more than two."""
    matrix = keep_of_each(gaussian(300, 400), 2, 8).numpy()
    counts = counts_of(matrix, assign(layer_of(matrix), 16) % 16, 16)
    loads = counts.sum(axis=1)
    assert loads.max() <= 1.01 * loads.mean()
    free = np.random.default_rng(0).random((300, 400)) < matrix.mean()
    assert squares(counts) < squares(counts_of(free, assign(layer_of(free), 16) % 16, 16))


def test_one_weight_too_many_is_not_even():
    matrix = keep_balanced(gaussian(64, 50), 0.25, 16).numpy()
    layer = layer_of(matrix)
    assert np.array_equal(assign(layer, 16), np.arange(64))
    column, row = 7, int(np.flatnonzero(~matrix[:, 7])[0])
    matrix[row, column] = True
    assert not np.array_equal(assign(layer_of(matrix), 16), np.arange(64))
    # Nor if each column has a whole number for each element.
    matrix[np.flatnonzero(matrix[:, column] & (np.arange(64) % 16 != row % 16))[0], column] = False
    assert matrix[:, column].sum() % 16 == 0
    assert not np.array_equal(assign(layer_of(matrix), 16), np.arange(64))


def test_a_team_of_a_split_layer_is_even_too():
    matrix = keep_balanced(gaussian(128, 96), 0.2, 16).numpy()
    device = Configuration(elements=16, scan_width=4, ways=4, entry_width=16)
    laid = lay_out(
        layer_of(matrix), device, inputs=np.arange(96), columns=96, split=True, following=None
    )
    assert laid.padding == 0
    counts = laid.entries.counts.reshape(4, 4, 24)
    assert (counts == counts[:, :1]).all()
