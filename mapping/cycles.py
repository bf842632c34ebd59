"""How many cycles a layer takes: counted without simulating its arithmetic, and exact.

The model steps through cycles, for all vectors and all elements at once. What an element does with
a word depends only on which of its entries are escapes, so a table holds all that decoding can do,
and an element's state is three numbers: words issued, words taken, and the kind of the word held.
"""

from dataclasses import dataclass

import numpy as np

from hdl.sparse.counts import Counts
from hdl.sparse.drain import Drain
from hdl.sparse.engine import Engine
from hdl.sparse.fetch import Fetch
from hdl.sparse.queue import SegmentQueue
from hdl.sparse.scan import Scan
from hdl.streams import Queue
from mapping.plan import LayerPlan, Plan

__all__ = ["Prediction", "predict", "useful"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a report will say, vector by vector, when vectors are run one at a time."""

    cycles: np.ndarray
    """From the start of a layer to that of the next, int64 ``(batch, layers)``."""
    busy: np.ndarray
    """Cycles in which an element takes a weight, int64 ``(batch, layers, elements)``."""
    padding: np.ndarray
    """Cycles in which it takes escapes only."""
    starved: np.ndarray
    """Cycles in which it has nothing to take."""
    blocked: np.ndarray
    """Cycles in which its queue holds up the scan."""


def useful(plan: Plan, activations: list[np.ndarray]) -> np.ndarray:
    """Products of two non-zeros, int64 ``(batch, layers)``; arguments as of :func:`predict`."""
    counts = []
    for layer, vectors in zip(plan.layers, activations, strict=True):
        counts.append((vectors != 0) @ np.diff(layer.layer.column_starts))
    return np.stack(counts, axis=1)


def predict(plan: Plan, activations: list[np.ndarray]) -> Prediction:
    """Cycles and counters of each layer.

    Parameters
    ----------
    plan : Plan
        The network on the device.
    activations : list of ndarray of int, ``(batch, layer.inputs)``
        The input of each layer, as the golden model gives it.
    """
    runs = [
        _run(plan, index, np.asarray(vectors) != 0) for index, vectors in enumerate(activations)
    ]
    return Prediction(*(np.stack(parts, axis=1) for parts in zip(*runs, strict=True)))


# A kind of word is a number: which entries belong to the segment, which are escapes, whether it is
# the segment's last word. No word at all is kind 0, for at least one entry always belongs.
_KINDS = 32


def _kind(here, escapes, last):
    return here | escapes << 2 | last << 4


def _decoding() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What :class:`hdl.sparse.decode.Decode` does, by the kinds of the word held and the next one.

    Returns the kind held afterwards, and whether the next word is taken, entries are taken, and
    these give a product.
    """
    held_then = np.zeros((_KINDS, _KINDS), np.int8)
    takes, works, gives = (np.zeros((_KINDS, _KINDS), bool) for _ in range(3))
    for held in range(_KINDS):
        for upcoming in range(_KINDS):
            word = held or upcoming
            here, escapes, last = word & 3, word >> 2 & 3, word >> 4
            if not here or (upcoming and not upcoming & 3):
                continue
            at = held, upcoming
            works[at] = True
            escape = escapes >> (here == 2) & 1
            across = here != 3 and not last and held and upcoming
            pair = escape and (here == 3 or across)
            successor = upcoming >> 2 & 1 if across else escapes >> 1
            gives[at] = not escape or (pair and not successor)
            if here == 3 and not pair:
                held_then[at] = _kind(2, escapes, last)
                takes[at] = not held
            elif across and pair:
                held_then[at] = upcoming & ~1 if upcoming & 2 else 0
                takes[at] = True
            else:
                held_then[at] = upcoming if held else 0
                takes[at] = bool(upcoming)
    return held_then, takes, works, gives


def _words(layer: LayerPlan, first: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words that the elements read, segment by segment.

    Parameters
    ----------
    layer : LayerPlan
    first : ndarray of int64, ``(elements,)``
        Address of each element's first entry of the layer.

    Returns
    -------
    kinds : ndarray of int8, ``(words,)``
        Of all elements and columns, in this order.
    starts : ndarray of int64, ``(elements, columns)``
        Where the words of a segment begin.
    counts : ndarray of int64, ``(elements, columns)``
        How many words it has.
    """
    entries = layer.entries
    begins = np.cumsum(entries.counts.ravel()) - entries.counts.ravel()
    begins = begins.reshape(entries.counts.shape)
    addresses = begins - begins[:, :1] + first[:, None]
    odd = addresses & 1
    counts = (odd + entries.counts + 1) >> 1
    counts[entries.counts == 0] = 0

    flat = counts.ravel()
    starts = np.cumsum(flat) - flat
    segment = np.repeat(np.arange(len(flat)), flat)
    index = np.arange(len(segment)) - starts[segment]
    # Entry of the segment that is the word's lower half; -1 if that belongs to the one before.
    lower = 2 * index - odd.ravel()[segment]
    length = entries.counts.ravel()[segment]
    has_lower, has_upper = lower >= 0, lower + 1 < length
    at = begins.ravel()[segment] + lower
    escapes = np.append(entries.escapes, [False, False])
    kinds = _kind(
        has_lower | has_upper << 1,
        (escapes[at] & has_lower) | (escapes[at + 1] & has_upper) << 1,
        index == flat[segment] - 1,
    )
    return kinds.astype(np.int8), starts.reshape(counts.shape), counts


def _steps(layer: LayerPlan, scan_width: int, nonzero: np.ndarray):
    """What the scan tells, vector by vector.

    Returns
    -------
    columns : ndarray of int64, ``(batch, steps)``
        Column of each step, or ``layer.columns`` where there is none.
    blocks : ndarray of int64, ``(batch, steps)``
        Block of each step.
    numbers : ndarray of int64, ``(batch,)``
        Steps of each vector.
    """
    batch = len(nonzero)
    placed = np.zeros((batch, layer.columns), bool)
    placed[:, layer.inputs] = nonzero
    in_blocks = placed.reshape(batch, -1, scan_width)
    # A block without non-zeros has a step all the same: let its first lane stand for it.
    tells = in_blocks.copy()
    tells[:, :, 0] |= ~in_blocks.any(axis=2)
    tells = tells.reshape(batch, -1)
    numbers = tells.sum(axis=1)
    vector, column = np.nonzero(tells)
    step = np.arange(len(vector)) - (np.cumsum(numbers) - numbers)[vector]
    columns = np.full((batch, int(numbers.max())), layer.columns)
    blocks = np.zeros(columns.shape, np.int64)
    columns[vector, step] = np.where(placed[vector, column], column, layer.columns)
    blocks[vector, step] = column // scan_width
    return columns, blocks, numbers


def _run(plan: Plan, index: int, nonzero: np.ndarray) -> tuple[np.ndarray, ...]:
    """Cycles, busy, padding, starved and blocked cycles of a layer."""
    c = plan.configuration
    layer = plan.layers[index]
    earlier = [before.entries.totals for before in plan.layers[:index]]
    kinds, starts, counts = _words(layer, sum(earlier, np.zeros(c.elements, np.int64)))
    columns, blocks, numbers = _steps(layer, c.scan_width, nonzero)
    batch, longest = columns.shape

    # Segments and words that an element has been told of before each step. The last column is one
    # without entries, for steps that tell none.
    none = np.zeros((c.elements, 1), np.int64)
    told_words = np.append(counts, none, axis=1).T[columns]
    first_words = np.append(starts, none, axis=1).T[columns]
    segments = np.zeros((batch, longest + 1, c.elements), np.int32)
    words = np.zeros((batch, longest + 1, c.elements), np.int32)
    np.cumsum(told_words > 0, axis=1, out=segments[:, 1:])
    np.cumsum(told_words, axis=1, out=words[:, 1:])

    # Kinds of the words in the order in which each element reads them, the end marked by zeros.
    order = told_words.transpose(0, 2, 1).ravel()
    where = np.repeat(first_words.transpose(0, 2, 1).ravel() - np.cumsum(order) + order, order)
    read = np.append(kinds[where + np.arange(len(where))], np.zeros(1, np.int8))
    totals = words[:, -1].astype(np.int64)
    offsets = (np.cumsum(totals.ravel()) - totals.ravel()).reshape(totals.shape)

    # Cycles count from the one in which the layer starts.
    if index == 0:
        available = 1
    else:
        available = Drain.LATENCY + Queue.latency(c.activation_depth // c.scan_width)
    arrival = available + blocks
    arrival[np.arange(longest) >= numbers[:, None]] = np.iinfo(np.int64).max
    to_queue = Scan.LATENCY + Counts.LATENCY
    to_fetch = to_queue + Queue.latency(c.queue_depth)
    limit = c.queue_depth - SegmentQueue.MARGIN
    held_then, takes, works, gives = _decoding()

    vectors = np.arange(batch)
    arrival = np.append(arrival, np.full((batch, 1), np.iinfo(np.int64).max), axis=1)
    # The past that matters: steps begun, words issued, levels, and what was busy.
    begun = [np.zeros(batch, np.int64)] * (to_fetch + 1)
    issued = [np.zeros(totals.shape, np.int64)] * (Fetch.LATENCY + 1)
    levels = [np.zeros(totals.shape, np.int64)] * 2
    idle_for = np.zeros(batch, np.int64)
    was_busy = [np.zeros(batch, bool)] * 2
    taken = np.zeros(totals.shape, np.int64)
    left_queue = np.zeros(totals.shape, np.int64)
    held = np.zeros(totals.shape, np.int8)
    busy, padding, blocked = (np.zeros(totals.shape, np.int64) for _ in range(3))
    cycles = np.zeros(batch, np.int64)
    now = 0
    while not cycles.all():
        now += 1
        # begun[-1] are the steps begun by the end of the cycle before, and so on back.
        level = segments[vectors, begun[-1 - to_queue]] - left_queue
        blocked += levels[-1] >= limit
        hold = (levels[-2] >= limit).any(axis=1)
        scanning = begun[-1] < numbers
        go = ~hold & (arrival[vectors, begun[-1]] <= now)

        known = words[vectors, begun[-to_fetch]]
        outstanding = issued[-1] - taken
        issue = (issued[-1] < known) & (outstanding < Fetch.ROOM)
        ends = issue & (read[np.minimum(offsets + issued[-1], len(read) - 1)] >> 4 != 0)

        visible = taken < issued[-Fetch.LATENCY]
        upcoming = np.where(visible, read[np.minimum(offsets + taken, len(read) - 1)], 0)
        at = held, upcoming
        busy += gives[at]
        padding += works[at] & ~gives[at]

        active = ((level > 0) | (outstanding > 0) | (held > 0)).any(axis=1)
        idle_for = np.where(scanning, 0, idle_for + 1)
        quiet = (idle_for > Engine.ARRIVAL) & ~was_busy[-2]
        cycles[quiet & (cycles == 0)] = now

        held = held_then[at]
        taken = taken + takes[at]
        left_queue = left_queue + ends
        begun = [*begun[1:], begun[-1] + go]
        issued = [*issued[1:], issued[-1] + issue]
        levels = [levels[-1], level]
        was_busy = [was_busy[-1], active]

    starved = cycles[:, None] - busy - padding
    return cycles, busy, padding, starved, blocked
