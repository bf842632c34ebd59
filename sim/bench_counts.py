"""Bench of :class:`hdl.sparse.counts.Counts`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from itertools import pairwise
from typing import Any

import cocotb

from hdl.sparse.counts import Counts
from sim.streams import Unit, corners, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["counts"])


def random_counts(unit: Unit) -> list[int]:
    """Entries of every column: none, as many as can be, or some, and no more than fit together."""
    component = unit.component
    left = component.weight_depth
    counts = []
    for _ in range(component.depth * component.scan_width):
        most = (1 << component.count_width) - 1
        count = random.choice([0, 0, most, random.randint(0, most)])
        counts.append(min(count, left))
        left -= counts[-1]
    return counts


async def load(unit: Unit, counts: list[int]) -> None:
    width, lanes = unit.component.count_width, unit.component.scan_width
    unit.load__en.value = 1
    for address in range(unit.component.depth):
        word = counts[address * lanes : (address + 1) * lanes]
        unit.load__addr.value = address
        unit.load__data.value = sum(count << n * width for n, count in enumerate(word))
        await unit.cycle()
    unit.load__en.value = 0


def random_steps(unit: Unit, blocks: int) -> list[tuple[int, dict[str, int]]]:
    """Column and fields of the steps that tell of random blocks."""
    lanes = unit.component.scan_width
    density = random.choice([0.1, 0.5, 1.0])
    steps = []
    for block in range(blocks):
        told = [lane for lane in range(lanes) if random.random() < density]
        for lane, after in pairwise([*told, None]):
            fields = {"activation": corners(8), "lane": lane, "nonzero": 1, "done": after is None}
            steps.append((block * lanes + lane, fields))
        if not told:
            fields = {"activation": corners(8), "lane": random.randrange(lanes), "done": 1}
            steps.append((block * lanes, {**fields, "nonzero": 0}))
    return steps


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, gaps=[0.0, 0.4])
async def gives_segments(dut: Any, name: str, gaps: float) -> None:
    """A segment ``LATENCY`` cycles after its step, none for an empty column; three times over."""
    unit = Unit(dut, name)
    component = unit.component
    layout = component.step.shape()
    counts = random_counts(unit)
    await unit.start()
    await load(unit, counts)
    for _ in range(3):
        unit.restart.value = 1
        await unit.cycle()
        unit.restart.value = 0
        schedule: list[tuple[int, dict[str, int]] | None] = []
        for step in random_steps(unit, component.depth):
            while random.random() < gaps:
                schedule.append(None)
            schedule.append(step)
        schedule += [None] * (Counts.LATENCY + 1)
        for n, step in enumerate(schedule):
            unit.valid.value = step is not None
            if step is not None:
                unit.step.value = pack(layout, step[1])
            await unit.cycle()
            before = schedule[n - Counts.LATENCY] if n >= Counts.LATENCY else None
            check(unit, counts, before)


def check(unit: Unit, counts: list[int], step: tuple[int, dict[str, int]] | None) -> None:
    there = step is not None and step[1]["nonzero"] and counts[step[0]] > 0
    assert unit.segment_valid.value == bool(there)
    if step is not None and there:
        column, fields = step
        assert unpack(unit.component.segment.shape(), unit.segment.value) == {
            "start": sum(counts[:column]),
            "count": counts[column],
            "activation": fields["activation"],
        }


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
        unit.step.value = pack(layout, {"activation": 7, "lane": 0, "nonzero": 1, "done": 1})
        unit.valid.value = 1
        await unit.cycle()
        # A second block, in whose middle the reset comes.
        await unit.cycle()
        unit.valid.value = 0
        await unit.cycles(Counts.LATENCY - 1)
        check(unit, counts, (0, {"nonzero": 1, "activation": 7}))
        await unit.reset()
        await unit.cycle()
        assert not unit.segment_valid.value
