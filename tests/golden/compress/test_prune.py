import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.compress.prune import density_at, keep, keep_balanced, keep_of_each


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


def few_values(seed, rows, columns):
    """Weights among which there are ties everywhere, and zeros."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(-4, 5, (rows, columns)).astype(np.float32))


def greatest(weights, places, count):
    """The ``count`` places of greatest magnitude, the first of equal ones."""
    return sorted(places, key=lambda place: (-abs(weights[place]), place))[:count]


def balanced_one_by_one(weights, elements, density):
    """Places that :func:`keep_balanced` has to keep, without vectors."""
    rows, columns = weights.shape
    total = round(density * rows * columns)
    # Counts that can be given, all columns added up: whole ones first, then those of left-over
    # rows.
    count = max(1, round(total / elements))
    even = rows // elements * columns
    if total > elements * even:
        count = even + round((total - elements * even) / (rows % elements))
    counts = [count // columns] * columns

    def gain(column):
        """What one more of each element would add."""
        kept = 0
        for element in range(elements):
            own = [(row, column) for row in range(element, rows, elements)]
            kept += sum(abs(weights[at]) for at in greatest(weights, own, counts[column] + 1))
            kept -= sum(abs(weights[at]) for at in greatest(weights, own, counts[column]))
        return kept

    gains = [gain(column) for column in range(columns)]
    for column in sorted(range(columns), key=lambda at: (-gains[at], at))[: count % columns]:
        counts[column] += 1
    return {
        place
        for column in range(columns)
        for element in range(elements)
        for place in greatest(
            weights, [(row, column) for row in range(element, rows, elements)], counts[column]
        )
    }


@given(
    st.integers(0, 2**32),
    st.integers(1, 24),
    st.integers(1, 8),
    st.integers(1, 9),
    st.floats(0.01, 1),
)
def test_keeps_the_greatest_of_each_element_and_column(seed, rows, columns, elements, density):
    weights = few_values(seed, rows, columns)
    mask = keep_balanced(weights, density, elements)
    if rows <= elements:
        assert torch.equal(mask, keep(weights, density))
        return
    expected = balanced_one_by_one(weights.numpy(), elements, density)
    assert {tuple(place) for place in mask.nonzero().tolist()} == expected


@pytest.mark.parametrize("rows", [64, 300, 1000])
@pytest.mark.parametrize("density", [0.03, 0.08, 0.25, 0.9])
def test_elements_have_equal_work(rows, density):
    """For 16 elements, and for all divisors of 16."""
    weights = torch.randn(rows, 200, generator=torch.Generator().manual_seed(1))
    mask = keep_balanced(weights, density, 16)
    for elements in (1, 2, 4, 8, 16):
        counts = torch.stack([mask[one::elements].sum(dim=0) for one in range(elements)])
        assert (counts == counts[0]).all()
        assert counts[0].max() - counts[0].min() <= 16 // elements
    assert int(mask.sum()) == 16 * round(density * rows * 200 / 16)


@pytest.mark.parametrize(("rows", "elements"), [(64, 16), (50, 16), (17, 16), (10, 16), (3, 1)])
def test_all_weights_can_be_kept(rows, elements):
    assert keep_balanced(few_values(0, rows, 7), 1.0, elements).all()


def test_left_over_rows_are_kept_last():
    weights = torch.ones(5, 4)
    # Two of five rows for each of two elements: 16 of 20 weights.
    assert keep_balanced(weights, 0.8, 2).int().tolist() == [[1] * 4] * 4 + [[0] * 4]
    assert keep_balanced(weights, 0.9, 2).int().tolist() == [[1] * 4] * 4 + [[1, 1, 0, 0]]


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 6), st.integers(1, 9), st.data())
def test_keeps_the_greatest_of_each_piece(seed, rows, columns, of, data):
    kept = data.draw(st.integers(1, of))
    weights = few_values(seed, rows, columns)
    places = weights.numpy()
    expected = set()
    for column in range(columns):
        for first in range(0, rows, of):
            piece = [(row, column) for row in range(first, min(first + of, rows))]
            # A shorter piece keeps its share, rounded up.
            share = -(-kept * len(piece) // of)
            expected.update(greatest(places, piece, share))
    mask = keep_of_each(weights, kept, of)
    assert {tuple(place) for place in mask.nonzero().tolist()} == expected


@pytest.mark.parametrize(
    "pattern", [lambda w, d: keep_balanced(w, d, 4), lambda w, d: keep_of_each(w, round(8 * d), 8)]
)
def test_what_is_gone_stays_gone(pattern):
    """Step by step, with weights that are trained in between and zeros that stay."""
    weights = torch.randn(40, 30, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(40, 30, dtype=torch.bool)
    for step in range(1, 9):
        before, mask = mask, pattern(weights, density_at(0.25, step, 8))
        assert not (mask & ~before).any()
        weights = weights * mask * torch.linspace(0.5, 1.5, 30)
    assert float(mask.float().mean()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("elements", [0, -1])
def test_wrong_elements(elements):
    with pytest.raises(ValueError, match=rf"^elements must be at least 1, not {elements}$"):
        keep_balanced(torch.ones(3, 3), 0.5, elements)


def test_wrong_density_of_a_pattern():
    with pytest.raises(ValueError, match=r"^density must be above 0 and at most 1, not 2$"):
        keep_balanced(torch.ones(3, 3), 2, 2)


@pytest.mark.parametrize("kept", [0, 5])
def test_wrong_number_to_keep(kept):
    with pytest.raises(ValueError, match=rf"^kept must be 1 to 4, not {kept}$"):
        keep_of_each(torch.ones(8, 3), kept, 4)


@given(st.floats(0.001, 1), st.integers(1, 50))
def test_schedule(target, steps):
    densities = [density_at(target, step, steps) for step in range(steps + 1)]
    assert densities[0] == pytest.approx(1)
    assert densities[-1] == target
    assert (np.diff(densities) <= 0).all()
    # The steps become gentler.
    assert (np.diff(densities, 2) >= -1e-12).all()
