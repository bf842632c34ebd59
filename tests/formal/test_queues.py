# amaranth: UnusedElaboratable=no
"""Proofs of the queues: what is on offer stands, no segment is lost, what is kept comes again."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume

from hdl.sparse.counts import Counts, Segment
from hdl.sparse.queue import SegmentQueue
from hdl.sparse.scan import Scan
from hdl.streams import Queue, VectorQueue, delayed
from tests.formal.prover import Offer, OfferStands, prove


@pytest.mark.parametrize(("depth", "cycles", "mode"), [(3, 10, "bmc"), (12, 4, "prove")])
def test_queue_offer_stands(tmp_path, depth, cycles, mode):
    """A shallow one fills and empties in so many cycles."""
    dut = Queue(2, depth=depth)
    ports = [dut.i.payload, dut.i.valid, dut.o.ready]
    prove(OfferStands(dut), tmp_path, ports=ports, depth=cycles, mode=mode)


class ReadAgain(Elaboratable):
    """All payloads are 0 but one, whichever; it must come out in its place, each time."""

    def __init__(self, dut):
        self.dut = dut
        self.place = Signal(4)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += Assume(~ResetSignal())
        puts, takes = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        gives = takes & ~dut.keep

        # Places of the next payload to come, of the next to go out, and of the first that is kept.
        end, now, first = (Signal(5, name=name) for name in ("end", "now", "first"))
        place = delayed(m, self.place, cycles=1, name="place")
        later = delayed(m, Const(1), cycles=1, name="later")
        m.d.comb += [
            Assume(~later | (self.place == place)),
            Assume(dut.i.payload == (end == self.place)),
            Assume(~(gives & (now != first))),
            Assume(~(takes & dut.rewind)),
        ]
        m.d.sync += [end.eq(end + puts), first.eq(first + gives)]
        m.d.sync += now.eq(Mux(dut.rewind, first, now + takes))

        held = Signal(5)
        m.d.comb += held.eq(end - first)
        m.d.comb += [Assert(dut.level == held), Assert(dut.i.ready == (held != dut.depth))]
        with m.If(dut.o.valid):
            m.d.comb += Assert((now != end) & (dut.o.payload == (now == self.place)))
        # What is there is put out, some cycles after it is there or was gone back to.
        waits = (now != end) & ~takes & ~dut.rewind
        latency = dut.rewind_latency(dut.depth)
        past = [delayed(m, waits, cycles=n + 1, name=f"waits_{n}") for n in range(latency)]
        m.d.comb += Assert(~Cat(past).all() | dut.o.valid)
        return m


@pytest.mark.parametrize(("depth", "front", "cycles"), [(2, 8, 10), (3, 8, 9), (3, 2, 9)])
def test_vector_queue_reads_again(tmp_path, monkeypatch, depth, front, cycles):
    """In all that can happen in so many cycles, in which the queue fills and empties twice.

    Both in LUT RAM, and in block RAM with less room in front of it than behind.
    """
    monkeypatch.setattr(VectorQueue, "FRONT", front)
    dut = VectorQueue(1, depth=depth)
    top = ReadAgain(dut)
    ports = [dut.i.payload, dut.i.valid, dut.o.ready, dut.keep, dut.rewind, top.place]
    prove(top, tmp_path, ports=ports, depth=cycles, mode="bmc")


@pytest.mark.parametrize(("depth", "front"), [(3, 8), (3, 2)])
def test_vector_queue_offer_stands(tmp_path, monkeypatch, depth, front):
    """Until the queue is rewound."""
    monkeypatch.setattr(VectorQueue, "FRONT", front)

    class Top(OfferStands):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            m.d.comb += Assume(~self.dut.rewind)
            return m

    dut = VectorQueue(2, depth=depth)
    ports = [dut.i.payload, dut.i.valid, dut.o.ready, dut.keep, dut.rewind]
    prove(Top(dut), tmp_path, ports=ports, depth=10, mode="bmc")


class NothingLost(Elaboratable):
    """Steps begin whenever the scan may begin one, and become segments or not."""

    def __init__(self, dut):
        self.dut = dut
        self.begins = Signal()
        self.there = Signal()

    def elaborate(self, platform):
        m = self.dut.elaborate(platform)
        queue = m.submodules.queue

        hold = delayed(m, self.dut.hold, cycles=2, name="scan_hold")
        m.d.comb += Assume(~(self.begins & hold))
        latency = Scan.LATENCY + Counts.LATENCY
        arrives = delayed(m, self.begins, cycles=latency, name="arrives")
        m.d.comb += self.dut.segment_valid.eq(arrives & self.there)
        m.d.comb += Assert(~self.dut.segment_valid | queue.i.ready)
        m.d.comb += Assert(queue.level <= self.dut.depth)
        m.d.comb += Assert(~queue.o.valid | (queue.level != 0))
        Offer(m, self.dut.o, name="o").show()
        return m


@pytest.mark.parametrize("depth", [9, 12])
def test_segment_queue_loses_nothing(tmp_path, depth):
    dut = SegmentQueue(Segment(2, 1, 1), depth=depth)
    top = NothingLost(dut)
    ports = [dut.segment, top.begins, top.there, dut.o.ready]
    prove(top, tmp_path, ports=ports, depth=SegmentQueue.MARGIN + 4)


def test_segment_queue_needs_its_margin(tmp_path):
    """The proof above can fail."""

    class Short(SegmentQueue):
        MARGIN = SegmentQueue.MARGIN - 1

    top = NothingLost(dut := Short(Segment(2, 1, 1), depth=8))
    ports = [dut.segment, top.begins, top.there, dut.o.ready]
    with pytest.raises(AssertionError, match="returned FAIL"):
        prove(top, tmp_path, ports=ports, depth=20, mode="bmc")
