"""Bench of :class:`hdl.sparse.accumulate.Accumulate`. Runs inside the simulator; see
:mod:`sim.runner`."""

import random
from collections.abc import Sequence
from typing import Any

import cocotb

from hdl.sparse.accumulate import Accumulate
from sim.streams import Unit, corners, pack, signed
from sim.units import BENCHES

NAMES = list(BENCHES["accumulate"])


class Sums:
    """Drives the unit and knows what its sums have to be."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        component = unit.component
        self.rows = component.row_depth
        self.width = component.accumulator_width
        self.layout = component.term.shape()
        self.codebook = [corners(component.weight_width) for _ in range(component.codebook_depth)]
        self.sums = [[0] * self.rows for _ in range(2)]
        self.bank = 0
        self.base = 0

    async def start(self) -> None:
        """Load the codebook, and clear both banks: a reset leaves memories as they are."""
        unit = self.unit
        await unit.start()
        unit.load__en.value = 1
        for address, value in enumerate(self.codebook):
            unit.load__addr.value = address
            unit.load__data.value = value & ((1 << unit.component.weight_width) - 1)
            await unit.cycle()
        unit.load__en.value = 0
        for bank in (1, 0):
            unit.bank.value = bank
            unit.drain.value = 1
            for row in range(self.rows):
                unit.drain_row.value = row
                await unit.cycle()
            unit.drain.value = 0
            await unit.cycle()

    def offer(self, row: int | None) -> None:
        """Offer a random term of ``row``, or none, in the cycle that begins."""
        self.unit.valid.value = row is not None
        if row is not None:
            codes = min(1 << self.layout["code"].width, len(self.codebook) - self.base)
            code = random.randrange(codes)
            activation = corners(self.layout["activation"].width)
            fields = {"row": row, "code": code, "activation": activation}
            self.unit.term.value = pack(self.layout, fields)
            self.sums[self.bank][row] += self.codebook[self.base + code] * activation

    async def run(self, rows: list[int | None]) -> None:
        for row in rows:
            self.offer(row)
            await self.unit.cycle()
        self.unit.valid.value = 0

    def switch(self, base: int = 0) -> None:
        """Accumulate in the other bank, with another codebook, from the cycle that begins."""
        self.bank ^= 1
        self.base = base
        self.unit.bank.value = self.bank
        self.unit.base.value = base

    async def drain(self, others: Sequence[int | None] = ()) -> None:
        """Drain the other bank, last row first, while ``others`` are accumulated in this one."""
        unit, sums, others = self.unit, self.sums[self.bank ^ 1], [*others]
        for n in range(self.rows + Accumulate.DRAIN_LATENCY + 3):
            unit.drain.value = n < self.rows
            unit.drain_row.value = max(self.rows - 1 - n, 0)
            self.offer(others.pop(0) if others else None)
            await unit.cycle()
            # The last of the sums stays.
            at = min(n - Accumulate.DRAIN_LATENCY, self.rows - 1)
            if at >= 0:
                row = self.rows - 1 - at
                actual = signed(unit.drained.value, self.width)
                assert actual == sums[row], f"row {row}: {actual} instead of {sums[row]}"
        self.unit.valid.value = 0
        self.sums[self.bank ^ 1] = [0] * self.rows


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, filled=[False, True])
async def adds_same_row_at_every_distance(dut: Any, name: str, filled: bool) -> None:
    """Three terms of a row, 1 to 8 cycles apart each, with terms of other rows between or none."""
    sums = Sums(Unit(dut, name))
    await sums.start()
    for first in range(1, 9):
        for second in range(1, 9):
            row = random.randrange(sums.rows)
            others = [n for n in range(sums.rows) if n != row]
            between = [random.choice(others) if filled else None for _ in range(16)]
            await sums.run([row, *between[1:first], row, *between[8 : 7 + second], row])
    await sums.run([None] * (Accumulate.LATENCY - 1))
    sums.switch()
    await sums.drain()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, rows=[1, 2, 3, 11], gaps=[0.0, 0.5])
async def adds_random_rows(dut: Any, name: str, rows: int, gaps: float) -> None:
    """Layers in turns: one is accumulated while the one before it is drained.

    It is drained from ``LATENCY`` cycles after its last term on, when its sum has just been
    written; the other bank is free as soon as its last row is cleared.
    """
    sums = Sums(Unit(dut, name))
    await sums.start()

    def terms(count: int) -> list[int | None]:
        return [None if random.random() < gaps else random.randrange(rows) for _ in range(count)]

    for _ in range(6):
        await sums.run([*terms(random.randint(1, 60)), sums.rows - 1])
        # The bank switches in the very next cycle, terms under way belong to the one before.
        sums.switch(base=random.choice([0, 5]))
        await sums.run(terms(Accumulate.LATENCY - 1))
        await sums.drain(terms(sums.rows))


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def row_is_free_two_cycles_after_drain(dut: Any, name: str) -> None:
    """A bank can take terms again two cycles after its last row is drained."""
    sums = Sums(Unit(dut, name))
    unit = sums.unit
    await sums.start()
    for _ in range(3):
        await sums.run([0, 1, 0])
        sums.switch()
        await sums.run([None] * (Accumulate.LATENCY - 1))
        unit.drain.value = 1
        for row in (1, 0):
            unit.drain_row.value = row
            await unit.cycle()
        unit.drain.value = 0
        await unit.cycle()
        sums.switch()
        sums.sums[sums.bank] = [0] * sums.rows
        await sums.run([0, 1])
        await sums.run([None] * (Accumulate.LATENCY - 1))
        sums.switch()
        await sums.drain()
        sums.switch()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_drops_terms_under_way(dut: Any, name: str) -> None:
    sums = Sums(Unit(dut, name))
    unit = sums.unit
    await sums.start()
    before = [*sums.sums[0]]
    await sums.run([0])
    unit.rst.value = 1
    await unit.cycles(Accumulate.LATENCY + 1)
    unit.rst.value = 0
    sums.sums[0] = before
    sums.switch()
    await sums.drain()
