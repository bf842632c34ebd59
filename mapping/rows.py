"""Which element owns which row."""

import heapq
from collections.abc import Iterator

import numpy as np

from golden.layers import Weighted
from mapping.columns import spread

__all__ = ["WORTH", "assign"]

# Weights of an element from which on it pays to even out its work. Fewer take no longer than the
# pipeline takes to fill and to empty.
WORTH = 16
# Rows among which exchanges are looked for at a time. More find little more, and take memory and
# time with the square: 4096 at a time lower the variance of EIE's VGG-7 by 5 % more than 1024 do,
# in four times the time.
_BLOCK = 1024
# How often every pair of elements is looked at. The fourth time still finds something: 2 % of the
# variance, beyond what the first time does.
_SWEEPS = 4
# Matrices of no more cells are gone through a second time, with other rows in a block. On EIE's
# VGG-7 that lowers the variance by 3 % with 64 elements and by 8 % with 16, in as much time again.
_TWICE = 1 << 25
# Columns to form products of at a time, and at most how many cells of the matrix to look at
# altogether; beyond that, columns are sampled.
_CHUNK = 4096
_CELLS = 1 << 27
# What a square of an element's surplus counts, against one of a column's: 1 is right for vectors
# half of which are zeros, and any other does nearly as well. In the end totals are evened out.
_TOTAL, _FINAL_TOTAL = 1.0, 64.0


def assign(
    layer: Weighted,
    elements: int,
    *,
    team: np.ndarray | None = None,
    following: np.ndarray | None = None,
) -> np.ndarray:
    """Positions of rows, so that the elements have equal work, whatever activations are zero.

    If dealing the rows out in turn, or in as many runs of successive rows, gives all elements
    equally many weights in each column, there is nothing to improve. Layers that were pruned for
    that are even: balanced ones the first way, those with N of each M weights the second one
    (:mod:`golden.compress.prune`).

    Otherwise the heaviest row goes first, each to the element with the least work that has room
    (longest processing time first; Graham 1969). Then pairs of elements exchange rows for as long
    as that makes work more even: both that of all columns together and that of each column (the
    gain of an exchange is that of Kernighan and Lin 1970). When some activations are zero, it is
    the columns that count: with a share ``a`` of them not zero, chosen at random, the variance of
    an element's work is ``a * (1 - a)`` times the sum of the squares of its surplus in each column.
    On the six layers of EIE's table III that have such activations, exchanges lower that sum by
    11 to 29 % with 64 elements, and by 20 to 48 % with 16. In cycles that is up to 0.5 %.

    Parameters
    ----------
    layer : Weighted
        Whose rows.
    elements : int
        Number of elements that share the rows.
    team : ndarray of int, ``(layer.inputs,)``, optional
        If columns are shared out too, who has each of them: 0 up to the number of teams. Work is
        made equal in each team, and all teams have the same assignment.
    following : ndarray of int, ``(layer.outputs,)``, optional
        Non-zeros of the columns that the rows become in the next layer, which are spread.

    Returns
    -------
    ndarray of int64, ``(layer.outputs,)``
        Position of each row: element ``position % elements``, and there row
        ``position // elements``. No element has more of them than ``layer.outputs`` shared out
        equally makes, rounded up. Without ``following`` they stay in their order.

    Examples
    --------
    >>> from golden.layers import FullyConnected
    >>> codes = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]], np.uint8)
    >>> layer = FullyConnected.from_matrix(
    ...     "fc", codes, codebook=np.array([0, 1, 2, 3], np.int16), code_width=2, weight_radix=0,
    ...     bias=np.zeros(4, np.int32), output_radix=0, activation="none")
    >>> assign(layer, elements=2)
    array([0, 1, 2, 3])
    """
    rows, team = layer.outputs, np.zeros(layer.inputs, int) if team is None else team
    teams = int(team.max()) + 1
    work = np.bincount(layer.rows * teams + team[layer.columns], minlength=rows * teams)
    work = work.reshape(rows, teams)
    owner = _even(layer, elements)
    if owner is None:
        owner = _deal(work.sum(axis=1), elements)
        if layer.nonzeros >= WORTH * elements:
            owner = _exchange(layer, work, owner, elements)

    local = np.empty(rows, np.int64)
    for element in range(elements):
        own = np.flatnonzero(owner == element)
        local[own] = np.arange(len(own)) if following is None else spread(following[own])
    return local * elements + owner


def _even(layer: Weighted, elements: int) -> np.ndarray | None:
    """Owner of each row, in turn or in runs, if that makes elements equal in each column."""
    rows = np.arange(layer.outputs)
    per_column = np.diff(layer.column_starts)
    if (per_column % elements).any():
        return None
    for owner in (rows % elements, rows // -(-len(rows) // elements)):
        cells = layer.columns * elements + owner[layer.rows]
        counts = np.bincount(cells, minlength=layer.inputs * elements).reshape(-1, elements)
        if (counts * elements == per_column[:, None]).all():
            return owner
    return None


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


def _exchange(layer: Weighted, work: np.ndarray, owner: np.ndarray, elements: int) -> np.ndarray:
    """Owner of each row, after exchanges between elements; ``work`` is ``(rows, teams)``."""
    # A table of each element's rows, filled up with a row without work, so that giving a row for
    # none is an exchange too. A block is a part of each line, so lines are shuffled.
    rows, none = len(work), len(work)
    room = -(-rows // elements)
    table = np.full((elements, room), none)
    order = np.argsort(owner, kind="stable")
    held = np.bincount(owner, minlength=elements)
    table[owner[order], np.arange(rows) - np.repeat(np.cumsum(held) - held, held)] = order
    rng = np.random.default_rng(0)
    work = np.append(work, np.zeros((1, work.shape[1]), work.dtype), axis=0).astype(np.float32)

    blocks = -(-room // max(1, _BLOCK // elements))
    bounds = np.arange(blocks + 1) * room // blocks
    parts = [slice(*bounds[at : at + 2]) for at in range(blocks)]
    passes = 2 if rows * layer.inputs <= _TWICE else 1
    todo = [(part, _TOTAL) for part in parts] * passes + [(parts[0], _FINAL_TOTAL)]
    for part, weight in todo:
        if part == parts[0]:
            table = rng.permuted(table, axis=1)
        overlaps, fields = _overlaps(layer, table, part)
        surplus = work[table].sum(axis=1)
        block = table[:, part]
        moved = _improve(overlaps, fields, work[block.ravel()], surplus, weight)
        table[:, part] = block.ravel()[moved]

    owner = np.empty(rows + 1, np.int64)
    owner[table] = np.arange(elements)[:, None]
    return owner[:rows]


def _overlaps(layer: Weighted, table: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray]:
    """Columns that the rows of a block share with each other, and with the rows of an element.

    Returns
    -------
    overlaps : ndarray of float32, ``(block, block)``
        In how many columns both rows have a weight. The block is ``table[:, part]``.
    fields : ndarray of float32, ``(elements, block)``
        The same, for a row of the block and all rows of an element, added up.
    """
    elements, rows = len(table), layer.outputs
    block = table[:, part].ravel()
    owner = np.empty(rows + 1, np.int64)
    owner[table] = np.arange(elements)[:, None]
    index = np.full(rows + 1, -1)
    index[block] = np.arange(len(block))
    index[rows] = -1

    overlaps = np.zeros((len(block), len(block)), np.float32)
    fields = np.zeros((elements, len(block)), np.float32)
    starts = layer.column_starts
    step = -(-rows * layer.inputs // _CELLS)
    for first in range(0, layer.inputs, _CHUNK * step):
        last = min(first + _CHUNK, layer.inputs)
        of = layer.rows[starts[first] : starts[last]]
        column = np.repeat(np.arange(last - first), np.diff(starts[first : last + 1]))
        inside = np.flatnonzero(index[of] >= 0)
        dense = np.zeros((len(block), last - first), np.float32)
        dense[index[of[inside]], column[inside]] = 1
        counts = np.bincount(
            owner[of] * (last - first) + column, minlength=elements * (last - first)
        ).reshape(elements, -1)
        overlaps += dense @ dense.T
        fields += counts.astype(np.float32) @ dense.T
    return overlaps, fields


def _improve(
    overlaps: np.ndarray,
    fields: np.ndarray,
    work: np.ndarray,
    surplus: np.ndarray,
    weight: float,
) -> np.ndarray:
    """Exchange rows within a block.

    What is made small is the sum of the squares of all counts (of an element, in a column), and
    ``weight`` times that of the elements' work.

    Parameters
    ----------
    overlaps, fields : ndarray
        As :func:`_overlaps` gives them; ``fields`` is changed.
    work : ndarray of float32, ``(block, teams)``
        Work of each row.
    surplus : ndarray of float32, ``(elements, teams)``
        Work of each element; changed.

    Returns
    -------
    ndarray of int64, ``(elements, block / elements)``
        Which row of the block is where now.
    """
    elements = len(fields)
    where = np.arange(len(overlaps)).reshape(elements, -1)
    own = overlaps.diagonal().copy()
    for _ in range(_SWEEPS):
        exchanged = False
        for one, other in _pairings(elements):
            gives, takes = where[one], where[other]
            # Half the change of the squares if a row moves alone; then less what it shares with
            # the row that makes room for it.
            away = fields[other[:, None], gives] - fields[one[:, None], gives] + own[gives]
            back = fields[one[:, None], takes] - fields[other[:, None], takes] + own[takes]
            change = away[:, :, None] + back[:, None, :]
            change -= 2 * overlaps[gives[:, :, None], takes[:, None, :]]
            moved = work[gives][:, :, None] - work[takes][:, None, :]
            excess = (surplus[one] - surplus[other])[:, None, None]
            change += weight * (moved * (moved - excess)).sum(axis=3)
            flat = change.reshape(len(one), -1)
            best = flat.argmin(axis=1)
            better = flat[np.arange(len(one)), best] < 0
            if not better.any():
                continue
            exchanged = True
            mine, its = np.divmod(best[better], takes.shape[1])
            one, other = one[better], other[better]
            given, taken = where[one, mine], where[other, its]
            where[one, mine], where[other, its] = taken, given
            difference = overlaps[taken] - overlaps[given]
            fields[one] += difference
            fields[other] -= difference
            difference = work[taken] - work[given]
            surplus[one] += difference
            surplus[other] -= difference
        if not exchanged:
            break
    return where


def _pairings(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of different numbers below ``count``, each once; those given together are disjoint."""
    ring = np.arange(count + count % 2)
    for _ in range(len(ring) - 1):
        one, other = np.split(ring, 2)
        other = other[::-1]
        real = np.maximum(one, other) < count
        yield one[real], other[real]
        ring[1:] = np.roll(ring[1:], 1)
