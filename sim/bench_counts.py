"""Bench of :class:`hdl.sparse.counts.Counts`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from itertools import pairwise
from typing import Any

import cocotb

from hdl.sparse.counts import Counts
from hdl.sparse.run import Origin
from sim.runs import random_runs
from sim.streams import Unit, corners, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["counts"])

Step = tuple[int, dict[str, int]]


def random_counts(unit: Unit) -> list[int]:
    """Entries of every column, no more than fit together: none, as many as can be, or some.

    Often two, which are in one word or in two.
    """
    component = unit.component
    left = component.weight_depth
    counts = []
    for _ in range(component.depth * component.scan_width):
        most = (1 << component.count_width) - 1
        count = random.choice([0, 0, 2, most, random.randint(0, most)])
        counts.append(min(count, left))
        left -= counts[-1]
    return counts


async def load(unit: Unit, counts: list[int]) -> None:
    width, lanes = unit.component.count_width, unit.component.scan_width
    blocks = [counts[at : at + lanes] for at in range(0, len(counts), lanes)]
    await unit.fill(sum(count << n * width for n, count in enumerate(block)) for block in blocks)


def random_steps(unit: Unit, blocks: range) -> list[Step]:
    """Column and fields of the steps that tell of a run over ``blocks``."""
    lanes = unit.component.scan_width
    density = random.choice([0.1, 0.5, 1.0])
    bank = random.getrandbits(1)
    steps = []
    for block in blocks:
        common = {"final": 0, "bank": bank, "block": block}
        told = [lane for lane in range(lanes) if random.random() < density]
        for lane, after in pairwise([*told, None]):
            fields = {"activation": corners(8), "lane": lane, "nonzero": 1, "done": after is None}
            steps.append((block * lanes + lane, {**fields, **common}))
        if not told:
            fields = {"activation": corners(8), "lane": random.randrange(lanes), "done": 1}
            steps.append((block * lanes, {**fields, "nonzero": 0, **common}))
    steps[-1][1]["final"] = 1
    return steps


def random_layers(unit: Unit, count: int) -> list[range]:
    """Blocks of layers that fill the memory."""
    starts = [0, *sorted(random.sample(range(1, unit.component.depth), count - 1))]
    return [range(*pair) for pair in pairwise([*starts, unit.component.depth])]


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, gaps=[0.0, 0.4])
async def gives_segments(dut: Any, name: str, gaps: float) -> None:
    """A segment ``LATENCY`` cycles after its step, none for an empty column, but one at the end.

    Without gaps, only the cycle with the origin is between the last step of a run and the first
    of the next.
    """
    unit = Unit(dut, name)
    component = unit.component
    counts = random_counts(unit)
    layers = random_layers(unit, 4)
    # A layer whose end nothing but the last step tells.
    lanes = component.scan_width
    last = layers[1][-1] * lanes
    counts[last : last + lanes] = [0] * lanes
    await unit.start()
    await load(unit, counts)

    schedule: list[Origin | Step | None] = []
    for origin, layer in random_runs(len(layers), 40, stages=component.stages):
        for event in [origin, *random_steps(unit, layers[layer])]:
            while random.random() < gaps:
                schedule.append(None)
            schedule.append(event)
    schedule += [None] * (Counts.LATENCY + 1)
    for n, event in enumerate(schedule):
        told = isinstance(event, tuple)
        unit.valid.value = told
        # What is not valid is arbitrary.
        layout = component.step.shape()
        fields = event[1] if told else unpack(layout, random.getrandbits(len(unit.step)))
        # The activation comes a cycle later.
        earlier = schedule[n - 1] if n else None
        if isinstance(earlier, tuple):
            fields = {**fields, "activation": earlier[1]["activation"]}
        unit.step.value = pack(layout, fields)
        unit.origin.value = event.value if isinstance(event, Origin) else 0
        await unit.cycle()
        before = schedule[n - Counts.LATENCY] if n >= Counts.LATENCY else None
        check(unit, counts, before if isinstance(before, tuple) else None)


def check(unit: Unit, counts: list[int], step: Step | None) -> None:
    """Check the segment of a step. In one without entries, the end of a run is all that counts."""
    column, fields = step or (0, {"nonzero": 0, "final": 0})
    count = counts[column] if fields["nonzero"] else 0
    assert unit.segment_valid.value == bool(count or fields["final"])
    if unit.segment_valid.value:
        actual = unpack(unit.component.segment.shape(), unit.segment.value)
        expected = {"count": count, "final": fields["final"], "bank": fields["bank"]}
        if count:
            start = sum(counts[:column])
            expected |= {"start": start, "activation": fields["activation"]}
            expected["single"] = int(start // 2 == (start + count - 1) // 2)
        assert {key: actual[key] for key in expected} == expected


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_restarts(dut: Any, name: str) -> None:
    """After a reset the next column is the first one; what was loaded stays."""
    unit = Unit(dut, name)
    lanes = unit.component.scan_width
    counts = [1] * (unit.component.depth * lanes)
    layout = unit.component.step.shape()
    await unit.start()
    await load(unit, counts)
    for _ in range(2):
        fields = {"activation": 7, "lane": 0, "nonzero": 1, "done": 1, "final": 0, "bank": 1}
        unit.step.value = pack(layout, {**fields, "block": 0})
        unit.valid.value = 1
        await unit.cycle()
        # A second block, in whose middle the reset comes.
        await unit.cycle()
        unit.valid.value = 0
        await unit.cycles(Counts.LATENCY - 1)
        check(unit, counts, (0, fields))
        await unit.reset()
        await unit.cycle()
        assert not unit.segment_valid.value
