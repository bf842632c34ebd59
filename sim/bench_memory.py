"""Bench of the memories of :mod:`hdl.maps.memory`, through the ports that all of them have.

Those outside are with the model of :mod:`sim.memory`. Runs inside the simulator; see
:mod:`sim.runner`.
"""

import random
from typing import Any

import cocotb

from hdl.maps.memory import Item, OnChip, Write
from hdl.maps.walk import Place
from hdl.streams import VectorQueue
from sim.streams import Stream, Unit, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["memory"])
DEPTH = 40


def words(unit: Unit, count: int) -> list[list[int]]:
    lanes = unit.component.shape
    return [[random.randrange(-16, 16) for _ in range(lanes.length)] for _ in range(count)]


def written(unit: Unit, address: int, word: list[int]) -> int:
    layout = Write(unit.component.shape, unit.component.address_width)
    return pack(layout, {"address": address, "word": word})


def place(unit: Unit, address: int, *flags: int) -> int:
    """A place; inside, unless flags say something else."""
    names = ("inside", "ends_window", "ends_route")
    fields = {"inside": 1, **dict(zip(names, flags, strict=False))}
    return pack(Place(unit.component.address_width), {"address": address, **fields})


def item(unit: Unit, payload: Any) -> tuple[Any, ...]:
    fields = unpack(Item(unit.component.shape), payload)
    return tuple(fields[key] for key in ("word", "inside", "ends_window", "ends_route"))


class Memory:
    """A unit, and what should be in it."""

    def __init__(self, unit: Unit, i_stall: float = 0.0, o_stall: float = 0.0) -> None:
        self.unit = unit
        self.read = Stream(unit, "read", stall=i_stall)
        self.write = Stream(unit, "write", stall=i_stall)
        self.data = Stream(unit, "data", stall=o_stall)
        self.words: dict[int, list[int]] = {}

    async def fill(self, addresses: range) -> None:
        """Write to each of ``addresses``, in any order."""
        order = random.sample(addresses, len(addresses))
        for address, word in zip(order, words(self.unit, len(order)), strict=True):
            await self.write.put(written(self.unit, address, word))
            self.words[address] = word
        while not self.unit.idle.value:
            await self.unit.cycle()

    async def check(self, addresses: range, count: int) -> None:
        """Read there, and beyond the map, ``count`` times."""
        asked = []
        for _ in range(count):
            flags = [int(random.random() < 0.7), random.getrandbits(1), random.getrandbits(1)]
            asked.append((random.choice(addresses), *flags))
        putting = cocotb.start_soon(self.read.put_all(place(self.unit, *one) for one in asked))
        for address, *flags in asked:
            word = self.words[address] if flags[0] else [0] * self.unit.component.shape.length
            assert item(self.unit, await self.data.get()) == (word, *flags)
        await putting


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, i_stall=[0.0, 0.5], o_stall=[0.0, 0.5, 0.95])
async def keeps_words(dut: Any, name: str, i_stall: float, o_stall: float) -> None:
    """One half is written while the other is read, and what was written is read right after."""
    unit = Unit(dut, name)
    memory = Memory(unit, i_stall, o_stall)
    halves = range(DEPTH // 2), range(DEPTH // 2, DEPTH)
    await unit.start()
    cocotb.start_soon(memory.data.check_held())
    await memory.fill(halves[0])
    for n in range(4):
        writing = cocotb.start_soon(memory.fill(halves[(n + 1) % 2]))
        await memory.check(halves[n % 2], 40)
        await writing
    await unit.cycles(2)
    assert unit.idle.value
    assert not unit.data__valid.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reads_in_time(dut: Any, name: str) -> None:
    """Each word comes as late as is documented, one a cycle or as often as there is a command."""
    unit = Unit(dut, name)
    memory = Memory(unit)
    await unit.start()
    await memory.fill(range(DEPTH))
    # Memory outside is then about to read.
    await memory.check(range(DEPTH), 2)
    await unit.cycles(10)
    component = unit.component
    every, latency = 1, OnChip.LATENCY
    if not isinstance(component, OnChip):
        # The command, its answer, and the queue.
        outside = component.outside
        every = outside.every
        latency = 1 + outside.latency + VectorQueue.LATENCY
    unit.data__ready.value = 1
    expected = {}
    taken = 0
    for now in range(60):
        address = random.randrange(DEPTH)
        unit.read__payload.value = place(unit, address)
        unit.read__valid.value = 1
        await unit.cycle()
        assert unit.idle.value == (taken == 0)
        if unit.read__ready.value:
            # The first command goes on at once, and what follows waits for it.
            if every == 1 or taken == 0:
                expected[now + latency] = address
            taken += 1
        if every == 1:
            assert unit.read__ready.value
            assert unit.data__valid.value == (now in expected)
        if now in expected:
            assert unit.data__valid.value
            assert item(unit, unit.data__payload.value) == (memory.words[expected[now]], 1, 0, 0)
    assert taken >= 60 // every


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def waits_for_who_reads(dut: Any, name: str) -> None:
    """While nothing is taken, it takes as many places as it has room for, and then no more."""
    unit = Unit(dut, name)
    memory = Memory(unit)
    await unit.start()
    await memory.fill(range(DEPTH))
    chip = isinstance(unit.component, OnChip)
    room = OnChip.LATENCY + 1 if chip else unit.component.external.reads
    count = room + 3
    putting = cocotb.start_soon(memory.read.put_all(place(unit, n) for n in range(count)))
    taken = 0
    for _ in range(8 * count):
        await unit.cycle()
        taken += int(unit.read__valid.value & unit.read__ready.value)
    assert taken == room
    # What is written meanwhile is not read any more.
    await memory.write.put(written(unit, 0, [1, 2, 3]))
    for n in range(count):
        assert not unit.idle.value
        assert item(unit, await memory.data.get())[0] == memory.words[n]
    await putting
    await unit.cycles(3)
    assert unit.idle.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_forgets(dut: Any, name: str) -> None:
    """What was asked for before a reset is not told after it."""
    unit = Unit(dut, name)
    memory = Memory(unit)
    await unit.start()
    await memory.fill(range(DEPTH))
    for cycles in range(0, 18, 2):
        putting = cocotb.start_soon(memory.read.put_all([place(unit, 0)] * 3))
        writing = cocotb.start_soon(memory.write.put(written(unit, 1, [0] * 3)))
        await unit.cycles(cycles)
        putting.cancel()
        writing.cancel()
        unit.read__valid.value = 0
        unit.write__valid.value = 0
        await unit.reset()
        # A command on its way may have been lost, but no other word has changed.
        await unit.cycles(20)
        assert unit.idle.value
        assert not unit.data__valid.value
        await memory.check(range(2, DEPTH), 20)
