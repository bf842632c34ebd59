"""Queues, and what else streams need everywhere."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.ram import Ram

__all__ = ["Queue", "VectorQueue", "delayed", "tally"]


class Queue(wiring.Component):
    """First in, first out.

    A payload can be taken :meth:`latency` cycles after it was put into an empty queue. A shallow
    queue is in LUT RAM or flip-flops; its ``i.ready`` and ``o.valid`` are flip-flops, and do not
    wait for each other. A deep one is in block RAM.

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

    SHALLOW = 8

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

        m.submodules.memory = memory = Memory(shape=self.shape, depth=self.depth, init=[])
        write = memory.write_port()
        puts, reads, takes = Signal(), Signal(), Signal()
        m.d.comb += [
            puts.eq(self.i.valid & self.i.ready),
            takes.eq(self.o.valid & self.o.ready),
            write.data.eq(self.i.payload),
            write.en.eq(puts),
        ]
        if self.depth <= self.SHALLOW:
            read = memory.read_port(domain="comb")
            inside = tally(m, puts, takes, most=self.depth, name="inside")
            room = Signal(init=1)
            m.d.comb += [
                self.i.ready.eq(room),
                self.o.valid.eq(inside[0]),
                reads.eq(takes),
                self.level.eq(sum(inside)),
            ]
            with m.If(puts ^ takes):
                m.d.sync += room.eq(takes | ~inside[-2])
        else:
            # What is on offer has left memory.
            read = memory.read_port()
            m.d.comb += [
                self.i.ready.eq(self.level != self.depth),
                reads.eq((self.level > self.o.valid) & (~self.o.valid | takes)),
                read.en.eq(reads),
            ]
            m.d.sync += self.o.valid.eq(reads | (self.o.valid & ~takes))
            with m.If(puts ^ takes):
                m.d.sync += self.level.eq(self.level + Mux(puts, 1, -1))

        m.d.comb += self.o.payload.eq(read.data)
        _advance(m, write.addr, puts, self.depth)
        _advance(m, read.addr, reads, self.depth)

        return m


class VectorQueue(wiring.Component):
    """First in, first out; but what was taken can stay, to be read once more.

    A payload that is taken while ``keep`` is set still has its place. ``rewind`` goes back to the
    first of these: all that is in the queue is put out again, from there on. What is taken without
    ``keep`` gives its place back, so a vector is read for the last time that way.

    A payload can be taken :attr:`LATENCY` cycles after it was put into an empty queue, and
    :meth:`rewind_latency` cycles after a ``rewind``; then one a cycle, as long as what is put in
    comes in each cycle too. After a pause, it may take as long as after a ``rewind``.

    A queue of more than :attr:`FRONT` payloads is in block RAM, which takes two cycles to answer,
    so a short queue in front of the output has what comes next.

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

    LATENCY = 1
    FRONT = 8

    @classmethod
    def rewind_latency(cls, depth):
        """Cycles from ``rewind`` to the payload that it goes back to, in a queue of ``depth``."""
        return 1 if depth <= cls.FRONT else 4

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

        write_address, read_address = Signal(range(self.depth)), Signal(range(self.depth))
        room = Signal(init=1)
        waiting = Signal(range(self.depth + 1))  # to be read from memory
        some = Signal()  # whether any are
        puts, reads, gives = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(room),
            puts.eq(self.i.valid & room),
            gives.eq(self.o.valid & self.o.ready & ~self.keep),
        ]
        if self.depth <= self.FRONT:
            m.submodules.memory = memory = Memory(shape=self.shape, depth=self.depth, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [read.addr.eq(read_address), self.o.payload.eq(read.data)]
            m.d.comb += [self.o.valid.eq(some), reads.eq(self.o.valid & self.o.ready)]
        else:
            m.submodules.memory = memory = Ram(self.shape, depth=self.depth)
            write = memory.load
            m.d.comb += memory.address.eq(read_address)
            self._read_ahead(m, memory.o, some, puts, reads)
        m.d.comb += [
            write.addr.eq(write_address),
            write.data.eq(self.i.payload),
            write.en.eq(puts),
        ]

        # Everything from the first place to the last is in the queue.
        first = Signal(range(self.depth))
        for place, moves in (write_address, puts), (read_address, reads), (first, gives):
            _advance(m, place, moves, self.depth)
        for count, less in (self.level, gives), (waiting, reads):
            with m.If(puts ^ less):
                m.d.sync += count.eq(count + Mux(puts, 1, -1))
        with m.If(puts ^ gives):
            m.d.sync += room.eq(gives | (self.level != self.depth - 1))
        with m.If(puts ^ reads):
            m.d.sync += some.eq(puts | (waiting != 1))
        with m.If(self.rewind):
            m.d.sync += [read_address.eq(first), waiting.eq(self.level + puts)]
            m.d.sync += some.eq(puts | (self.level != 0))

        return m

    def _read_ahead(self, m, data, some, puts, reads):
        """Read from block RAM what the front has room for. What is put in goes past it if nothing
        is on its way."""
        m.submodules.front = front = ResetInserter(self.rewind)(Queue(self.shape, depth=self.FRONT))
        wiring.connect(m, front.o, wiring.flipped(self.o))
        answered, there, passes = Signal(), Signal(), Signal()
        taken = self.o.valid & self.o.ready
        ahead = tally(m, reads, taken, most=self.FRONT, name="ahead")  # read and not yet taken
        m.d.comb += [
            passes.eq(puts & ~(some | answered | there | ahead[-1])),
            reads.eq(passes | (some & ~ahead[-1])),
        ]
        m.d.sync += [answered.eq(reads & some), there.eq(answered)]
        m.d.comb += [
            front.i.payload.eq(Mux(there, data, self.i.payload)),
            front.i.valid.eq(there | passes),
        ]
        with m.If(self.rewind):
            m.d.sync += [answered.eq(0), there.eq(0), ahead.eq(0)]


def _check_depth(depth):
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 2:
        raise TypeError(f"depth must be an integer of at least 2, not {depth!r}")


def _advance(m, place, moves, depth):
    """Go on to the next of ``depth`` places, if ``moves``; behind the last one comes the first."""
    with m.If(moves):
        m.d.sync += place.eq(Mux(place == depth - 1, 0, place + 1))


def tally(m, more, less, *, most, name):
    """How many times ``more`` was set beyond ``less``, as so many ones, which needs no adder.

    There are at most ``most``; the registers are added to module ``m``.
    """
    ones = Signal(most, name=name)
    with m.If(more ^ less):
        m.d.sync += ones.eq(Mux(more, Cat(1, ones), ones >> 1))
    return ones


def delayed(m, value, *, cycles, name):
    """``value`` as it was ``cycles`` ago; the registers are added to module ``m``."""
    for n in range(1, cycles + 1):
        later = Signal.like(value, name=f"{name}_{n}")
        m.d.sync += later.eq(value)
        value = later
    return value
