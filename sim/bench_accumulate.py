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

# Bank and row of a term, or none in a cycle.
Place = tuple[int, int] | None


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
        self.bases = [0, 0]

    async def start(self) -> None:
        """Load the codebook, and clear both banks: a reset leaves memories as they are."""
        unit = self.unit
        await unit.start()
        mask = (1 << unit.component.weight_width) - 1
        await unit.fill(value & mask for value in self.codebook)
        unit.drain.value = 1
        for bank in range(2):
            unit.drain_bank.value = bank
            for row in range(self.rows):
                unit.drain_row.value = row
                await unit.cycle()
        unit.drain.value = 0

    def place(self, bank: int, base: int) -> None:
        """Use another codebook in ``bank``, from the cycle that begins."""
        self.bases[bank] = base
        self.unit.base.value = pack(self.unit.component.base.shape(), self.bases)

    def offer(self, place: Place) -> None:
        """Offer a random term, or none, in the cycle that begins."""
        self.unit.valid.value = place is not None
        # What is not valid is arbitrary.
        bank, row = place or (random.getrandbits(1), random.randrange(self.rows))
        codes = min(1 << self.layout["code"].width, len(self.codebook) - self.bases[bank])
        code = random.randrange(codes)
        activation = corners(self.layout["activation"].width)
        fields = {"row": row, "code": code, "activation": activation, "bank": bank}
        self.unit.term.value = pack(self.layout, fields)
        if place:
            self.sums[bank][row] += self.codebook[self.bases[bank] + code] * activation

    async def run(self, places: Sequence[Place]) -> None:
        for place in places:
            self.offer(place)
            await self.unit.cycle()
        self.unit.valid.value = 0

    async def drain(self, bank: int, others: Sequence[Place] = ()) -> None:
        """Drain ``bank``, last row first, while ``others`` are added up.

        They are of the other bank as long as rows are drained, and then of any.
        """
        unit, sums, others = self.unit, self.sums[bank], [*others]
        self.sums[bank] = [0] * self.rows
        for n in range(max(self.rows + Accumulate.DRAIN_LATENCY + 3, len(others))):
            unit.drain.value = n < self.rows
            unit.drain_row.value = max(self.rows - 1 - n, 0)
            # Without a drain, the bank is arbitrary.
            unit.drain_bank.value = bank if n < self.rows else random.getrandbits(1)
            self.offer(others.pop(0) if others else None)
            await unit.cycle()
            # The last of the sums stays.
            at = min(n - Accumulate.DRAIN_LATENCY, self.rows - 1)
            if at >= 0:
                row = self.rows - 1 - at
                actual = signed(unit.drained.value, self.width)
                assert actual == sums[row], f"row {row}: {actual} instead of {sums[row]}"
        self.unit.valid.value = 0

    async def check(self) -> None:
        """Drain both banks."""
        await self.run([None] * (Accumulate.LATENCY - 1))
        for bank in range(2):
            await self.drain(bank)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, filled=[False, True])
async def adds_same_row_at_every_distance(dut: Any, name: str, filled: bool) -> None:
    """Three terms of a row, 1 to 8 cycles apart each, with terms of other rows between or none.

    The same row of the other bank is another row.
    """
    sums = Sums(Unit(dut, name))
    await sums.start()
    for first in range(1, 9):
        for second in range(1, 9):
            bank, row = place = random.getrandbits(1), random.randrange(sums.rows)
            others = [(bank ^ 1, row)] * 4 + [(bank, n) for n in range(sums.rows) if n != row]
            between = [random.choice(others) if filled else None for _ in range(16)]
            await sums.run([place, *between[1:first], place, *between[8 : 7 + second], place])
    await sums.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, rows=[1, 2, 3, 11], gaps=[0.0, 0.5])
async def adds_random_rows(dut: Any, name: str, rows: int, gaps: float) -> None:
    """Runs in both banks at a time, each with a codebook of its own, until one is drained.

    It is drained from ``LATENCY`` cycles after its last term on, when its sum has just been
    written, while terms go on in the other bank; it takes terms again in the cycle after its last
    row was drained.
    """
    sums = Sums(Unit(dut, name))
    await sums.start()

    def terms(count: int, *banks: int) -> list[Place]:
        return [
            None if random.random() < gaps else (random.choice(banks), random.randrange(rows))
            for _ in range(count)
        ]

    bank = 0
    for _ in range(8):
        sums.place(bank, random.choice([0, 1 << sums.layout["code"].width]))
        bank ^= 1
        await sums.run([*terms(random.randint(1, 60), 0, 1), (bank, sums.rows - 1)])
        await sums.run(terms(Accumulate.LATENCY - 1, bank ^ 1))
        await sums.drain(bank, [*terms(sums.rows, bank ^ 1), *terms(20, 0, 1)])
    await sums.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, bank=[0, 1])
async def row_is_free_a_cycle_after_drain(dut: Any, name: str, bank: int) -> None:
    """A bank can take terms again in the cycle after its last row is drained."""
    sums = Sums(Unit(dut, name))
    await sums.start()
    for rows in ([0, 1, 0], [0, 0], [1, 0]):
        await sums.run([(bank, row) for row in rows])
        await sums.run([None] * (Accumulate.LATENCY - 1))
        await sums.drain(bank, [*[None] * sums.rows, (bank, 0), (bank, 1)])
    await sums.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_drops_terms_under_way(dut: Any, name: str) -> None:
    sums = Sums(Unit(dut, name))
    unit = sums.unit
    await sums.start()
    await sums.run([(0, 0), (1, 0)])
    unit.rst.value = 1
    await unit.cycles(Accumulate.LATENCY + 1)
    unit.rst.value = 0
    sums.sums = [[0] * sums.rows for _ in range(2)]
    await sums.check()
