"""A layer's weights as the entries that the elements read."""

from dataclasses import dataclass

import numpy as np

from golden.layers import Weighted

__all__ = ["Entries", "encode"]


@dataclass(frozen=True, eq=False)
class Entries:
    """Entries of a layer, those of element 0 first, and column by column for each element."""

    values: np.ndarray
    """Entries as they lie in memory, uint16 ``(entries,)``."""
    escapes: np.ndarray
    """Which of them are escapes, bool ``(entries,)``."""
    counts: np.ndarray
    """How many of them each element has in each of the columns that it is told of, in their
    order, int64 ``(elements, columns)``. An element that is told of fewer has zeros at the end."""

    @property
    def totals(self) -> np.ndarray:
        """Entries of each element, int64 ``(elements,)``."""
        return self.counts.sum(axis=1)


def encode(
    layer: Weighted,
    *,
    row: np.ndarray,
    element: np.ndarray,
    column: np.ndarray,
    shape: tuple[int, int],
    delta_width: int,
) -> Entries:
    """Entries of ``layer``.

    An entry is ``code << delta_width | delta``, as :class:`hdl.sparse.fetch.Entry` defines it. A
    gap of ``2**delta_width`` rows or more is bridged by escapes. With as many bits left for the
    delta as half the logarithm of the rows, no weight needs more than one.

    Parameters
    ----------
    layer : Weighted
        Its codes must fit the bits that ``delta_width`` leaves.
    row, element, column : ndarray of int64, ``(layer.nonzeros,)``
        Where each weight goes: which row of which element, and which of its columns.
    shape : tuple of int
        Elements, and columns of an element.
    delta_width : int
        Bits of an entry that are not its code.
    """
    elements, columns = shape
    # In order of element, column and row: one number that has it all sorts ten times faster than
    # three numbers do.
    rows = int(row.max(initial=0)) + 1
    packed = ((element * columns + column) * rows + row) << 8 | layer.codes
    packed.sort()
    code = packed & 0xFF
    segment, row = np.divmod(packed >> 8, rows)

    follows = np.zeros(len(row), bool)
    follows[1:] = segment[1:] == segment[:-1]
    before = np.full(len(row), -1)
    before[1:][follows[1:]] = row[:-1][follows[1:]]
    gap = row - before - 1

    reach = 1 << delta_width
    steps = gap >> delta_width  # of ``reach`` rows each; an escape takes 1 to ``reach`` of them
    escapes = -(-steps // reach)
    ends = np.cumsum(escapes + 1) - 1
    values = np.full(int(ends[-1]) + 1 if len(ends) else 0, reach - 1, np.uint16)
    is_escape = np.ones(len(values), bool)
    is_escape[ends] = False
    values[ends] = (code << delta_width) | (gap & (reach - 1))
    # The last escape in front of a weight takes what the full ones leave.
    some = escapes > 0
    values[ends[some] - 1] = steps[some] - (escapes[some] - 1) * reach - 1

    counts = np.bincount(segment, weights=escapes + 1, minlength=elements * columns)
    return Entries(values, is_escape, counts.astype(np.int64).reshape(elements, columns))
