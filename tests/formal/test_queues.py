# amaranth: UnusedElaboratable=no
"""Proofs of the queues: what is on offer stands, and no segment is lost."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from hdl.sparse.counts import Counts, Segment
from hdl.sparse.queue import SegmentQueue
from hdl.sparse.scan import Scan
from hdl.streams import Queue, delayed
from tests.formal.prover import Offer, OfferStands, prove


@pytest.mark.parametrize("depth", [3, 7])
def test_queue_offer_stands(tmp_path, depth):
    dut = Queue(2, depth=depth)
    ports = [dut.i.payload, dut.i.valid, dut.o.ready]
    prove(OfferStands(dut), tmp_path, ports=ports, depth=4)


class NothingLost(Elaboratable):
    """Steps begin whenever the scan may begin one, and become segments or not."""

    def __init__(self, dut):
        self.dut = dut
        self.begins = Signal()
        self.there = Signal()

    def elaborate(self, platform):
        m = self.dut.elaborate(platform)
        queue = m.submodules.queue

        hold = delayed(m, self.dut.hold, cycles=1, name="scan_hold")
        m.d.comb += Assume(~(self.begins & hold))
        latency = Scan.LATENCY + Counts.LATENCY
        arrives = delayed(m, self.begins, cycles=latency, name="arrives")
        m.d.comb += self.dut.segment_valid.eq(arrives & self.there)
        m.d.comb += Assert(~self.dut.segment_valid | queue.i.ready)
        m.d.comb += Assert(queue.level <= self.dut.depth)
        Offer(m, self.dut.o, name="o").show()
        return m


@pytest.mark.parametrize("depth", [7, 12])
def test_segment_queue_loses_nothing(tmp_path, depth):
    dut = SegmentQueue(Segment(2, 1, 1), depth=depth)
    top = NothingLost(dut)
    ports = [dut.segment, top.begins, top.there, dut.o.ready]
    prove(top, tmp_path, ports=ports, depth=SegmentQueue.MARGIN + 4)


def test_segment_queue_needs_its_margin(tmp_path):
    """The proof above can fail."""

    class Short(SegmentQueue):
        MARGIN = SegmentQueue.MARGIN - 1

    top = NothingLost(dut := Short(Segment(2, 1, 1), depth=7))
    ports = [dut.segment, top.begins, top.there, dut.o.ready]
    with pytest.raises(AssertionError, match="returned FAIL"):
        prove(top, tmp_path, ports=ports, depth=20, mode="bmc")
