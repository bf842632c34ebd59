"""Proof that decoding gives the terms that reading entry by entry gives."""

from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import data

from hdl.sparse.decode import Decode
from tests.formal.prover import Offer, prove


class EntryByEntry(Elaboratable):
    """Reads the words that are taken, entry by entry, and keeps what is due to come out."""

    DEPTH = 4

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        word = dut.i.payload
        taken = dut.i.valid & dut.i.ready
        m.d.comb += Assume(~ResetSignal())

        # What a fetch puts out: entries without a gap, for one activation, the last one a weight.
        Offer(m, dut.i, name="i").require()
        inside = Signal()
        activation = Signal.like(word.activation)
        with m.If(taken):
            m.d.sync += [inside.eq(~word.last), activation.eq(word.activation)]
        ends = Mux(word.here[1], word.entries[1].escape, word.entries[0].escape)
        with m.If(dut.i.valid):
            m.d.comb += Assume(word.here.any() & (word.here[0] | ~inside))
            m.d.comb += Assume(~inside | (word.activation == activation))
            m.d.comb += Assume(Mux(word.last, ~ends, word.here[1]))

        terms = []
        row = Signal.like(dut.term.row, init=-1)
        reached = row
        for n in range(2):
            entry = data.View(word.entries.shape().elem_shape, word.entries[n])
            here = taken & word.here[n]
            reached = Mux(here, reached + entry.rows, reached)[: len(row)]
            term = Signal.like(dut.term, name=f"term_{n}")
            m.d.comb += [
                term.row.eq(reached),
                term.code.eq(entry.code),
                term.activation.eq(word.activation),
            ]
            terms.append((here & ~entry.escape, term))
        m.d.sync += row.eq(Mux(taken & word.last, -1, reached))

        due = Array(Signal.like(dut.term, name=f"due_{n}") for n in range(self.DEPTH))
        count = Signal(range(self.DEPTH + 1))
        (first_there, first), (second_there, second) = terms
        left = Signal.like(count)
        m.d.comb += left.eq(count - dut.valid)
        for n in range(self.DEPTH):
            old = Mux(dut.valid, due[n + 1], due[n]) if n + 1 < self.DEPTH else due[n]
            new = Mux(first_there & (left == n), first, second)
            m.d.sync += due[n].eq(Mux(n < left, old, new))
        m.d.sync += count.eq(left + first_there + second_there)

        with m.If(dut.valid):
            m.d.comb += Assert((count != 0) & (Value.cast(dut.term) == Value.cast(due[0])))
        m.d.comb += Assert(left <= self.DEPTH - 2)
        # Without anything to take, nothing is kept back.
        m.d.comb += Assert(dut.works | (left == 0))
        m.d.comb += Assert(dut.works | ~dut.busy)
        return m


def test_decode(tmp_path):
    """From the reset on; words come in every order that so many cycles allow."""
    dut = Decode(row_depth=4, code_width=1, activation_width=1)
    ports = [dut.i.payload, dut.i.valid]
    prove(EntryByEntry(dut), tmp_path, ports=ports, depth=8, mode="bmc")
