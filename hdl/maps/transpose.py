"""Turns rows into columns."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Transpose"]


class Transpose(wiring.Component):
    """Takes a matrix row by row, and gives it column by column, while the next one comes.

    A row is taken and a column is given in each cycle, but for one in which no row is taken when a
    matrix is complete. Its first column is on offer :attr:`LATENCY` cycles after its last row was
    taken, or a cycle after the last column of the one before.

    Parameters
    ----------
    shape : shape-castable
        Shape of a number.
    rows, columns : :class:`int`
        Most rows and columns of a matrix.

    Members
    -------
    row_count : ``In(range(rows + 1))``
        Rows of the matrix that comes; those that it has less are given as zeros.
    column_count : ``In(range(columns + 1))``
        Columns that it gives. Both are at least 1, and change in the cycle after ``complete``.
    complete : ``Out(1)``
        Whether a matrix goes from where it is taken to where it is given.
    i : ``In(stream.Signature(ArrayLayout(shape, columns)))``
    o : ``Out(stream.Signature(ArrayLayout(shape, rows)))``
    """

    LATENCY = 2

    def __init__(self, shape, *, rows, columns):
        self.shape = shape
        self.rows = rows
        self.columns = columns
        super().__init__(
            {
                "row_count": In(range(rows + 1)),
                "column_count": In(range(columns + 1)),
                "complete": Out(1),
                "i": In(stream.Signature(data.ArrayLayout(shape, columns))),
                "o": Out(stream.Signature(data.ArrayLayout(shape, rows))),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # Rows go to their places; a register with an enable of its own takes no logic.
        place = Signal(self.rows, init=1)
        count = Signal(range(self.rows + 1))
        full = Signal()
        taken = self.i.valid & self.i.ready
        m.d.comb += self.i.ready.eq(~full)
        with m.If(taken):
            m.d.sync += [place.eq(place << 1), count.eq(count + 1)]
            m.d.sync += full.eq(count == self.row_count - 1)
        rows = []
        for n in range(self.rows):
            row = Signal.like(self.i.payload, name=f"row_{n}")
            with m.If(taken & place[n]):
                m.d.sync += row.eq(self.i.payload)
            rows.append(row)

        # All of them move on at once, and then column by column.
        left = Signal(range(self.columns + 1))
        last = Signal()
        given = self.o.valid & self.o.ready
        m.d.comb += self.complete.eq(full & (~self.o.valid | (given & last)))
        with m.If(given):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2), self.o.valid.eq(~last)]
        with m.If(self.complete):
            m.d.sync += [full.eq(0), place.eq(1), count.eq(0)]
            m.d.sync += [left.eq(self.column_count), last.eq(self.column_count == 1)]
            m.d.sync += self.o.valid.eq(1)
        for n, row in enumerate(rows):
            moving = Signal.like(row, name=f"moving_{n}")
            with m.If(self.complete):
                m.d.sync += moving.eq(Mux(n < self.row_count, row, 0))
            with m.Elif(given):
                m.d.sync += moving.eq(moving.as_value() >> len(moving[0]))
            m.d.comb += self.o.p[n].eq(moving[0])
        return m
