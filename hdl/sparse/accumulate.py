"""Multiplies and adds up."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory, WritePort
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.multiplier import Multiplier
from hdl.sparse.decode import Term
from hdl.streams import delayed

__all__ = ["Accumulate"]


class Accumulate(wiring.Component):
    """``accumulators[bank][row] += codebook[base[bank] | code] * activation``, one a cycle.

    The sum is written :attr:`LATENCY` cycles after the term; until then it is forwarded, so terms
    of the same row may follow each other at any distance. Sums are exact as long as they fit
    ``accumulator_width``. There are two banks: while one accumulates, the other can be drained. A
    row that is drained is cleared.

    Parameters
    ----------
    row_depth, code_width, activation_width : :class:`int`
        As of :class:`~hdl.sparse.decode.Term`.
    weight_width : :class:`int`
        Bits in a codebook value, two's complement.
    accumulator_width : :class:`int`
        Bits in a sum, two's complement.
    codebook_depth : :class:`int`
        Codebook values.

    Members
    -------
    base : ``In(ArrayLayout(range(codebook_depth), 2))``
        First value of the codebook, for each bank; its lowest bits, which the code may have, are 0.
    term : ``In(Term(...))``
    valid : ``In(1)``
        Whether there is a term.
    drain : ``In(1)``
        Reads and clears ``drain_row`` of ``drain_bank``. Only while no term of this bank is on its
        way.
    drain_row : ``In(range(row_depth))``
    drain_bank : ``In(1)``
    drained : ``Out(signed(accumulator_width))``
        The sum, :attr:`DRAIN_LATENCY` cycles after ``drain``, until the next one.
    load : ``Out``
        Write port of the codebook.
    """

    # Codebook, multiplier's input, product, sum, write.
    LATENCY = 5
    DRAIN_LATENCY = 2

    def __init__(
        self,
        *,
        row_depth,
        code_width,
        activation_width,
        weight_width,
        accumulator_width,
        codebook_depth,
    ):
        self.row_depth = row_depth
        self.weight_width = weight_width
        self.accumulator_width = accumulator_width
        self.codebook_depth = codebook_depth
        super().__init__(
            {
                "base": In(data.ArrayLayout(range(codebook_depth), 2)),
                "term": In(Term(row_depth, code_width, activation_width)),
                "valid": In(1),
                "drain": In(1),
                "drain_row": In(range(row_depth)),
                "drain_bank": In(1),
                "drained": Out(signed(accumulator_width)),
                "load": Out(
                    WritePort.Signature(
                        addr_width=ceil_log2(codebook_depth), shape=signed(weight_width)
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.codebook = codebook = Memory(
            shape=signed(self.weight_width), depth=self.codebook_depth, init=[]
        )
        load = codebook.write_port()
        value = codebook.read_port()
        m.d.comb += [load.addr.eq(self.load.addr), load.data.eq(self.load.data)]
        m.d.comb += load.en.eq(self.load.en)
        m.d.comb += value.addr.eq(self.base[self.term.bank] | self.term.code)

        m.submodules.multiplier = multiplier = Multiplier(
            a_width=self.weight_width, b_width=len(self.term.activation), latency=2
        )
        m.d.comb += [
            multiplier.a.eq(value.data),
            multiplier.b.eq(delayed(m, self.term.activation, cycles=1, name="activation")),
        ]
        product = multiplier.o

        # The row is read while its weight is looked up and used when the product is there. A sum
        # that memory did not have by then is forwarded instead: from the term before, or else from
        # one of the two before that. What is not used is 0, so that the three need no multiplexer;
        # and it does not matter what memory answers if a row is read while it is written.
        place, valid = [Cat(self.term.row, self.term.bank)], [self.valid]
        for n in range(1, 5):
            place.append(delayed(m, place[-1], cycles=1, name=f"place_{n}"))
            valid.append(delayed(m, valid[-1], cycles=1, name=f"valid_{n}"))
        same = [valid[2 + n] & ~(place[2 + n] ^ place[1]).any() for n in range(3)]
        behind = Signal(2)  # which of the last two terms before the one that is read has its row
        forwards = Signal()
        m.d.sync += [behind.eq(Cat(same[:2])), forwards.eq(Cat(same).any())]
        added = Signal(signed(self.accumulator_width))
        total = Signal(signed(self.accumulator_width))
        sum_before = delayed(m, total, cycles=1, name="sum")
        previous = Signal(signed(self.accumulator_width))
        recent = Signal(signed(self.accumulator_width))
        m.d.sync += [total.eq(added), previous.eq(added)]
        m.d.sync += recent.eq(Mux(behind[1], total, sum_before))
        with m.If(~behind[0]):
            m.d.sync += previous.eq(0)
        with m.If(behind[0] | ~forwards):
            m.d.sync += recent.eq(0)
        augend = previous | recent

        drains = delayed(m, self.drain, cycles=1, name="drains")
        drained_row = delayed(m, self.drain_row, cycles=1, name="drained_row")
        drained_bank = Signal()
        with m.If(self.drain):
            m.d.sync += drained_bank.eq(self.drain_bank)
        drained = Const(0)
        for n in range(2):
            m.submodules[f"bank_{n}"] = bank = Memory(
                shape=signed(self.accumulator_width), depth=self.row_depth, init=[]
            )
            read, write = bank.read_port(), bank.write_port()
            asks = self.drain & (self.drain_bank == n)
            clears = drains & (drained_bank == n)
            # A register with a reset of its own takes no logic.
            written = Signal(signed(self.accumulator_width), name=f"written_{n}")
            m.d.sync += written.eq(Mux(asks, 0, added))
            m.d.comb += [
                read.addr.eq(Mux(asks, self.drain_row, place[1])),
                write.addr.eq(Mux(clears, drained_row, place[4])),
                write.data.eq(written),
                write.en.eq(clears | (valid[4] & (place[4][-1] == n))),
            ]

            # Block RAM answers late in its cycle, so its output goes straight into registers. Those
            # of the other bank are 0, and the two need no multiplexer either.
            stored = Signal(signed(self.accumulator_width), name=f"stored_{n}")
            m.d.sync += stored.eq(read.data)
            with m.If(forwards | (place[2][-1] != n)):
                m.d.sync += stored.eq(0)
            augend = augend | stored
            held = Signal(signed(self.accumulator_width), name=f"drained_{n}")
            with m.If(drains):
                m.d.sync += held.eq(read.data)
            with m.If(drained_bank != n):
                m.d.sync += held.eq(0)
            drained = drained | held
        m.d.comb += [added.eq(augend + product), self.drained.eq(drained)]

        return m
