# amaranth: UnusedElaboratable=no
"""Proofs that fetching keeps the stream rule and reads no more words than there is room for."""

from amaranth import *
from amaranth.hdl import Assert, Assume

from hdl.sparse.fetch import Fetch
from tests.formal.prover import Offer, OfferStands, prove


class NothingLost(Elaboratable):
    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = self.dut.elaborate(platform)
        words = m.submodules.words
        m.d.comb += Assume(~ResetSignal())
        Offer(m, self.dut.i, name="i").require()
        m.d.comb += Assert(~words.i.valid | words.i.ready)
        with m.If(self.dut.o.valid & ~self.dut.o.p.last):
            m.d.comb += Assert(~self.dut.o.p.final)
        return m


def fetch():
    dut = Fetch(
        weight_depth=8,
        entry_width=3,
        count_width=2,
        row_depth=2,
        code_width=2,
        activation_width=1,
    )
    load = [dut.load.addr, dut.load.data, dut.load.en]
    return dut, [dut.i.payload, dut.i.valid, dut.o.ready, dut.delta_width, *load]


def test_fetch_offer_stands(tmp_path):
    dut, ports = fetch()
    prove(OfferStands(dut), tmp_path, ports=ports, depth=11, mode="bmc")


def test_fetch_loses_nothing(tmp_path):
    """Nothing is read that there is no room for, in the cycles in which the queue can fill twice.

    And only the last word of a segment is the end of a run. The credits are no part of the
    interface, so that induction cannot speak of them.
    """
    dut, ports = fetch()
    prove(NothingLost(dut), tmp_path, ports=ports, depth=11, mode="bmc")
