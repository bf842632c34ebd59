"""Bench of :class:`hdl.sparse.scan.Scan`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from collections import deque
from typing import Any

import cocotb

from hdl.sparse.run import Origin
from hdl.sparse.scan import Scan
from sim.runs import random_runs
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


def steps_of(blocks: list[list[int]], bank: int, first: int = 0) -> list[dict[str, int]]:
    """What is to be told in a run whose counts begin at ``first``."""
    steps = []
    for place, block in enumerate(blocks, start=first):
        common = {"done": 0, "final": 0, "bank": bank, "block": place}
        told = [
            {"activation": activation, "lane": lane, "nonzero": 1, **common}
            for lane, activation in enumerate(block)
            if activation
        ] or [{"nonzero": 0, **common}]
        told[-1]["done"] = 1
        steps += told
    steps[-1]["final"] = 1
    return steps


def step(unit: Unit) -> dict[str, int]:
    """What is told in this cycle, but for the activation; without a non-zero, no lane."""
    fields = unpack(unit.component.step.shape(), unit.step.value)
    del fields["activation"]
    if not fields["nonzero"]:
        del fields["lane"]
    return fields


def early(step: dict[str, int]) -> dict[str, int]:
    """What :func:`step` tells of it."""
    return {name: value for name, value in step.items() if name != "activation"}


def share(unit: Unit, block: list[int], final: bool) -> int:
    nonzero = sum((activation != 0) << n for n, activation in enumerate(block))
    fields = {"activations": block, "nonzero": nonzero}
    few = nonzero.bit_count() <= 1
    return pack(unit.component.i.payload.shape(), {"block": fields, "few": few, "final": final})


async def feed(unit: Unit, vectors: list[list[list[int]]], stall: float) -> None:
    shares = [
        share(unit, block, n == len(blocks) - 1)
        for blocks in vectors
        for n, block in enumerate(blocks)
    ]
    await Stream(unit, "i", stall=stall).put_all(shares)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.5, 0.95], hold=[0.0, 0.3, 0.95])
async def tells_nonzeros(dut: Any, name: str, stall: float, hold: float) -> None:
    """Run after run, none with a step that begins in a cycle with ``hold``.

    Each is started as soon as the one before has begun its last step, which is told in the cycle
    of the start. So what a run is told of is that of its steps, and not of the cycle.
    """
    unit = Unit(dut, name)
    # Layers lie one after another, as far as there are counts.
    sizes = [1, 6, 5] if BENCHES["scan"][name].keywords["depth"] > 12 else [1, 2]
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    order = list(random_runs(len(sizes), 8, stages=unit.component.stages))
    vectors = [vector(unit, sizes[layer]) for _, layer in order]
    banks = [random.getrandbits(1) for _ in vectors]
    firsts = [starts[layer] for _, layer in order]
    runs = [steps_of(*run) for run in zip(vectors, banks, firsts, strict=True)]
    due = deque(step for steps in runs for step in steps)
    goes, told = False, None

    async def cycle() -> bool:
        """Check what is told in a cycle. Returns whether a step begins in it."""
        nonlocal goes, told
        await unit.cycle()
        assert bool(unit.valid.value) == goes
        fields = unpack(unit.component.step.shape(), unit.step.value)
        assert told in (None, fields["activation"])
        told = None
        if goes:
            expected = due.popleft()
            assert step(unit) == early(expected)
            told = expected.get("activation")
        goes = bool(unit.busy.value & unit.i__valid.value & ~unit.hold.value)
        unit.hold.value = random.random() < hold
        return goes

    await unit.start()
    cocotb.start_soon(feed(unit, vectors, stall))
    for (origin, _), bank, steps in zip(order, banks, runs, strict=True):
        unit.origin.value = origin.value
        unit.start_.value = 1
        assert not await cycle()
        unit.start_.value = 0
        unit.origin.value = random.choice([*Origin]).value
        unit.bank.value = bank
        begun = 0
        while begun < len(steps):
            begun += await cycle()
    for _ in range(4):
        assert not await cycle(), "more steps than there are"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def takes_max_n_1_cycles(dut: Any, name: str) -> None:
    """Steps come one a cycle; blocks behind the vector are left alone."""
    unit = Unit(dut, name)
    lanes = unit.component.scan_width
    blocks = [[1] * lanes, [0] * lanes, [0] * (lanes - 1) + [-1], [0] * lanes, [-2] + [0] * lanes]
    blocks = [block[:lanes] for block in blocks]
    expected = steps_of(blocks, 0)
    assert len(expected) == sum(max(sum(map(bool, block)), 1) for block in blocks)
    await unit.start()
    cocotb.start_soon(feed(unit, [blocks, blocks], 0.0))
    await unit.cycles(3)
    assert not unit.i__ready.value, "a block is taken before the start"
    for _ in range(2):
        unit.start_.value = 1
        unit.origin.value = Origin.FIRST.value
        await unit.cycle()
        unit.start_.value = 0
        for n in range(len(expected) + Scan.LATENCY + 2):
            await unit.cycle()
            at = n - Scan.LATENCY
            assert unit.valid.value == (0 <= at < len(expected))
            assert unit.busy.value == (n < len(expected))
            if unit.valid.value:
                assert step(unit) == early(expected[at])
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
    unit.i__payload.value = share(unit, blocks[0], False)
    unit.i__valid.value = 1
    unit.start_.value = 1
    await unit.cycle()
    unit.start_.value = 0
    await unit.cycles(1)
    unit.i__valid.value = 0
    await unit.reset()
    await unit.cycle()
    assert not unit.busy.value
    assert not unit.valid.value
    cocotb.start_soon(feed(unit, [blocks], 0.0))
    unit.start_.value = 1
    expected = [early(one) for one in steps_of(blocks, 0)]
    told = []
    while len(told) < len(expected):
        await unit.cycle()
        unit.start_.value = 0
        if unit.valid.value:
            told.append(step(unit))
    assert told == expected
