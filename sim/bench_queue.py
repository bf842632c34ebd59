"""Bench of :class:`hdl.streams.Queue`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from typing import Any

import cocotb

from hdl.streams import Queue
from sim.streams import Stream, Unit
from sim.units import BENCHES

NAMES = list(BENCHES["queue"])


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, i_stall=[0.0, 0.5], o_stall=[0.0, 0.5, 0.95])
async def keeps_order(dut: Any, name: str, i_stall: float, o_stall: float) -> None:
    """All payloads come out as they went in, and ``level`` counts those within."""
    unit = Unit(dut, name)
    i, o = Stream(unit, "i", stall=i_stall), Stream(unit, "o", stall=o_stall)
    payloads = [random.getrandbits(13) for _ in range(80)]
    await unit.start()
    cocotb.start_soon(o.check_held())
    cocotb.start_soon(check_level(unit, i, o))
    cocotb.start_soon(i.put_all(payloads))
    assert await o.get_all(len(payloads)) == payloads
    await unit.cycles(4)
    assert not o.valid.value, "more payloads than were put in"


async def check_level(unit: Unit, i: Stream, o: Stream) -> None:
    inside = 0
    while True:
        await unit.cycle()
        assert unit.level.value == inside
        inside += int(i.valid.value & i.ready.value) - int(o.valid.value & o.ready.value)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def holds_depth(dut: Any, name: str) -> None:
    """It takes as many payloads as it is deep, no more, and empties at one a cycle."""
    unit = Unit(dut, name)
    depth = unit.component.depth
    i, o = Stream(unit, "i"), Stream(unit, "o")
    await unit.start()
    feeding = cocotb.start_soon(i.put_all(range(depth)))
    await unit.cycles(depth + 4)
    assert feeding.done()
    assert unit.level.value == depth
    i.valid.value = 1
    for _ in range(3):
        await unit.cycle()
        assert not i.ready.value, "room for more than its depth"
    i.valid.value = 0
    o.ready.value = 1
    for n in range(depth):
        await unit.cycle()
        assert o.valid.value
        assert o.payload.value == n
    await unit.cycle()
    assert not o.valid.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=[name for name in NAMES if name != "queue_2"])
async def passes_one_a_cycle(dut: Any, name: str) -> None:
    """A payload can be taken ``latency()`` cycles after it came, and then one in each cycle."""
    unit = Unit(dut, name)
    latency = Queue.latency(unit.component.depth)
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
@cocotb.parametrize(name=NAMES)
async def reset_empties(dut: Any, name: str) -> None:
    unit = Unit(dut, name)
    i, o = Stream(unit, "i"), Stream(unit, "o")
    await unit.start()
    await i.put_all([1, 2])
    await unit.reset()
    cocotb.start_soon(i.put_all([3, 4]))
    assert await o.get_all(2) == [3, 4]
    await unit.cycles(4)
    assert not o.valid.value
