"""How many cycles a layer takes: counted without simulating its arithmetic, and exact.

The model steps through cycles, for all vectors and all elements at once. What an element does with
a word depends only on which of its entries are escapes, so a table holds all that decoding can do,
and an element's state is three numbers: words issued, words taken, and the kind of the word held.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hdl.configuration import Configuration
from hdl.sparse.counts import Counts
from hdl.sparse.drain import Drain
from hdl.sparse.engine import Engine
from hdl.sparse.fetch import Fetch
from hdl.sparse.queue import SegmentQueue
from hdl.sparse.scan import Scan
from hdl.streams import Queue
from mapping.layer import LayerPlan

if TYPE_CHECKING:
    from mapping.plan import Plan

__all__ = ["Prediction", "count", "predict", "useful"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a report will say, vector by vector, when vectors are run one at a time.

    The shapes are ``(batch, layers)`` and ``(batch, layers, elements)``, without ``layers`` where
    there is only one.
    """

    cycles: np.ndarray
    """From the start of a layer to that of the next, int64."""
    busy: np.ndarray
    """Cycles in which an element takes a weight, int64 with a number for each element."""
    padding: np.ndarray
    """Cycles in which it takes escapes only."""
    starved: np.ndarray
    """Cycles in which it has nothing to take."""
    blocked: np.ndarray
    """Cycles in which its queue holds up the scan."""


def useful(plan: "Plan", activations: list[np.ndarray]) -> np.ndarray:
    """Products of two non-zeros, int64 ``(batch, layers)``; arguments as of :func:`predict`."""
    counts = []
    for layer, vectors in zip(plan.layers, activations, strict=True):
        counts.append((vectors != 0) @ np.diff(layer.layer.column_starts))
    return np.stack(counts, axis=1)


def predict(plan: "Plan", activations: list[np.ndarray]) -> Prediction:
    """Cycles and counters of each layer.

    Parameters
    ----------
    plan : Plan
        The network on the device.
    activations : list of ndarray of int, ``(batch, layer.inputs)``
        The input of each layer, as the golden model gives it.
    """
    first = np.zeros(plan.configuration.elements, np.int64)
    runs = []
    for layer, vectors in zip(plan.layers, activations, strict=True):
        nonzero = np.asarray(vectors) != 0
        leads = layer is plan.layers[0]
        runs.append(count(layer, plan.configuration, nonzero, first=first, leads=leads))
        first = first + layer.entries.totals
    names = Prediction.__dataclass_fields__
    return Prediction(*(np.stack([getattr(run, name) for run in runs], axis=1) for name in names))


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
    """What the scans tell, one line for each vector and team.

    Returns
    -------
    columns : ndarray of int64, ``(batch * teams, steps)``
        Which of the team's columns each step tells, or the number of these where it tells none.
    blocks : ndarray of int64, ``(batch * teams, steps + 1)``
        How many of the team's blocks are done before each step.
    numbers : ndarray of int64, ``(batch * teams,)``
        Steps of each line.
    """
    batch, teams, length = len(nonzero), layer.teams, layer.team_columns[0]
    exists = np.zeros((batch, teams * length), bool)
    placed = np.zeros_like(exists)
    exists[:, : layer.columns] = True
    placed[:, layer.inputs] = nonzero

    def dealt(array):
        return array.reshape(batch, -1, teams, scan_width).swapaxes(1, 2).reshape(-1, length)

    placed, exists = dealt(placed), dealt(exists)
    # A block without non-zeros has a step all the same: let its first lane stand for it.
    tells = placed.copy()
    empty = ~placed.reshape(len(placed), -1, scan_width).any(axis=2)
    tells[:, ::scan_width] |= empty & exists[:, ::scan_width]
    numbers = tells.sum(axis=1)
    line, column = np.nonzero(tells)
    step = np.arange(len(line)) - (np.cumsum(numbers) - numbers)[line]
    columns = np.full((len(tells), int(numbers.max())), length)
    columns[line, step] = np.where(placed[line, column], column, length)
    blocks = np.full((len(tells), columns.shape[1] + 1), length // scan_width)
    blocks[line, step] = column // scan_width
    return columns, blocks, numbers


def count(
    layer: LayerPlan,
    configuration: Configuration,
    nonzero: np.ndarray,
    *,
    first: np.ndarray | None = None,
    leads: bool = True,
) -> Prediction:
    """Cycles and counters of a layer.

    Parameters
    ----------
    layer : LayerPlan
    configuration : Configuration
    nonzero : ndarray of bool, ``(batch, layer.inputs)``
        Which activations are not zero.
    first : ndarray of int64, ``(elements,)``
        Address of each element's first entry of the layer; 0 if it is not given.
    leads : bool
        Whether the layer is the first one, so that it need not wait for another's results.
    """
    c = configuration
    kinds, starts, counts = _words(
        layer, np.zeros(c.elements, np.int64) if first is None else first
    )
    columns, blocks, numbers = _steps(layer, c.scan_width, nonzero)
    lines, longest = columns.shape
    batch, teams = len(nonzero), layer.teams

    # Segments and words that an element has been told of before each step. The last column is one
    # without entries, for steps that tell none.
    def by_step(of_columns):
        padded = np.append(of_columns, np.zeros((c.elements, 1), np.int64), axis=1)
        padded = padded.reshape(teams, -1, padded.shape[1])
        team = np.tile(np.arange(teams), batch)
        return padded.transpose(0, 2, 1)[team[:, None], columns]

    told_words, first_words = by_step(counts), by_step(starts)
    members = told_words.shape[2]
    segments = np.zeros((lines, longest + 1, members), np.int32)
    words = np.zeros((lines, longest + 1, members), np.int32)
    np.cumsum(told_words > 0, axis=1, out=segments[:, 1:])
    np.cumsum(told_words, axis=1, out=words[:, 1:])

    # Kinds of the words in the order in which each element reads them, the end marked by zeros.
    order = told_words.transpose(0, 2, 1).ravel()
    where = np.repeat(first_words.transpose(0, 2, 1).ravel() - np.cumsum(order) + order, order)
    read = np.append(kinds[where + np.arange(len(where))], np.zeros(1, np.int8))
    totals = words[:, -1].astype(np.int64)
    offsets = (np.cumsum(totals.ravel()) - totals.ravel()).reshape(totals.shape)

    to_queue = Scan.LATENCY + Counts.LATENCY
    to_fetch = to_queue + Queue.latency(c.queue_depth)
    limit = c.queue_depth - SegmentQueue.MARGIN
    held_then, takes, works, gives = _decoding()
    deal = _Dealing(layer, c, batch, leads)

    # The past that matters: steps begun, words issued, levels, and what was busy.
    line = np.arange(lines)
    begun = [np.zeros(lines, np.int64)] * (to_fetch + 1)
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
        level = segments[line, begun[-1 - to_queue]] - left_queue
        blocked += levels[-1] >= limit
        hold = (levels[-2] >= limit).any(axis=1)
        scanning = begun[-1] < numbers
        done = blocks[line, begun[-1]]
        go = ~hold & scanning & (done < deal.visible(now))
        deal.advance(now, done)

        known = words[line, begun[-to_fetch]]
        outstanding = issued[-1] - taken
        issue = (issued[-1] < known) & (outstanding < Fetch.ROOM)
        ends = issue & (read[np.minimum(offsets + issued[-1], len(read) - 1)] >> 4 != 0)

        visible = taken < issued[-Fetch.LATENCY]
        upcoming = np.where(visible, read[np.minimum(offsets + taken, len(read) - 1)], 0)
        at = held, upcoming
        busy += gives[at]
        padding += works[at] & ~gives[at]

        active = ((level > 0) | (outstanding > 0) | (held > 0)).reshape(batch, -1).any(axis=1)
        idle_for = np.where(scanning.reshape(batch, -1).any(axis=1), 0, idle_for + 1)
        quiet = (idle_for > Engine.ARRIVAL) & ~was_busy[-2]
        cycles[quiet & (cycles == 0)] = now

        held = held_then[at]
        taken = taken + takes[at]
        left_queue = left_queue + ends
        begun = [*begun[1:], begun[-1] + go]
        issued = [*issued[1:], issued[-1] + issue]
        levels = [levels[-1], level]
        was_busy = [was_busy[-1], active]

    busy, padding, blocked = (x.reshape(batch, -1) for x in (busy, padding, blocked))
    return Prediction(cycles, busy, padding, cycles[:, None] - busy - padding, blocked)


class _Dealing:
    """How many blocks each scan has been dealt; lines as of :func:`_steps`."""

    def __init__(self, layer: LayerPlan, configuration: Configuration, batch: int, leads: bool):
        c = configuration
        self.blocks = layer.columns // c.scan_width
        self.teams = layer.teams
        self.queued = c.ways > 1
        # Cycle in which the first block is there; the others follow one a cycle.
        drained = Drain.latency(c) + Queue.latency(c.activation_depth // c.scan_width)
        self.available = 1 if leads else drained
        self.dealt = np.zeros((batch, self.teams), np.int64)
        self.vectors = np.arange(batch)

    def visible(self, now: int) -> np.ndarray:
        """Blocks that each scan sees in cycle ``now`` or has seen before."""
        if self.queued:
            return self.dealt.ravel()
        return np.full(len(self.vectors), now - self.available + 1)

    def advance(self, now: int, done: np.ndarray) -> None:
        """Deal a block of each vector, if there is one, and room for it."""
        count = self.dealt.sum(axis=1)
        turn = self.vectors, count % self.teams
        room = self.dealt[turn] - done.reshape(self.dealt.shape)[turn] < Queue.SHALLOW
        there = (count < self.blocks) & (now - self.available >= count)
        self.dealt[turn] += room & there
