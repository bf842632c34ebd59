"""Queues, and what else streams need everywhere."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Queue", "delayed"]


class Queue(wiring.Component):
    """First in, first out.

    A payload can be taken :meth:`latency` cycles after it was put into an empty queue. A shallow
    queue is read from flip-flops or LUT RAM, a deep one from block RAM.

    Parameters
    ----------
    shape : shape-castable
        Shape of a payload.
    depth : :class:`int`
        Payloads that it holds. At least 2.

    Members
    -------
    i : ``In(stream.Signature(shape))``
    o : ``Out(stream.Signature(shape))``
    level : ``Out(range(depth + 1))``
        Payloads in it.
    """

    SHALLOW = 4

    def __init__(self, shape, *, depth):
        if not isinstance(depth, int) or isinstance(depth, bool) or depth < 2:
            raise TypeError(f"depth must be an integer of at least 2, not {depth!r}")
        self.shape = shape
        self.depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    @classmethod
    def latency(cls, depth):
        """Cycles through an empty queue of ``depth``."""
        return 1 if depth <= cls.SHALLOW else 2

    def elaborate(self, platform):
        m = Module()

        kind = fifo.SyncFIFO if self.depth <= self.SHALLOW else fifo.SyncFIFOBuffered
        m.submodules.fifo = inner = kind(width=Shape.cast(self.shape).width, depth=self.depth)
        payload = self.i.payload
        m.d.comb += [
            inner.w_data.eq(payload if isinstance(payload, Value) else payload.as_value()),
            inner.w_en.eq(self.i.valid),
            self.i.ready.eq(inner.w_rdy),
            self.o.payload.eq(inner.r_data),
            self.o.valid.eq(inner.r_rdy),
            inner.r_en.eq(self.o.ready),
            self.level.eq(inner.level),
        ]

        return m


def delayed(m, value, *, cycles, name):
    """``value`` as it was ``cycles`` ago; the registers are added to module ``m``."""
    for n in range(1, cycles + 1):
        later = Signal.like(value, name=f"{name}_{n}")
        m.d.sync += later.eq(value)
        value = later
    return value
