"""Bench of :class:`hdl.sparse.queue.SegmentQueue`. Runs inside the simulator; see
:mod:`sim.runner`."""

import random
from collections import deque
from typing import Any

import cocotb

from hdl.sparse.counts import Counts
from hdl.sparse.queue import SegmentQueue
from hdl.sparse.scan import Scan
from sim.streams import Stream, Unit
from sim.units import BENCHES

NAMES = list(BENCHES["segment_queue"])


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(name=NAMES, share=[1.0, 0.5], o_stall=[0.0, 0.5, 0.95])
async def loses_nothing(dut: Any, name: str, share: float, o_stall: float) -> None:
    """The bench is the pipeline in front: it hears of ``hold`` late, and goes on until then.

    Steps begin in ``share`` of the cycles. If in all of them, a slow sink lets the queue fill to
    the last place.
    """
    unit = Unit(dut, name)
    depth = unit.component.depth
    o = Stream(unit, "o", stall=o_stall)
    pipeline = deque([None] * (Scan.LATENCY + Counts.LATENCY), Scan.LATENCY + Counts.LATENCY)
    segments = [random.getrandbits(unit.component.shape.size) for _ in range(120)]
    begun, inside, fullest, held, hold = 0, 0, 0, [0, 0], 0
    await unit.start()
    cocotb.start_soon(o.check_held())
    collecting = cocotb.start_soon(o.get_all(len(segments)))
    while not collecting.done():
        # A step begins in this cycle, unless the last of two registers says that it must not.
        goes = begun < len(segments) and not held[0] and random.random() < share
        arrives = pipeline.popleft()
        pipeline.append(begun if goes else None)
        begun += goes
        unit.segment_valid.value = arrives is not None
        if arrives is not None:
            unit.segment.value = segments[arrives]
        await unit.cycle()
        assert unit.hold.value == hold, "hold does not follow the level"
        held = [held[1], int(unit.hold.value)]
        hold = inside >= depth - SegmentQueue.MARGIN
        inside += (arrives is not None) - int(o.valid.value & o.ready.value)
        fullest = max(fullest, inside)
        assert inside <= depth
    assert collecting.result() == segments
    if o_stall == 0.95 and share == 1.0:
        assert fullest == depth, f"never more than {fullest} segments in it"
    await unit.cycles(3)
    assert not unit.o__valid.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_empties(dut: Any, name: str) -> None:
    unit = Unit(dut, name)
    await unit.start()
    unit.segment_valid.value = 1
    await unit.cycles(unit.component.depth)
    unit.segment_valid.value = 0
    await unit.cycle()
    assert unit.hold.value
    assert unit.o__valid.value
    await unit.reset()
    await unit.cycle()
    assert not unit.hold.value
    assert not unit.o__valid.value
