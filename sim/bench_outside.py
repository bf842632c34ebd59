"""Bench of :class:`sim.memory.Outside`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from typing import Any

import cocotb
import numpy as np

from hdl.maps.memory import Command
from sim.memory import predict
from sim.streams import Unit, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["outside"])


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.5, 0.9], share=[0.1, 0.5])
async def takes_as_long_as_predicted(dut: Any, name: str, stall: float, share: float) -> None:
    """Commands are taken, and answered, in the cycles that :func:`sim.memory.predict` says."""
    unit = Unit(dut, name)
    component = unit.component
    layout = Command(component.answer.payload.shape(), len(component.command.p.address))
    await unit.start()
    words: dict[int, list[int]] = {}
    writes, offered, taken, answered, expected = [], [], [], [], []
    now = 0

    async def cycle() -> bool:
        nonlocal now
        await unit.cycle()
        if unit.answer__valid.value:
            word = unpack(component.answer.payload.shape(), unit.answer__payload.value)
            assert word == expected[len(answered)]
            answered.append(now)
        now += 1
        return bool(unit.command__ready.value)

    for n in range(120):
        address = n if n < 16 else random.randrange(16)
        write = n < 16 or random.random() < share
        word = [random.randrange(-16, 16) for _ in range(3)]
        while random.random() < stall:
            await cycle()
        fields = {"write": write, "address": address, "word": word}
        unit.command__payload.value = pack(layout, fields)
        unit.command__valid.value = 1
        writes.append(write)
        offered.append(now)
        while not await cycle():
            pass
        taken.append(now - 1)
        unit.command__valid.value = 0
        if write:
            words[address] = word
        else:
            expected.append(words[address])
    for _ in range(component.latency + 1):
        await cycle()
    timing = {key: getattr(component, key) for key in ("latency", "every", "turnaround")}
    predicted = predict(np.array(writes), np.array(offered), **timing)
    assert taken == predicted[0].tolist()
    assert answered == predicted[1].tolist()
