"""Lets the elements run apart: each has its own segments waiting."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.streams import Queue

__all__ = ["SegmentQueue"]


class SegmentQueue(wiring.Component):
    """Queue of segments that asks its source to hold before it is full.

    The source is told late and goes on for :attr:`MARGIN` segments at the most; there is room for
    these. A segment is held until it is taken.

    Parameters
    ----------
    shape : :class:`~hdl.sparse.counts.Segment`
        Shape of a segment.
    depth : :class:`int`
        Segments that it holds. More than :attr:`MARGIN`.

    Members
    -------
    segment : ``In(shape)``
    segment_valid : ``In(1)``
    o : ``Out(stream.Signature(shape))``
    hold : ``Out(1)``
        Whether the source is to begin no more steps.
    """

    # Steps that begin between the cycle in which the level is too high and the one in which the
    # scan sees it (three registers), and those on the way from the scan to here (four).
    MARGIN = 7

    def __init__(self, shape, *, depth):
        if depth <= self.MARGIN:
            raise ValueError(f"depth must be more than {self.MARGIN}, not {depth!r}")
        self.shape = shape
        self.depth = depth
        super().__init__(
            {
                "segment": In(shape),
                "segment_valid": In(1),
                "o": Out(stream.Signature(shape)),
                "hold": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.queue = queue = Queue(self.shape, depth=self.depth)
        m.d.comb += [
            queue.i.payload.eq(self.segment),
            queue.i.valid.eq(self.segment_valid),
        ]
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        m.d.sync += self.hold.eq(queue.level >= self.depth - self.MARGIN)

        return m
