"""Proof that decoding gives the terms that reading entry by entry gives."""

from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import data

from hdl.sparse.decode import Decode
from hdl.streams import delayed
from tests.formal.prover import Offer, prove


class EntryByEntry(Elaboratable):
    """Reads the words that are taken, entry by entry, and keeps what is due to be done.

    One thing is done a cycle, in order, from the cycle after its word was taken: a term, an escape
    in front of another one, which gives none, or a word without entries, of which all that can be
    seen is the end of a run. What an escape has waited for is done when it is taken.
    """

    DEPTH = 3

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        word = dut.i.payload
        taken = dut.i.valid & dut.i.ready
        m.d.comb += Assume(~ResetSignal())

        # What a fetch puts out: entries without a gap, for one activation, the last one a weight;
        # or a single escape, which stands for none. What an escape skips is a multiple of more rows
        # than a weight can.
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
        for n in range(2):
            entry = data.View(word.entries.shape().elem_shape, word.entries[n])
            m.d.comb += Assume(Mux(entry.escape, ~entry.skips[0], ~entry.skips[1]))

        event = data.StructLayout({"term": dut.term.shape(), "there": 1, "pads": 1, "turns": 2})
        comes = []
        row = Signal.like(dut.term.row, init=-1)
        waits = Signal()  # whether an escape is the last entry that was taken
        reached, waiting = row, waits
        for n in range(2):
            entry = data.View(word.entries.shape().elem_shape, word.entries[n])
            here = word.both if n == 1 else 1
            reached = Mux(here, reached + entry.skips + ~entry.escape, reached)[: len(row)]
            last = word.last if n == 1 else word.last & ~word.both
            stands = empty if n == 0 else 0
            new = Signal(event, name=f"event_{n}")
            m.d.comb += [
                new.term.row.eq(reached),
                new.term.code.eq(entry.code),
                new.term.activation.eq(word.activation),
                new.term.bank.eq(word.bank),
                new.there.eq(~entry.escape),
                new.pads.eq(entry.escape & waiting),
                new.turns.eq((last & word.final) << word.bank),
            ]
            comes.append((taken & here & (new.there | new.pads | stands), new))
            waiting = Mux(here, entry.escape & ~stands, waiting)
        with m.If(taken):
            m.d.sync += [row.eq(Mux(word.last, -1, reached)), waits.eq(waiting)]

        # What is done in this cycle, and what is due afterwards.
        due = Array(Signal(event, name=f"due_{n}") for n in range(self.DEPTH))
        count = Signal(range(self.DEPTH + 1))
        (first_comes, first), (second_comes, second) = comes
        at_once = (count == 0) & waits & taken & first.there
        does = Signal(event)
        m.d.comb += does.eq(Mux(at_once, Mux(first_comes, first, second), due[0]))
        left = Signal.like(count)
        m.d.comb += left.eq(count - (count != 0))
        enters = Signal()
        after = Signal(range(self.DEPTH + 3))
        m.d.comb += [
            enters.eq(first_comes & ~at_once),
            after.eq(left + enters + second_comes),
            Assert(after <= self.DEPTH),
        ]
        for n in range(self.DEPTH):
            old = due[n + 1] if n + 1 < self.DEPTH else due[n]
            m.d.sync += due[n].eq(Mux(n < left, old, Mux(enters & (left == n), first, second)))
        m.d.sync += count.eq(after)

        some = (count != 0) | at_once
        m.d.comb += [
            Assert(dut.works == (some & (does.there | does.pads))),
            Assert(dut.gives == (some & does.there)),
        ]
        finished = Signal(2)
        term = delayed(m, does.term, cycles=1, name="term")
        m.d.sync += finished.eq(finished ^ Mux(some, does.turns, 0))
        m.d.comb += [
            Assert(dut.valid == delayed(m, dut.gives, cycles=1, name="gives")),
            Assert(dut.finished == delayed(m, finished, cycles=1, name="finished")),
        ]
        with m.If(dut.valid):
            m.d.comb += Assert(Value.cast(dut.term) == Value.cast(term))
        return m


def test_decode(tmp_path):
    """From the reset on; words come in every order that so many cycles allow."""
    dut = Decode(row_depth=4, code_width=1, activation_width=1)
    ports = [dut.i.payload, dut.i.valid]
    prove(EntryByEntry(dut), tmp_path, ports=ports, depth=8, mode="bmc")
