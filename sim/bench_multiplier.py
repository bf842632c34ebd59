"""Bench of :class:`hdl.multiplier.Multiplier`. Runs inside the simulator; see :mod:`sim.runner`."""

from typing import Any

import cocotb

from sim.streams import Unit, corners, signed
from sim.units import BENCHES

NAMES = list(BENCHES["multiplier"])


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def multiplies(dut: Any, name: str) -> None:
    """A product a cycle, ``latency`` cycles after its factors, in whatever block it is."""
    unit = Unit(dut, name)
    widths = len(unit.component.a), len(unit.component.b)
    await unit.start()
    ends = [[-(1 << (width - 1)), (1 << (width - 1)) - 1, -1, 0, 1] for width in widths]
    pairs = [(a, b) for a in ends[0] for b in ends[1]]
    pairs += [(corners(widths[0]), corners(widths[1])) for _ in range(500)]
    for n in range(len(pairs) + unit.component.latency):
        if n < len(pairs):
            unit.a.value = pairs[n][0] & ((1 << widths[0]) - 1)
            unit.b.value = pairs[n][1] & ((1 << widths[1]) - 1)
        await unit.cycle()
        if n >= unit.component.latency:
            a, b = pairs[n - unit.component.latency]
            assert signed(unit.o.value, sum(widths)) == a * b, (a, b)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_drops_what_is_on_its_way(dut: Any, name: str) -> None:
    unit = Unit(dut, name)
    await unit.start()
    unit.a.value = unit.b.value = 1
    await unit.cycles(unit.component.latency + 1)
    assert unit.o.value == 1
    await unit.reset()
    for _ in range(unit.component.latency - 1):
        await unit.cycle()
        assert unit.o.value == 0
    await unit.cycles(2)
    assert unit.o.value == 1
