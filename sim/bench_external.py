"""Bench of :class:`hdl.maps.memory.External`. Runs inside the simulator; see :mod:`sim.runner`.

The memory behind it is in Python, and as slow or quick as it likes.
"""

import random
from collections import deque
from typing import Any

import cocotb

from hdl.maps.memory import Command, External
from sim.bench_memory import DEPTH, Memory, place, written
from sim.streams import Stream, Unit, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["external"])


class Outside:
    """Takes commands with pauses, and answers in order whenever it likes."""

    def __init__(self, unit: Unit, stall: float, late: float) -> None:
        self.unit = unit
        self.commands = Stream(unit, "command", stall=stall)
        self.late = late
        self.words: dict[int, Any] = {}
        self.asked: deque[int] = deque()
        self.kinds: list[int] = []

    def start(self) -> None:
        cocotb.start_soon(self.take())
        cocotb.start_soon(self.answer())
        cocotb.start_soon(self.commands.check_held())

    async def take(self) -> None:
        layout = Command(self.unit.component.shape, self.unit.component.address_width)
        while True:
            command = unpack(layout, await self.commands.get())
            self.kinds.append(command["write"])
            if command["write"]:
                self.words[command["address"]] = command["word"]
            else:
                word = self.words[command["address"]]
                self.asked.append(pack(self.unit.component.shape, word))

    async def answer(self) -> None:
        unit = self.unit
        while True:
            there = bool(self.asked) and random.random() >= self.late
            unit.answer__valid.value = there
            unit.answer__payload.value = self.asked.popleft() if there else 0
            await unit.cycle()
            assert unit.answer__ready.value or not there, "an answer that there is no room for"


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.5], late=[0.0, 0.9], o_stall=[0.0, 0.5, 0.95])
async def keeps_words(dut: Any, name: str, stall: float, late: float, o_stall: float) -> None:
    """As :mod:`sim.bench_memory` has it, with other memory behind it."""
    unit = Unit(dut, name)
    memory, outside = Memory(unit, random.choice([0.0, 0.5]), o_stall), Outside(unit, stall, late)
    halves = range(DEPTH // 2), range(DEPTH // 2, DEPTH)
    await unit.start()
    outside.start()
    cocotb.start_soon(memory.data.check_held())
    await memory.fill(halves[0])
    for n in range(2):
        writing = cocotb.start_soon(memory.fill(halves[(n + 1) % 2]))
        await memory.check(halves[n % 2], 40)
        await writing


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def takes_turns(dut: Any, name: str) -> None:
    """Reads and writes that always wait go on in turns, each of ``TURN`` commands."""
    unit = Unit(dut, name)
    memory, outside = Memory(unit), Outside(unit, 0.0, 0.0)
    await unit.start()
    outside.start()
    await memory.fill(range(DEPTH))
    # Until reads have had their turn after those.
    await unit.cycles(5)
    outside.kinds.clear()
    unit.data__ready.value = 1
    unit.read__payload.value = place(unit, 3)
    unit.read__valid.value = 1
    await unit.cycles(15)
    assert not any(outside.kinds), "a write that nobody asked for"
    unit.write__payload.value = written(unit, 3, [1, 2, 3])
    unit.write__valid.value = 1
    await unit.cycles(20 * External.TURN)
    kinds = "".join(map(str, outside.kinds))
    runs = [len(run) for run in kinds.lstrip("0").replace("01", "0 1").replace("10", "1 0").split()]
    assert len(runs) > 10
    # With little room, reads wait for answers, and writes go on meanwhile.
    if unit.component.reads > 2:
        assert set(runs[:-1]) == {External.TURN}


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def padding_makes_no_command(dut: Any, name: str) -> None:
    """What is not inside is told all the same, in its turn."""
    unit = Unit(dut, name)
    memory, outside = Memory(unit), Outside(unit, 0.0, 0.5)
    await unit.start()
    outside.start()
    await memory.fill(range(DEPTH))
    await unit.cycles(5)
    outside.kinds.clear()
    cocotb.start_soon(memory.read.put_all([place(unit, 1, 0)] * 5))
    assert [int(await memory.data.get()) for _ in range(5)] == [0] * 5
    assert not outside.kinds
    await memory.check(range(DEPTH), 10)
