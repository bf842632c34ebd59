"""Queues, and what else streams need everywhere."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Queue", "delayed"]


class Queue(wiring.Component):
    """First in, first out.

    A payload can be taken :meth:`latency` cycles after it was put into an empty queue. What is put
    out comes from flip-flops. What waits behind it is, in a shallow queue, in flip-flops or LUT RAM
    too, and in a deep one in block RAM.

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

        payload = self.i.payload
        offered = payload if isinstance(payload, Value) else payload.as_value()
        if self.depth > self.SHALLOW:
            m.submodules.fifo = inner = fifo.SyncFIFOBuffered(width=len(offered), depth=self.depth)
            m.d.comb += [
                inner.w_data.eq(offered),
                inner.w_en.eq(self.i.valid),
                self.i.ready.eq(inner.w_rdy),
                self.o.payload.eq(inner.r_data),
                self.o.valid.eq(inner.r_rdy),
                inner.r_en.eq(self.o.ready),
                self.level.eq(inner.level),
            ]
            return m

        # The head goes past the memory if nothing waits there.
        m.submodules.fifo = inner = fifo.SyncFIFO(width=len(offered), depth=self.depth - 1)
        head = Signal(len(offered))
        moves = Signal()
        m.d.comb += [
            moves.eq(~self.o.valid | self.o.ready),
            inner.r_en.eq(moves),
            inner.w_data.eq(offered),
            inner.w_en.eq(self.i.valid & (inner.r_rdy | ~moves)),
            self.i.ready.eq(inner.w_rdy),
            self.o.payload.eq(head),
            self.level.eq(inner.level + self.o.valid),
        ]
        with m.If(moves):
            m.d.sync += head.eq(Mux(inner.r_rdy, inner.r_data, offered))
            m.d.sync += self.o.valid.eq(inner.r_rdy | self.i.valid)

        return m


def delayed(m, value, *, cycles, name):
    """``value`` as it was ``cycles`` ago; the registers are added to module ``m``."""
    for n in range(1, cycles + 1):
        later = Signal.like(value, name=f"{name}_{n}")
        m.d.sync += later.eq(value)
        value = later
    return value
