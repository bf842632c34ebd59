"""Bench of :class:`hdl.sparse.scan.Scan`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from typing import Any

import cocotb

from hdl.sparse.scan import Scan
from sim.streams import Stream, Unit, corners, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["scan"])


def vector(unit: Unit, blocks: int) -> list[list[int]]:
    """Blocks of activations: zeros, none but zeros, and whatever lies between."""
    width = len(unit.component.step.activation)
    density = random.choice([0.0, 0.1, 0.5, 1.0])

    def activation() -> int:
        return (corners(width) or 1) if random.random() < density else 0

    return [[activation() for _ in range(unit.component.scan_width)] for _ in range(blocks)]


def steps_of(blocks: list[list[int]]) -> list[dict[str, int]]:
    """What is to be told of each block."""
    steps = []
    for block in blocks:
        told = [
            {"activation": activation, "lane": lane, "nonzero": 1, "done": 0}
            for lane, activation in enumerate(block)
            if activation
        ] or [{"nonzero": 0, "done": 0}]
        told[-1]["done"] = 1
        steps += told
    return steps


def step(unit: Unit) -> dict[str, int]:
    """What is told in this cycle; without a non-zero, only that."""
    fields = unpack(unit.component.step.shape(), unit.step.value)
    return fields if fields["nonzero"] else {key: fields[key] for key in ("nonzero", "done")}


async def feed(unit: Unit, blocks: list[list[int]], stall: float) -> None:
    layout = unit.component.i.payload.shape()
    await Stream(unit, "i", stall=stall).put_all([pack(layout, block) for block in blocks])


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.5, 0.95], hold=[0.0, 0.3, 0.95])
async def tells_nonzeros(dut: Any, name: str, stall: float, hold: float) -> None:
    """Vectors one after the other; none begins a step in a cycle with ``hold``."""
    unit = Unit(dut, name)
    longest = unit.component.blocks.shape().width
    vectors = [vector(unit, random.randint(1, min(12, (1 << longest) - 1))) for _ in range(4)]
    await unit.start()
    cocotb.start_soon(feed(unit, [block for blocks in vectors for block in blocks], stall))
    for blocks in vectors:
        expected = steps_of(blocks)
        unit.blocks.value = len(blocks)
        unit.start_.value = 1
        held, begun = 1, 0
        while begun < len(expected):
            await unit.cycle()
            unit.start_.value = 0
            if unit.valid.value:
                assert not held, "a step began while it was to hold"
                assert step(unit) == expected[begun]
                begun += 1
            held = int(unit.hold.value)
            unit.hold.value = random.random() < hold
        assert not unit.busy.value
    await unit.cycles(3)
    assert not unit.valid.value, "more steps than there are"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def takes_max_n_1_cycles(dut: Any, name: str) -> None:
    """Steps come one a cycle; blocks behind the vector are left alone."""
    unit = Unit(dut, name)
    lanes, depth = unit.component.scan_width, 5
    blocks = [[1] * lanes, [0] * lanes, [0] * (lanes - 1) + [-1], [0] * lanes, [-2] + [0] * lanes]
    blocks = [block[:lanes] for block in blocks]
    expected = steps_of(blocks)
    assert len(expected) == sum(max(sum(map(bool, block)), 1) for block in blocks)
    await unit.start()
    cocotb.start_soon(feed(unit, [*blocks, *blocks], 0.0))
    await unit.cycles(3)
    assert not unit.i__ready.value, "a block is taken before the start"
    for _ in range(2):
        unit.blocks.value = depth
        unit.start_.value = 1
        await unit.cycle()
        unit.start_.value = 0
        for n in range(len(expected) + Scan.LATENCY + 2):
            await unit.cycle()
            at = n - Scan.LATENCY
            assert unit.valid.value == (0 <= at < len(expected))
            assert unit.busy.value == (n < len(expected))
            if unit.valid.value:
                assert step(unit) == expected[at]
            if n >= len(expected):
                assert not unit.i__ready.value, "a block beyond the vector is taken"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_forgets(dut: Any, name: str) -> None:
    """After a reset in the middle of a block, the block is told from its beginning."""
    unit = Unit(dut, name)
    lanes = unit.component.scan_width
    blocks = [[3] * lanes, [0] * (lanes - 1) + [5]]
    await unit.start()
    unit.i__payload.value = pack(unit.component.i.payload.shape(), blocks[0])
    unit.i__valid.value = 1
    unit.blocks.value = 2
    unit.start_.value = 1
    await unit.cycle()
    unit.start_.value = 0
    await unit.cycles(1)
    unit.i__valid.value = 0
    await unit.reset()
    await unit.cycle()
    assert not unit.busy.value
    assert not unit.valid.value
    cocotb.start_soon(feed(unit, blocks, 0.0))
    unit.start_.value = 1
    told = []
    while len(told) < len(steps_of(blocks)):
        await unit.cycle()
        unit.start_.value = 0
        if unit.valid.value:
            told.append(step(unit))
    assert told == steps_of(blocks)
