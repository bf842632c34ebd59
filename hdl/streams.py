"""Queues, and what else streams need everywhere."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["Queue", "VectorQueue", "delayed"]


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
        _check_depth(depth)
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


class VectorQueue(wiring.Component):
    """First in, first out; but what was taken can stay, to be read once more.

    A payload that is taken while ``keep`` is set still has its place. ``rewind`` goes back to the
    first of these: all that is in the queue is put out again, from there on. What is taken without
    ``keep`` gives its place back, so a vector is read for the last time that way.

    A payload can be taken as many cycles after it was put into an empty queue as
    :meth:`Queue.latency` says, and :attr:`REWIND_LATENCY` cycles after a ``rewind``; then one a
    cycle. What is put out comes from a register, in a deep queue from that of block RAM.

    Parameters
    ----------
    shape : shape-castable
        Shape of a payload.
    depth : :class:`int`
        Payloads that it holds, those that are kept included. At least 2.

    Members
    -------
    i : ``In(stream.Signature(shape))``
    o : ``Out(stream.Signature(shape))``
    keep : ``In(1)``
        Whether what is taken stays. After something did, it falls only once that was rewound.
    rewind : ``In(1)``
        Goes back. Only in a cycle in which nothing is taken; what is on offer is withdrawn.
    level : ``Out(range(depth + 1))``
        Payloads in it, those that are kept included.
    """

    REWIND_LATENCY = 2

    def __init__(self, shape, *, depth):
        _check_depth(depth)
        self.shape = shape
        self.depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "keep": In(1),
                "rewind": In(1),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.memory = memory = Memory(shape=self.shape, depth=self.depth, init=[])
        write = memory.write_port()
        waiting = Signal(range(self.depth + 1))  # to be read, behind what is on offer
        there, puts, reads, gives = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            there.eq(waiting != 0),
            self.i.ready.eq(self.level != self.depth),
            puts.eq(self.i.valid & self.i.ready),
            gives.eq(self.o.valid & self.o.ready & ~self.keep),
            write.data.eq(self.i.payload),
            write.en.eq(puts),
        ]
        free = ~self.o.valid | self.o.ready
        if self.depth > Queue.SHALLOW:
            read = memory.read_port()
            m.d.comb += [reads.eq(there & free), read.en.eq(reads), self.o.payload.eq(read.data)]
        else:
            # What comes in goes past the memory if nothing waits there.
            read = memory.read_port(domain="comb")
            head = Signal.like(self.o.payload)
            m.d.comb += [reads.eq((there | puts) & free), self.o.payload.eq(head)]
            with m.If(reads):
                m.d.sync += head.eq(Mux(there, read.data, self.i.payload))

        # Everything from the first place to the last is in the queue.
        first = Signal(range(self.depth))
        for place, moves in (write.addr, puts), (read.addr, reads), (first, gives):
            with m.If(moves):
                m.d.sync += place.eq(Mux(place == self.depth - 1, 0, place + 1))
        for count, less in (self.level, gives), (waiting, reads):
            with m.If(puts ^ less):
                m.d.sync += count.eq(count + Mux(puts, 1, -1))
        with m.If(reads):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.rewind):
            m.d.sync += [read.addr.eq(first), waiting.eq(self.level + puts), self.o.valid.eq(0)]

        return m


def _check_depth(depth):
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 2:
        raise TypeError(f"depth must be an integer of at least 2, not {depth!r}")


def delayed(m, value, *, cycles, name):
    """``value`` as it was ``cycles`` ago; the registers are added to module ``m``."""
    for n in range(1, cycles + 1):
        later = Signal.like(value, name=f"{name}_{n}")
        m.d.sync += later.eq(value)
        value = later
    return value
