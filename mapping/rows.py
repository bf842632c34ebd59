"""Which element owns which row."""

import heapq

import numpy as np

__all__ = ["assign"]


def assign(work: np.ndarray, elements: int) -> np.ndarray:
    """Positions of rows, so that the elements have equal work.

    The heaviest row goes first, each to the element with the least work that has room (longest
    processing time first; Graham 1969). Then the element with the most work exchanges rows with
    others for as long as that makes it less. All elements get the same number of rows, or one less.

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
    owner = _deal(work, elements)
    _exchange(work, owner, elements)

    # The n-th row of an element is how many rows before it have the same owner.
    order = np.argsort(owner, kind="stable")
    firsts = np.searchsorted(owner[order], np.arange(elements))
    local = np.empty(rows, np.int64)
    local[order] = np.arange(rows) - firsts[owner[order]]
    return local * elements + owner


def _deal(work: np.ndarray, elements: int) -> np.ndarray:
    """Owner of each row: the heaviest goes first, to the element with the least work."""
    room = -(-len(work) // elements)
    owner = np.empty(len(work), np.int64)
    heap = [(0, 0, element) for element in range(elements)]
    for row in np.argsort(-work, kind="stable").tolist():
        load, used, element = heapq.heappop(heap)
        owner[row] = element
        if used + 1 < room:
            heapq.heappush(heap, (load + int(work[row]), used + 1, element))
    return owner


def _exchange(work: np.ndarray, owner: np.ndarray, elements: int) -> None:
    """Exchange rows of the busiest element, in place, until no exchange makes it less busy."""
    if elements == 1:
        return
    loads = np.bincount(owner, work, elements).astype(np.int64)
    # Each exchange lowers the maximum or the number of elements that have it, so this ends; the
    # bound is against endless small change in a large layer.
    for _ in range(16 * elements):
        busiest = int(loads.argmax())
        mine = np.flatnonzero(owner == busiest)
        mine = mine[np.argsort(work[mine], kind="stable")]
        gain = (loads[busiest] - loads)[owner]
        # The best an exchange can do is to move half of the difference, so that of the rows to
        # give for a row, only the two next to that need a look.
        above = np.searchsorted(work[mine], work + gain // 2)
        near = mine[np.clip([above - 1, above], 0, len(mine) - 1)]
        moved = work[near] - work
        after = np.maximum(loads[busiest] - moved, loads[owner] + moved)
        after[:, gain <= 0] = loads[busiest]
        best = int(after.argmin())
        if after.flat[best] >= loads[busiest]:
            return
        ours, other = near.flat[best], best % len(work)
        element, change = owner[other], work[ours] - work[other]
        owner[ours], owner[other] = element, busiest
        loads[busiest] -= change
        loads[element] += change
