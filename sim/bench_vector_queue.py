"""Bench of :class:`hdl.streams.VectorQueue`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from dataclasses import dataclass
from typing import Any

import cocotb

from hdl.streams import VectorQueue
from sim.streams import Stream, Unit
from sim.units import BENCHES

NAMES = list(BENCHES["vector_queue"])


@dataclass
class Reader:
    """Reads vectors, each as often as it is told to."""

    unit: Unit
    stall: float

    async def read(self, vector: list[int], times: int) -> None:
        o = Stream(self.unit, "o", stall=self.stall)
        for left in reversed(range(times)):
            self.unit.keep.value = left > 0
            holding = cocotb.start_soon(o.check_held())
            assert await o.get_all(len(vector)) == vector
            holding.cancel()
            # It may stand for a while, and what comes behind may be on offer by then.
            while left and random.random() < 0.5:
                await self.unit.cycle()
            if left:
                await self.rewind()

    async def rewind(self) -> None:
        self.unit.rewind.value = 1
        await self.unit.cycle()
        self.unit.rewind.value = 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, i_stall=[0.0, 0.5], o_stall=[0.0, 0.5, 0.95])
async def reads_vectors(dut: Any, name: str, i_stall: float, o_stall: float) -> None:
    """Vectors of every length that there is room for, each read once or more."""
    unit = Unit(dut, name)
    i, reader = Stream(unit, "i", stall=i_stall), Reader(unit, o_stall)
    depth = unit.component.depth
    lengths = [depth, 1, depth, *(random.randint(1, depth) for _ in range(5))]
    vectors = [[random.getrandbits(13) for _ in range(length)] for length in lengths]
    await unit.start()
    cocotb.start_soon(check_level(unit))
    cocotb.start_soon(i.put_all(sum(vectors, [])))
    for vector in vectors:
        await reader.read(vector, random.choice([1, 2, 2, 3]))
    await unit.cycles(4)
    assert not unit.o__valid.value, "more payloads than were put in"


async def check_level(unit: Unit) -> None:
    """What is kept takes room."""
    inside = 0
    while True:
        await unit.cycle()
        assert unit.level.value == inside
        assert unit.i__ready.value == (inside < unit.component.depth)
        inside += int(unit.i__valid.value & unit.i__ready.value)
        inside -= int(unit.o__valid.value & unit.o__ready.value & ~unit.keep.value)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def passes_one_a_cycle(dut: Any, name: str) -> None:
    """A payload can be taken ``LATENCY`` cycles after it came, and then one a cycle."""
    unit = Unit(dut, name)
    latency = VectorQueue.LATENCY
    await unit.start()
    unit.o__ready.value = 1
    for n in range(40):
        unit.i__payload.value = n
        unit.i__valid.value = 1
        await unit.cycle()
        assert unit.i__ready.value
        assert unit.o__valid.value == (n >= latency)
        if n >= latency:
            assert unit.o__payload.value == n - latency


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.2, 0.5, 0.8])
async def keeps_up_with_bursts(dut: Any, name: str, stall: float) -> None:
    """Payloads that come in each cycle, as long as there is room, are there as early as can be.

    Each is on offer ``LATENCY`` cycles after it came, or when the one before it has been taken.
    """
    unit = Unit(dut, name)
    await unit.start()
    for _ in range(20):
        came: list[int] = []  # cycles in which what is inside came
        left = random.randint(1, 3 * unit.component.depth)
        now = 0
        while left or came:
            unit.i__valid.value = left > 0
            unit.o__ready.value = random.random() >= stall
            await unit.cycle()
            now += 1
            there = bool(came) and came[0] + VectorQueue.LATENCY <= now
            assert unit.o__valid.value == there
            if unit.o__valid.value & unit.o__ready.value:
                came.pop(0)
            if unit.i__valid.value & unit.i__ready.value:
                left -= 1
                came.append(now)
        # A pause, as there is between two drains.
        unit.i__valid.value = 0
        await unit.cycles(VectorQueue.rewind_latency(unit.component.depth))


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, behind=[False, True])
async def rewinds(dut: Any, name: str, behind: bool) -> None:
    """What was kept is there ``rewind_latency()`` cycles later, and then comes one a cycle.

    Whether or not something came behind it, before or just then, or waits for it to leave.
    """
    unit = Unit(dut, name)
    depth = unit.component.depth
    length = depth - 1 if behind else depth
    i, reader = Stream(unit, "i"), Reader(unit, 0.0)
    await unit.start()
    for times in range(6):
        feeding = cocotb.start_soon(i.put_all(range(length)))
        unit.keep.value = 1
        assert await Stream(unit, "o").get_all(length) == list(range(length))
        await feeding
        following = cocotb.start_soon(i.put(99))
        await unit.cycles(times % 3)
        await reader.rewind()
        unit.keep.value = 0
        unit.o__ready.value = 1
        for _ in range(VectorQueue.rewind_latency(depth) - 1):
            await unit.cycle()
            assert not unit.o__valid.value
        for n in range(length):
            await unit.cycle()
            assert unit.o__valid.value
            assert unit.o__payload.value == n
        unit.o__ready.value = 0
        assert int(await Stream(unit, "o").get()) == 99
        await following


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_empties(dut: Any, name: str) -> None:
    """What is kept too."""
    unit = Unit(dut, name)
    i, reader = Stream(unit, "i"), Reader(unit, 0.0)
    await unit.start()
    unit.keep.value = 1
    await i.put_all([1, 2])
    assert int(await Stream(unit, "o").get()) == 1
    await unit.reset()
    cocotb.start_soon(i.put_all([3, 4]))
    await reader.read([3, 4], 2)
    await unit.cycles(4)
    assert not unit.o__valid.value
