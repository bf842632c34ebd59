"""Which element owns which row."""

import heapq

import numpy as np

__all__ = ["assign"]


def assign(work: np.ndarray, elements: int) -> np.ndarray:
    """Positions of rows, so that the elements have equal work.

    The heaviest row goes first, each to the element with the least work that has room (longest
    processing time first; Graham 1969). All elements get the same number of rows, or one less.

    Parameters
    ----------
    work : ndarray of int, ``(rows,)``
        Non-zeros of each row.
    elements : int
        Number of elements.

    Returns
    -------
    ndarray of int64, ``(rows,)``
        Position of each row: element ``position % elements``, and there row
        ``position // elements``. Rows of an element stay in their order.

    Examples
    --------
    >>> assign(np.array([5, 1, 1, 3]), elements=2)
    array([0, 1, 2, 3])
    """
    rows = len(work)
    room = -(-rows // elements)
    owner = np.empty(rows, np.int64)
    heap = [(0, 0, element) for element in range(elements)]
    for row in np.argsort(-work, kind="stable").tolist():
        load, used, element = heapq.heappop(heap)
        owner[row] = element
        if used + 1 < room:
            heapq.heappush(heap, (load + int(work[row]), used + 1, element))

    # The n-th row of an element is how many rows before it have the same owner.
    order = np.argsort(owner, kind="stable")
    firsts = np.searchsorted(owner[order], np.arange(elements))
    local = np.empty(rows, np.int64)
    local[order] = np.arange(rows) - firsts[owner[order]]
    return local * elements + owner
