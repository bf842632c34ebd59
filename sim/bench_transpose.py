"""Bench of :class:`hdl.maps.transpose.Transpose`. Runs inside the simulator; see
:mod:`sim.runner`."""

import random
from typing import Any

import cocotb

from hdl.maps.transpose import Transpose
from sim.streams import Stream, Unit, corners, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["transpose"])


class Turns:
    """A unit, and the counts of its matrices."""

    def __init__(self, unit: Unit, count: int) -> None:
        self.unit, t = unit, unit.component
        most = random.choice([True, False])
        self.sizes = [
            (t.rows, t.columns)
            if most
            else (random.randint(1, t.rows), random.randint(1, t.columns))
            for _ in range(count)
        ]
        width = len(unit.component.i.p[0])
        self.matrices = [
            [[corners(width) for _ in range(t.columns)] for _ in range(rows)]
            for rows, _ in self.sizes
        ]

    async def tell(self) -> None:
        """Tell each matrix's counts until it is complete."""
        for rows, columns in self.sizes:
            self.unit.row_count.value, self.unit.column_count.value = rows, columns
            await self.unit.cycle()
            while not self.unit.complete.value:
                await self.unit.cycle()

    def rows(self) -> list[int]:
        layout = self.unit.component.i.payload.shape()
        return [pack(layout, row) for matrix in self.matrices for row in matrix]

    def columns(self) -> list[list[int]]:
        """What comes of them: missing rows are zeros."""
        found = []
        for matrix, (rows, columns) in zip(self.matrices, self.sizes, strict=True):
            missing = [0] * (self.unit.component.rows - rows)
            found += [[row[n] for row in matrix] + missing for n in range(columns)]
        return found

    async def check(self, o: Stream) -> None:
        layout = self.unit.component.o.payload.shape()
        expected = self.columns()
        found = await o.get_all(len(expected))
        assert [unpack(layout, column) for column in found] == expected


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, i_stall=[0.0, 0.5], o_stall=[0.0, 0.5])
async def turns_rows_into_columns(dut: Any, name: str, i_stall: float, o_stall: float) -> None:
    unit = Unit(dut, name)
    await unit.start()
    i, o = Stream(unit, "i", stall=i_stall), Stream(unit, "o", stall=o_stall)
    for _ in range(5):
        turns = Turns(unit, 10)
        telling = cocotb.start_soon(turns.tell())
        sending = cocotb.start_soon(i.put_all(turns.rows()))
        await turns.check(o)
        await sending
        await telling


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def takes_as_long_as_said(dut: Any, name: str) -> None:
    """A row a cycle but for one of each matrix, or a column a cycle if these are more."""
    unit = Unit(dut, name)
    await unit.start()
    i, o = Stream(unit, "i"), Stream(unit, "o")
    rows, columns = unit.component.rows, unit.component.columns
    unit.row_count.value, unit.column_count.value = rows, columns
    count = 10
    layout = unit.component.i.payload.shape()
    row = pack(layout, [1] * columns)
    sending = cocotb.start_soon(i.put_all([row] * (count * rows)))
    cycles = 0
    left = count * columns
    o.ready.value = 1
    while left:
        await unit.cycle()
        cycles += 1
        left -= int(o.valid.value)
    await sending
    expected = rows + Transpose.LATENCY + (count - 1) * max(rows + 1, columns) + columns - 1
    assert cycles == expected, (cycles, expected)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_in_the_middle(dut: Any, name: str) -> None:
    unit = Unit(dut, name)
    await unit.start()
    i, o = Stream(unit, "i"), Stream(unit, "o")
    for _ in range(5):
        turns = Turns(unit, 3)
        tasks = [cocotb.start_soon(turns.tell()), cocotb.start_soon(i.put_all(turns.rows()))]
        await unit.cycles(random.randint(1, 12))
        for task in tasks:
            task.cancel()
        i.valid.value = 0
        await unit.reset()
        telling = cocotb.start_soon(turns.tell())
        sending = cocotb.start_soon(i.put_all(turns.rows()))
        await turns.check(o)
        await sending
        await telling
