"""How many cycles a network takes: counted without simulating its arithmetic, and exact.

The model steps through cycles, for many vectors and all elements at once. What an element does with
a word depends only on which of its entries are escapes, so a table holds all that decoding can do,
and an element's state is three numbers: words issued, words taken, and what is left of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hdl.configuration import Configuration
from hdl.sequencer import Sequencer
from hdl.sparse.counts import Counts
from hdl.sparse.decode import Decode
from hdl.sparse.drain import Drain
from hdl.sparse.engine import COMPANIONS, Engine
from hdl.sparse.fetch import Fetch
from hdl.sparse.queue import SegmentQueue
from hdl.sparse.scan import Scan
from hdl.streams import Queue, VectorQueue
from mapping.layer import LayerPlan

if TYPE_CHECKING:
    from mapping.plan import Plan

__all__ = [
    "ACTIVITY",
    "Prediction",
    "companions",
    "count",
    "expected",
    "fastest",
    "predict",
    "predict_stream",
    "predict_streams",
    "useful",
]

ACTIVITY = 0.4
"""Share of activations that a plan takes to be non-zero where it has to choose. Layers behind a
rectifier have 18 to 41 % in EIE's table III; the more there are, the more a choice matters."""

# Random vectors to predict cycles for. One alone may prefer what others do not.
_SAMPLES = 8


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a report will say, vector by vector.

    The shapes are ``(batch, layers)`` and ``(batch, layers, elements)``. Where vectors follow each
    other closely, only sums over all of them are what a report says of an element: while one layer
    is at hand, elements are already busy with the next one.
    """

    cycles: np.ndarray
    """From the end of the run before, or the start, to the end of this one; int64. Those of tiles
    are added up."""
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
    """Cycles and counters when vectors are run one at a time.

    Parameters
    ----------
    plan : Plan
        The network on the device.
    activations : list of ndarray of int, ``(batch, layer.inputs)``
        The input of each layer, as the golden model gives it.
    """
    runs: list[_Run] = []
    sources = range(0)
    for index, vectors in enumerate(map(np.asarray, activations)):
        sources = _begin(runs, plan.layers, index, vectors != 0, sources)
    return _simulate(plan.layers, plan.configuration, runs, plan.lines)


def predict_stream(plan: "Plan", activations: list[np.ndarray]) -> Prediction:
    """Cycles and counters when vectors are sent one behind the other; as :func:`predict`.

    This takes as long as all the vectors one after another: some 10,000 cycles a second.
    """
    found = predict_streams(plan, [np.asarray(vectors)[None] for vectors in activations])
    return Prediction(*(array[0] for array in vars(found).values()))


def predict_streams(plan: "Plan", activations: list[np.ndarray]) -> Prediction:
    """As :func:`predict_stream`, for several streams, each by itself.

    It takes little more time than one of them.

    Parameters
    ----------
    plan : Plan
    activations : list of ndarray of int, ``(streams, batch, layer.inputs)``

    Returns
    -------
    Prediction
        Its arrays have the streams as one more axis, the first.
    """
    streams, batch, _ = activations[0].shape
    depth = len(plan.layers)
    together = 1 + companions(plan.layers, plan.configuration)
    runs: list[_Run] = []
    places: list[int] = []
    for first in range(0, batch, together):
        sources = dict.fromkeys(range(first, min(first + together, batch)), range(0))
        for index in range(depth):
            for vector in sources:
                nonzero = activations[index][:, vector] != 0
                sources[vector] = _begin(runs, plan.layers, index, nonzero, sources[vector])
                places += [vector * depth + index] * len(sources[vector])
    found = _simulate(plan.layers, plan.configuration, runs, places)
    return Prediction(
        *(array.reshape(streams, batch, depth, *array.shape[2:]) for array in vars(found).values())
    )


def companions(layers: Sequence[LayerPlan], configuration: Configuration) -> int:
    """Vectors that may go through a chain of layers with another one, layer by layer.

    By the time that a run starts, all runs but the two before it are drained. Those of as many
    companions less one wait for the next layer then, with the one that is drained next: for these
    there has to be room. And a vector that is kept for tiles lets none come in between.

    Parameters
    ----------
    layers : sequence of LayerPlan
    configuration : Configuration

    Returns
    -------
    int
        At most :data:`hdl.sparse.engine.COMPANIONS`.
    """
    if any(one.tiles > 1 for one in layers):
        return 0
    longest = max((one.positions for one in layers[:-1]), default=1)
    return min(configuration.activation_depth // longest, COMPANIONS)


def count(layer: LayerPlan, configuration: Configuration, nonzero: np.ndarray) -> Prediction:
    """Cycles and counters of a layer by itself.

    Parameters
    ----------
    layer : LayerPlan
    configuration : Configuration
    nonzero : ndarray of bool, ``(batch, layer.inputs)``
        Which activations are not zero.
    """
    runs: list[_Run] = []
    _begin(runs, [layer], 0, nonzero, range(0))
    return _simulate([layer], configuration, runs, [0] * layer.tiles)


def fastest(
    options: Sequence[LayerPlan], configuration: Configuration, activity: float
) -> LayerPlan:
    """The first of the options that take the fewest cycles.

    Parameters
    ----------
    options : sequence of LayerPlan
        Of one layer.
    configuration : Configuration
    activity : float
        Share of the activations that are not zero.
    """
    if len(options) == 1:
        return options[0]
    return options[int(np.argmin([expected(one, configuration, activity) for one in options]))]


def expected(layer: LayerPlan, configuration: Configuration, activity: float) -> float:
    """Cycles of a layer for a vector of which this share is not zero; arguments as of
    :func:`fastest`."""
    nonzero = np.random.default_rng(0).random((_SAMPLES, layer.layer.inputs)) < activity
    return float(count(layer, configuration, nonzero).cycles.mean())


class _Run(NamedTuple):
    """One tile of one layer of one vector, or of the vectors of all lines."""

    layer: int
    tile: int
    nonzero: np.ndarray
    sources: range
    """Runs whose results it scans, or none if that is the input."""


def _begin(
    runs: list[_Run],
    layers: Sequence[LayerPlan],
    index: int,
    nonzero: np.ndarray,
    sources: range,
) -> range:
    """Add the runs of a layer; which ones they are."""
    first = len(runs)
    tiles = range(layers[index].tiles)
    runs += [_Run(index, tile, nonzero, sources) for tile in tiles]
    return range(first, len(runs))


# A kind of word is a number: which entries belong to the segment, which are escapes, whether it is
# the segment's last word. No word at all is kind 0. That of an empty segment is its last.
_KINDS = 32
_EMPTY = 16

# A cycle that does not come.
_NEVER = 1 << 60


def _kind(here, escapes, last):
    return here | escapes << 2 | last << 4


class _Decoding(NamedTuple):
    """What :class:`hdl.sparse.decode.Decode` does, state by state. In state 0 it has nothing.

    Attributes
    ----------
    then : ndarray of int16, ``(states, kinds)``
        State after a cycle in which a word of this kind is next, or none.
    takes : ndarray of bool, ``(states,)``
        Whether such a word is taken.
    works, gives : ndarray of bool, ``(states, kinds)``
        Whether entries are taken in that cycle, and whether these give a product.
    inside : ndarray of int8, ``(states,)``
        Words that have been taken, and of which entries have not.
    """

    then: np.ndarray
    takes: np.ndarray
    works: np.ndarray
    gives: np.ndarray
    inside: np.ndarray


_WEIGHT, _ESCAPE, _NOTHING = range(3)


def _decoding() -> _Decoding:
    """All states that can be reached: for each word in line, which of its entries are left."""
    words: list[tuple[int, ...]] = []
    for kind in range(_KINDS):
        here, escapes = kind & 3, kind >> 2 & 3
        entries = tuple(escapes >> n & 1 for n in range(2) if here >> n & 1)
        words.append((_NOTHING,) if kind == _EMPTY else entries)
    states: list[tuple[tuple[int, ...], ...]] = [()]
    then, takes, works, gives = [], [], [], []
    for state in states:
        entries = [entry for word in state for entry in word]
        in_line, escape = len(entries), entries[:1] == [_ESCAPE]
        takes.append(in_line < 3 or entries[:2] == [_ESCAPE, _WEIGHT])
        row = []
        for word in words:
            line = (*state, word) if takes[-1] and word else state
            entries = [entry for word in line for entry in word]
            # An escape goes with the weight behind it, be that in line or about to be. It waits for
            # that, or else for another escape to be in line.
            number = min(1, in_line)
            if escape and entries[1:2] == [_WEIGHT]:
                number = 2
            elif escape and in_line == 1:
                number = 0
            works.append(number > 0 and entries[0] != _NOTHING)
            gives.append(number > 0 and entries[number - 1] == _WEIGHT)
            after = []
            for word in line:
                number, word = max(number - len(word), 0), word[number:]
                after += [word] if word else []
            if tuple(after) not in states:
                states.append(tuple(after))
            row.append(states.index(tuple(after)))
        then.append(row)
    inside = np.array([len(state) for state in states], np.int8)
    works, gives = (np.array(flags).reshape(-1, _KINDS) for flags in (works, gives))
    return _Decoding(np.array(then, np.int16), np.array(takes), works, gives, inside)


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


class _Work:
    """All that the scans tell and the elements read, whenever they do.

    Ways and elements have steps and words of their own; indices are ``(line, way, ...)`` and
    ``(line, way, ..., member)``. The steps of a run have places from ``begins[run]`` on, on all
    lines, so some places are not used.

    Attributes
    ----------
    begins : ndarray of int64, ``(runs + 1,)``
    ends : ndarray of int64, ``(lines, ways, runs)``
        Place behind the last step of a run.
    blocks : ndarray of int64, ``(lines, ways, places + 1)``
        Blocks that are done before a step.
    segments, words : ndarray of int32, ``(lines, ways, places + 1, members)``
        How many of these the elements are told of before a step.
    kinds : ndarray of int8
        Of words, in the order in which each element reads them.
    offsets : ndarray of int64, ``(lines, ways, members)``
        Where its words begin in ``kinds``.
    """

    def __init__(self, layers: Sequence[LayerPlan], c: Configuration, runs: Sequence[_Run]):
        lines, ways, members = len(runs[0].nonzero), c.ways, c.way_elements
        address = np.zeros(c.elements, np.int64)
        all_kinds, tables = [np.array([0, _EMPTY], np.int8)], []
        length = 2
        for layer in layers:
            kinds, starts, counts = _words(layer, address)
            # The last column is one without entries, for steps that tell none.
            tables.append([_by_way(counts, ways, 0), _by_way(starts + length, ways, 0)])
            all_kinds.append(kinds)
            length += len(kinds)
            address = address + layer.entries.totals

        told, firsts, blocks, ends, begins = [], [], [], [], [0]
        base = np.zeros((lines, ways), np.int64)
        for run in runs:
            layer = layers[run.layer]
            columns, before, numbers = (
                np.broadcast_to(
                    array.reshape(lines, layer.teams, *array.shape[1:]),
                    (lines, ways, *array.shape[1:]),
                )
                for array in _steps(layer, c.scan_width, run.nonzero)
            )
            way = np.arange(ways)[:, None]
            told_of = layer.team_columns[0]
            columns = np.where(
                columns < told_of, columns + run.tile * told_of, layer.tiles * told_of
            )
            words, first = (table[way, columns] for table in tables[run.layer])
            # The last step of a run tells all elements, if only that it is the last.
            last = np.arange(columns.shape[2]) == numbers[..., None] - 1
            nothing = last[..., None] & (words == 0)
            told.append(np.where(nothing, 1, words))
            firsts.append(np.where(nothing, 1, first))
            share = np.arange(ways) * (layer.teams > 1)
            own = -(-(layer.columns // c.scan_width - share) // layer.teams)
            blocks.append(base[..., None] + np.minimum(before[..., :-1], own[:, None]))
            base = base + own
            ends.append(begins[-1] + numbers)
            begins.append(begins[-1] + columns.shape[2])
        blocks.append(base[..., None])
        words, first = np.concatenate(told, axis=2), np.concatenate(firsts, axis=2)
        self.begins = np.array(begins)
        self.ends = np.stack(ends, axis=2)
        self.blocks = np.concatenate(blocks, axis=2)
        shape = (lines, ways, words.shape[2] + 1, members)
        self.segments, self.words = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        np.cumsum(words > 0, axis=2, out=self.segments[:, :, 1:])
        np.cumsum(words, axis=2, out=self.words[:, :, 1:])

        order = words.swapaxes(2, 3).ravel()
        where = np.repeat(first.swapaxes(2, 3).ravel() - np.cumsum(order) + order, order)
        self.kinds = np.concatenate(all_kinds)[where + np.arange(len(where))]
        totals = self.words[:, :, -1].astype(np.int64)
        self.offsets = (np.cumsum(totals.ravel()) - totals.ravel()).reshape(totals.shape)


def _by_way(table: np.ndarray, ways: int, nothing: int) -> np.ndarray:
    """``(elements, columns)`` as ``(ways, columns + 1, members)``."""
    table = np.append(table, np.full((len(table), 1), nothing), axis=1)
    return table.reshape(ways, -1, table.shape[1]).swapaxes(1, 2)


class _Control:
    """The sequencer, the scans and what deals out blocks to them, on each line for itself."""

    def __init__(
        self, layers: Sequence[LayerPlan], c: Configuration, runs: Sequence[_Run], work: _Work
    ):
        lines, ways = work.ends.shape[:2]
        of_run = [layers[run.layer] for run in runs]
        self.work = work
        self.line, self.way = np.arange(lines), np.arange(ways)
        self.blocks = np.array([layer.columns // c.scan_width for layer in of_run])
        self.results = np.array([layer.tile_positions // c.scan_width for layer in of_run])
        # Cycles from the end of a run until all of its rows but the last are read, and its result
        # is on its way.
        per_row = self.results // [layer.rows for layer in of_run]
        self.read = 2 + self.results - per_row
        self.drained = self.results + Drain.LATENCY
        depth = c.activation_depth // c.scan_width
        self.through = Queue.latency(depth)
        self.arrives = Drain.LATENCY + VectorQueue.LATENCY
        self.rewinds = VectorQueue.rewind_latency(depth)
        self.splits = np.array([layer.split for layer in of_run])
        self.last = np.array([layer is layers[-1] for layer in of_run])
        self.from_input = np.array([not run.sources for run in runs])
        most = max(1, *(len(run.sources) for run in runs))
        self.sources = np.array([[*run.sources, *[-1] * (most - len(run.sources))] for run in runs])
        self.rereads = np.array([run.tile > 0 for run in runs])
        self.keeps = np.append(self.rereads[1:], False)
        self.depth = max(depth, int(self.results.max()))

        self.launched, self.finished = np.zeros(lines, np.int64), np.zeros(lines, np.int64)
        # Runs that have been scanned, and the cycle in which the last of them was known to be.
        self.scanned = self.scanned_at = np.zeros(lines, np.int64)
        self.finish_at = np.full((lines, len(runs)), _NEVER)
        self.split = self.split_before = np.zeros(lines, bool)
        self.dealt, self.dealt_of_run = np.zeros((lines, ways), np.int64), np.zeros(lines, np.int64)
        self.popped = self.popped_before = self.popped_known = np.zeros(lines, np.int64)
        self.pushed = np.zeros(lines, np.int64)
        self.draining_until = self.output_until = np.zeros(lines, np.int64)

    def scan(self, now: int, begun: np.ndarray, holds: np.ndarray) -> np.ndarray:
        """Ways that begin a step in cycle ``now``, bool ``(lines, ways)``.

        Parameters
        ----------
        now : int
        begun : ndarray of int64, ``(lines, ways)``
            Places of the next steps.
        holds : ndarray of bool, ``(lines, ways)``
            Whether an element of the way has asked to hold.
        """
        hold = holds | (~self.split_before & holds.any(axis=1))[:, None]
        self.split_before = self.split
        self.popped_known, self.popped_before = self.popped_before, self.popped
        run = self.launched - 1
        done = self.work.blocks[self.line[:, None], self.way, begun]
        scanning = begun < self.work.ends[self.line, :, run]
        sources = self.sources[run]
        arrived = now - self.finish_at[self.line[:, None], sources] - self.arrives + 1
        arrived = np.clip(arrived, 0, np.where(sources < 0, 0, self.results[sources])).sum(axis=1)
        arrived = np.where(self.from_input[run], self.blocks[run], arrived)
        rewound = now >= self.scanned_at + self.rewinds
        arrived = np.where(self.rereads[run] & ~rewound, 0, arrived)
        if len(self.way) == 1:
            before = self.work.blocks[self.line, 0, self.work.begins[run]]
            go = ~hold & scanning & (done < (before + arrived)[:, None])
            after = self.work.blocks[self.line[:, None], self.way, begun + go]
            taken = (after - done)[:, 0]
        else:
            go = ~hold & scanning & (done < self.dealt)
            turn = self.dealt_of_run % len(self.way)
            room = self.dealt - done < Engine.BLOCKS
            there = (self.dealt_of_run < self.blocks[run]) & (self.dealt_of_run < arrived)
            taken = there & np.where(self.split, room[self.line, turn], room.all(axis=1))
            own = ~self.split[:, None] | (self.way == turn[:, None])
            self.dealt = self.dealt + (taken[:, None] & own)
            self.dealt_of_run = self.dealt_of_run + taken
        self.popped = self.popped + taken * ~(self.from_input[run] | self.keeps[run])
        return go

    def advance(self, now: int, begun: list[np.ndarray], ended: np.ndarray) -> bool:
        """Finish and start runs at the end of cycle ``now``; False if there are none any more.

        Parameters
        ----------
        now : int
        begun : list of ndarray of int64, ``(lines, ways)``
            Places of the next steps after the cycle; the one before it is that before the cycle.
            Those of runs that start are set.
        ended : ndarray of int64, ``(lines,)``
            Runs that are known to have ended in all elements.
        """
        number = self.finish_at.shape[1]
        if (self.finished == number).all():
            return False
        line, finished, launched = self.line, self.finished, self.launched

        oldest = np.minimum(finished, number - 1)
        results, last = self.results[oldest], self.last[oldest]
        # A block of the result is gone as soon as it is through the queue. What has left a queue is
        # known a cycle late.
        in_output = np.clip(self.output_until + 1 - now, 0, np.minimum(self.through + 1, results))
        level = np.where(last, in_output, self.pushed - self.popped_known)
        finishes = (finished < launched) & (ended > finished)
        finishes &= (now >= self.draining_until) & (self.depth - level >= results)

        run = np.minimum(launched, number - 1)
        scanning = (begun[-2] < self.work.ends[line, :, launched - 1]).any(axis=1) & (launched > 0)
        starts = (launched < number) & ~scanning
        seen = ~scanning & (self.scanned < launched)
        self.scanned_at = np.where(seen, now, self.scanned_at)
        self.scanned = np.where(seen, launched, self.scanned)
        before = np.maximum(launched - 2, 0)
        read = (finished > before) & (now >= self.finish_at[line, before] + self.read[before])
        starts &= (launched < 2) | read

        self.finish_at[line[finishes], oldest[finishes]] = now
        until = now + self.drained[oldest]
        self.draining_until = np.where(finishes, until, self.draining_until)
        self.output_until = np.where(finishes & last, until + self.through, self.output_until)
        self.pushed = self.pushed + np.where(finishes & ~last, results, 0)
        self.finished = finished + finishes

        begun[-1] = np.where(starts[:, None], self.work.begins[run][:, None], begun[-1])
        self.split = np.where(starts, self.splits[run], self.split)
        self.dealt_of_run = np.where(starts, 0, self.dealt_of_run)
        self.launched = launched + starts
        return True


def _simulate(
    layers: Sequence[LayerPlan], c: Configuration, runs: Sequence[_Run], places: Sequence[int]
) -> Prediction:
    """Run after run, on each line for itself. The shapes have places instead of layers, and what is
    found of the runs of a place is added up."""
    work = _Work(layers, c, runs)
    kinds = work.kinds
    lines, ways, members = work.offsets.shape
    line, way = np.arange(lines), np.arange(ways)
    at_line, at_way = line[:, None], way[None, :]
    element = np.ogrid[:lines, :ways, :members]
    bounds = work.words[:, :, work.begins[1:]].swapaxes(2, 3)  # words until the end of each run

    to_queue = Scan.LATENCY + Counts.LATENCY
    to_fetch = to_queue + Queue.latency(c.queue_depth)
    to_done = Decode.END_LATENCY + Engine.DONE_LATENCY + Sequencer.END_LATENCY
    limit = c.queue_depth - SegmentQueue.MARGIN
    decoding = _decoding()
    control = _Control(layers, c, runs, work)

    # The past that matters: steps begun, words issued, levels, and runs that all have ended.
    begun = [np.zeros((lines, ways), np.int64)] * (to_fetch + 1)
    issued = [np.zeros(work.offsets.shape, np.int64)] * (Fetch.LATENCY + 1)
    levels = [np.zeros(work.offsets.shape, np.int64)] * 3
    ended_by_all = [np.zeros(lines, np.int64)] * (to_done + 1)
    ended = np.zeros(work.offsets.shape, np.int64)
    taken = np.zeros(work.offsets.shape, np.int64)
    left_queue = np.zeros(work.offsets.shape, np.int64)
    state = np.zeros(work.offsets.shape, np.int16)
    counted = np.zeros((3, lines, len(runs) + 1, ways, members), np.int64)
    busy, padding, blocked = counted
    now = 0
    while control.advance(now, begun, ended_by_all[0]):
        now += 1
        # begun[-1] are the steps begun by the end of the cycle before, and so on back.
        level = work.segments[at_line, at_way, begun[-1 - to_queue]] - left_queue
        blocked[line, control.finished] += levels[-1] >= limit
        go = control.scan(now, begun[-1], (levels[-3] >= limit).any(axis=2))

        known = work.words[at_line, at_way, begun[-to_fetch]]
        outstanding = issued[-1] - taken
        issue = (issued[-1] < known) & (outstanding < Fetch.ROOM)
        ends = issue & (kinds[np.minimum(work.offsets + issued[-1], len(kinds) - 1)] >> 4 != 0)

        visible = taken < issued[-Fetch.LATENCY]
        upcoming = np.where(visible, kinds[np.minimum(work.offsets + taken, len(kinds) - 1)], 0)
        of_run = element[0], ended, element[1], element[2]
        gives = decoding.gives[state, upcoming]
        busy[of_run] += gives
        padding[of_run] += decoding.works[state, upcoming] & ~gives

        taken = taken + (decoding.takes[state] & (upcoming != 0))
        state = decoding.then[state, upcoming]
        left_queue = left_queue + ends
        reached = bounds[(*element, np.minimum(ended, len(runs) - 1))]
        ended = ended + ((taken - decoding.inside[state] >= reached) & (ended < len(runs)))
        begun = [*begun[1:], begun[-1] + go]
        issued = [*issued[1:], issued[-1] + issue]
        levels = [*levels[1:], level]
        ended_by_all = [*ended_by_all[1:], ended.reshape(lines, -1).min(axis=1)]

    cycles = np.diff(control.finish_at, axis=1, prepend=0)
    busy, padding, blocked = counted[:, :, :-1].reshape(3, lines, len(runs), -1)
    starved = cycles[..., None] - busy - padding
    added = []
    for array in cycles, busy, padding, starved, blocked:
        total = np.zeros((lines, max(places) + 1, *array.shape[2:]), np.int64)
        np.add.at(total, (slice(None), places), array)
        added.append(total)
    return Prediction(*added)
