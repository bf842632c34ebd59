# amaranth: UnusedElaboratable=no
"""Proof that the accumulators hold what an accumulator without a pipeline would."""

from amaranth import *
from amaranth.hdl import Assert, Assume

from hdl.sparse.accumulate import Accumulate
from hdl.streams import delayed
from tests.formal.prover import prove

ROWS = 2


class AddsUp(Elaboratable):
    """Beside the memories stand registers, to which each product is added in a single cycle.

    That is the cycle in which the sum is written; so at all times both are equal. What is read
    too early or forwarded from the wrong place makes them differ.
    """

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        dut = self.dut
        m = dut.elaborate(platform)
        # A reset leaves memories as they are.
        m.d.comb += Assume(~ResetSignal())

        codebook = m.submodules.codebook.read_port(domain="comb")
        product = Signal(signed(dut.weight_width + len(dut.term.activation)))
        m.d.comb += codebook.addr.eq(dut.base[dut.term.bank] | dut.term.code)
        m.d.comb += product.eq(codebook.data * dut.term.activation)
        place = Signal(2)
        m.d.comb += place.eq(Cat(dut.term.row, dut.term.bank))
        term = Cat(place, product, dut.valid)

        # A bank is drained when none of its terms is on its way; it takes the next one right after.
        for n in range(dut.LATENCY):
            other, _, valid = take(delayed(m, term, cycles=n, name=f"term_{n}"), place, product)
            m.d.comb += Assume(~(dut.drain & valid & (other[-1] == dut.drain_bank)))
        drained_place = Cat(dut.drain_row, dut.drain_bank)
        drained = delayed(m, dut.drain, cycles=1, name="drained")
        cleared = delayed(m, drained_place, cycles=1, name="cleared")

        written, addend, valid = take(
            delayed(m, term, cycles=dut.LATENCY - 1, name="written"), place, product
        )
        sums = Array(Signal(signed(dut.accumulator_width), name=f"sum_{n}") for n in range(4))
        for n, total in enumerate(sums):
            with m.If(valid & (written == n)):
                m.d.sync += total.eq(total + addend)
            with m.If(drained & (cleared == n)):
                m.d.sync += total.eq(0)
            port = m.submodules[f"bank_{n // ROWS}"].read_port(domain="comb")
            m.d.comb += port.addr.eq(n % ROWS)
            m.d.comb += Assert(port.data == total)

        # A sum comes out some cycles later and stays.
        cycles = dut.DRAIN_LATENCY
        expected = delayed(m, sums[drained_place], cycles=cycles, name="expected")
        before = delayed(m, dut.drained, cycles=1, name="before")
        arrives = delayed(m, dut.drain, cycles=cycles, name="arrives")
        m.d.comb += Assert(dut.drained == Mux(arrives, expected, before))
        return m


def take(bits, place, product):
    """Place, product and presence of a term."""
    return bits[: len(place)], bits[len(place) : -1].as_signed(), bits[-1]


def test_accumulate(tmp_path):
    dut = Accumulate(
        row_depth=ROWS,
        code_width=1,
        activation_width=2,
        weight_width=2,
        accumulator_width=4,
        codebook_depth=2,
    )
    ports = [dut.base, dut.term, dut.valid, dut.drain, dut.drain_row, dut.drain_bank]
    ports += [dut.load.addr, dut.load.data, dut.load.en]
    prove(AddsUp(dut), tmp_path, ports=ports, depth=dut.LATENCY + 3)
