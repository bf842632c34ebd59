"""Bench of :class:`hdl.ram.Ram`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from typing import Any

import cocotb

from hdl.ram import Ram
from sim.streams import Unit
from sim.units import BENCHES

NAMES = list(BENCHES["ram"])


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def keeps_words(dut: Any, name: str) -> None:
    """A word is written and one is read in each cycle, at any distance of time and place."""
    unit = Unit(dut, name)
    depth, width = unit.component.depth, len(unit.load__data)
    await unit.start()
    words = [random.getrandbits(width) for _ in range(depth)]
    await unit.fill(words)
    last = [depth - 1, 0, depth // 2]
    expected: list[int | None] = []
    for n in range(500):
        address = last.pop() if last else random.randrange(depth)
        unit.address.value = address
        written = random.randrange(depth)
        word = random.getrandbits(width)
        writes = random.random() < 0.5
        unit.load__addr.value = written
        unit.load__data.value = word
        unit.load__en.value = writes
        expected.append(None if writes and written == address else words[address])
        if writes:
            words[written] = word
            # What was just written is read soon.
            last = [written] if random.random() < 0.5 else []
        await unit.cycle()
        if n >= Ram.LATENCY and expected[n - Ram.LATENCY] is not None:
            assert unit.o.value == expected[n - Ram.LATENCY]
