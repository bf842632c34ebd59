"""Proof that decoding gives the terms that reading entry by entry gives."""

from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import data

from hdl.sparse.decode import Decode
from hdl.streams import delayed
from tests.formal.prover import Offer, prove


class EntryByEntry(Elaboratable):
    """Reads the words that are taken, entry by entry, and keeps what is due to come out.

    A word without entries is due as well: it comes out in the cycle in which it is first in line,
    and all that can be seen of it is the end of a run.
    """

    DEPTH = 4

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        word = dut.i.payload
        taken = dut.i.valid & dut.i.ready
        m.d.comb += Assume(~ResetSignal())

        # What a fetch puts out: entries without a gap, for one activation, the last one a weight;
        # or a single escape, which stands for none.
        Offer(m, dut.i, name="i").require()
        inside = Signal()
        common = Cat(word.activation, word.bank)
        before = Signal.like(common)
        with m.If(taken):
            m.d.sync += [inside.eq(~word.last), before.eq(common)]
        ends = Mux(word.both, word.entries[1].escape, word.entries[0].escape)
        empty = word.last & ~word.both & word.entries[0].escape
        with m.If(dut.i.valid):
            m.d.comb += Assume(~inside | (common == before))
            m.d.comb += Assume(~(word.last & ends) | (empty & ~inside))
            m.d.comb += Assume(word.last | word.both | ~inside)
            m.d.comb += Assume(word.last | ~word.final)

        event = data.StructLayout({"term": dut.term.shape(), "there": 1, "turns": 2})
        events = []
        row = Signal.like(dut.term.row, init=-1)
        reached = row
        for n in range(2):
            entry = data.View(word.entries.shape().elem_shape, word.entries[n])
            here = word.both if n == 1 else 1
            reached = Mux(here, reached + entry.rows, reached)[: len(row)]
            there = here & ~entry.escape
            last = word.last if n == 1 else word.last & ~word.both
            new = Signal(event, name=f"event_{n}")
            m.d.comb += [
                new.term.row.eq(reached),
                new.term.code.eq(entry.code),
                new.term.activation.eq(word.activation),
                new.term.bank.eq(word.bank),
                new.there.eq(there),
                new.turns.eq((last & word.final) << word.bank),
            ]
            comes = taken & (there | (empty if n == 0 else 0))
            # A word is in line a cycle after it was taken.
            events += [
                delayed(m, signal, cycles=1, name=name)
                for signal, name in ((comes, f"comes_{n}"), (new, f"line_{n}"))
            ]
        with m.If(taken):
            m.d.sync += row.eq(Mux(word.last, -1, reached))

        due = Array(Signal(event, name=f"due_{n}") for n in range(self.DEPTH))
        count = Signal(range(self.DEPTH + 1))
        first_comes, first, second_comes, second = events
        comes = (count != 0) & (dut.valid | ~due[0].there)
        left = Signal.like(count)
        m.d.comb += left.eq(count - comes)
        for n in range(self.DEPTH):
            old = Mux(comes, due[n + 1], due[n]) if n + 1 < self.DEPTH else due[n]
            new = Mux(first_comes & (left == n), first, second)
            m.d.sync += due[n].eq(Mux(n < left, old, new))
        m.d.sync += count.eq(left + first_comes + second_comes)

        with m.If(dut.valid):
            m.d.comb += Assert((count != 0) & due[0].there)
            m.d.comb += Assert(Value.cast(dut.term) == Value.cast(due[0].term))
        m.d.comb += Assert(left <= self.DEPTH - 2)
        finished = Signal(2)
        turned = Signal(2)
        m.d.comb += finished.eq(turned ^ Mux(comes, due[0].turns, 0))
        m.d.sync += turned.eq(finished)
        m.d.comb += Assert(dut.finished == finished)

        # Nothing that is in line is kept back.
        in_line = delayed(m, taken, cycles=1, name="in_line")
        nothing = delayed(m, empty, cycles=1, name="nothing")
        with m.If(left != 0):
            m.d.comb += Assert(dut.works == Mux(comes, due[1].there, due[0].there))
        with m.Elif(in_line):
            m.d.comb += Assert(dut.works == ~nothing)
        return m


def test_decode(tmp_path):
    """From the reset on; words come in every order that so many cycles allow."""
    dut = Decode(row_depth=4, code_width=1, activation_width=1)
    ports = [dut.i.payload, dut.i.valid]
    prove(EntryByEntry(dut), tmp_path, ports=ports, depth=8, mode="bmc")
