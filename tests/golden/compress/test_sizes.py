import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.compress.sizes import dense_bytes, entry_bits, pruned_bytes, shared_bytes


def count_entries(column_major, width):
    """Walk the matrix element by element, as a decoder would."""
    entries, zeros = 0, 0
    for kept in column_major:
        if kept:
            entries, zeros = entries + 1, 0
        elif zeros == 2**width - 1:
            # The filler stands at this very element, all the zeros it can count before it.
            entries, zeros = entries + 1, 0
        else:
            zeros += 1
    # Fillers after the last weight would say nothing.
    return entries


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 32))
def test_matches_a_walk(kept, value_bits):
    last = max((index for index, one in enumerate(kept) if one), default=-1)
    mask = torch.tensor([kept[: last + 1]], dtype=torch.bool)
    want = min(count_entries(kept[: last + 1], width) * (width + value_bits) for width in range(17))
    assert entry_bits(mask, value_bits) == want


def test_order_is_by_columns():
    """Two neighbours in a column, far apart in a row-major reading."""
    mask = torch.zeros(2, 64, dtype=torch.bool)
    mask[:, 0] = True
    assert entry_bits(mask, 4) == 2 * 4


def test_a_kernel_is_part_of_a_row():
    mask = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(1)) < 0.3
    assert entry_bits(mask, 4) == entry_bits(mask.reshape(5, 12), 4)


def test_of_a_network():
    masks = [torch.ones(10, 100, dtype=torch.bool), torch.ones(3, 10, dtype=torch.bool)]
    biases = [torch.zeros(10), torch.zeros(3)]
    assert dense_bytes(masks, biases) == 4 * (1000 + 10 + 30 + 3)
    # Nothing lies between the weights of a full matrix, so indices take no bits.
    assert pruned_bytes(masks, biases) == 4 * (1000 + 10 + 30 + 3)
    assert shared_bytes(masks, biases, [4, 2]) == 500 + 4 * 15 + 40 + 8 + 4 * 3 + 12


def test_empty_layer():
    assert entry_bits(torch.zeros(3, 3, dtype=torch.bool), 8) == pytest.approx(0)
