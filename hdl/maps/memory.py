"""Keeps feature maps: in block RAM, or in memory outside. Both have the same ports for maps."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.maps.walk import Place
from hdl.ram import Ram
from hdl.streams import Queue, VectorQueue, delayed, tally

__all__ = ["Command", "External", "Item", "OnChip", "Write"]


class Item(data.StructLayout):
    """A word that was read, and what its place says of it.

    Parameters
    ----------
    shape : shape-castable
        Shape of a word.
    """

    def __init__(self, shape):
        super().__init__(
            {
                "word": shape,  # 0 unless it is inside
                "inside": 1,
                "ends_window": 1,
                "ends_route": 1,
            }
        )


class Write(data.StructLayout):
    """A word, and where to write it.

    Parameters
    ----------
    shape : shape-castable
        Shape of a word.
    address_width : :class:`int`
        Bits of an address.
    """

    def __init__(self, shape, address_width):
        super().__init__({"address": address_width, "word": shape})


class Command(data.StructLayout):
    """What memory outside is to do.

    Parameters
    ----------
    shape, address_width
        As of :class:`Write`.
    """

    def __init__(self, shape, address_width):
        super().__init__({"write": 1, "address": address_width, "word": shape})


def _ports(shape, address_width):
    """Members that every memory has."""
    return {
        "read": In(stream.Signature(Place(address_width))),
        "data": Out(stream.Signature(Item(shape))),
        "write": In(stream.Signature(Write(shape, address_width))),
        "idle": Out(1),
    }


class OnChip(wiring.Component):
    """Block RAM.

    What is read is on offer :attr:`LATENCY` cycles after its place is taken; one place and one
    write are taken a cycle. A place that is taken after a word was written has that word; in the
    same cycle it can be anything.

    Parameters
    ----------
    shape : shape-castable
        Shape of a word.
    depth : :class:`int`
        Words, as of :class:`~hdl.ram.Ram`.

    Attributes
    ----------
    address_width : :class:`int`
        Bits of an address.

    Members
    -------
    read : ``In(stream.Signature(Place(address_width)))``
        Where to read; for places that are not inside, nothing is.
    data : ``Out(stream.Signature(Item(shape)))``
        What is there, in the same order.
    write : ``In(stream.Signature(Write(shape, address_width)))``
        Always taken.
    idle : ``Out(1)``
        Whether all that was read has been taken.
    """

    LATENCY = Ram.LATENCY + 1
    # Places until what was read at the first of them is taken, if it is at once.
    _AHEAD = LATENCY + 1

    def __init__(self, shape, *, depth):
        Ram.check_depth(depth)
        self.shape = shape
        self.depth = depth
        self.address_width = ceil_log2(depth)
        super().__init__(_ports(shape, self.address_width))

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = Ram(self.shape, depth=self.depth)
        m.submodules.queue = queue = Queue(Item(self.shape), depth=self._AHEAD)
        wiring.connect(m, queue.o, wiring.flipped(self.data))

        # There is room in the queue for all that is on its way.
        asked = self.read.valid & self.read.ready
        taken = self.data.valid & self.data.ready
        ahead = tally(m, asked, taken, most=self._AHEAD, name="ahead")
        m.d.comb += [
            self.read.ready.eq(~ahead[-1]),
            self.idle.eq(~ahead[0]),
            ram.address.eq(self.read.p.address),
            self.write.ready.eq(1),
            ram.load.addr.eq(self.write.p.address),
            ram.load.data.eq(self.write.p.word),
            ram.load.en.eq(self.write.valid),
        ]
        place = delayed(m, self.read.p, cycles=Ram.LATENCY, name="place")
        m.d.comb += queue.i.valid.eq(delayed(m, asked, cycles=Ram.LATENCY, name="asked"))
        _tell(m, queue.i.p, place, ram.o)
        return m


class External(wiring.Component):
    """Memory outside, behind a stream of commands and one of answers.

    Commands are to take effect in their order, and reads are to be answered in it, with any
    latency. A place that is not inside makes no command, but waits for its turn to be told. A
    command is on offer a cycle after its place is taken, and what was read a cycle after the
    answer; after a pause up to :meth:`VectorQueue.rewind_latency` cycles. One place is taken a
    cycle, as long as fewer than ``reads`` are on their way.

    Reading goes on as long as there is something to read, and so does writing, for the memory can
    lose time with each change. If both wait, they take turns after :attr:`TURN` commands each,
    so that neither waits for long. A change takes a cycle.

    Parameters
    ----------
    shape : shape-castable
        Shape of a word.
    address_width : :class:`int`
        Bits of an address.
    reads : :class:`int`
        Places that can be on their way, from when they are taken until what was read is. There is
        room for all of the answers. At least 2.

    Members
    -------
    read, data, write
        As of :class:`OnChip`, but a write can have to wait.
    idle : ``Out(1)``
        Whether all that was read has been taken, and there is no command on offer.
    command : ``Out(stream.Signature(Command(shape, address_width)))``
    answer : ``In(stream.Signature(shape))``
        Taken at once, for there is room for each that was asked for.
    """

    TURN = 8

    def __init__(self, shape, *, address_width, reads):
        if not isinstance(reads, int) or isinstance(reads, bool) or reads < 2:
            raise TypeError(f"reads must be an integer of at least 2, not {reads!r}")
        self.shape = shape
        self.address_width = address_width
        self.reads = reads
        super().__init__(
            {
                **_ports(shape, address_width),
                "command": Out(stream.Signature(Command(shape, address_width))),
                "answer": In(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        told = data.StructLayout(dict.fromkeys(_TOLD, 1))
        m.submodules.places = places = VectorQueue(told, depth=self.reads)
        m.submodules.answers = answers = VectorQueue(self.shape, depth=self.reads)
        command = self.command

        # Of those that are ready, which come from registers, one is by turns.
        writing, spent = Signal(), Signal()
        room, taken = Signal(), Signal()
        m.d.comb += [
            room.eq(~command.valid | command.ready),
            self.read.ready.eq(~writing & places.i.ready & room),
            self.write.ready.eq(writing & room),
            *(places.i.p[key].eq(self.read.p[key]) for key in _TOLD),
            places.i.valid.eq(self.read.valid & ~writing & room),
        ]
        reads, writes = self.read.valid & places.i.ready, self.write.valid
        own, other = Mux(writing, writes, reads), Mux(writing, reads, writes)
        done = Signal(range(self.TURN))
        m.d.comb += taken.eq(own & room)
        with m.If(other & (~own | (taken & spent))):
            m.d.sync += [writing.eq(~writing), done.eq(0), spent.eq(0)]
        with m.Elif(taken & other):
            m.d.sync += [done.eq(done + 1), spent.eq(done == self.TURN - 2)]

        with m.If(room):
            m.d.sync += [
                command.valid.eq(Mux(writing, writes, reads & self.read.p.inside)),
                command.p.write.eq(writing),
                command.p.address.eq(Mux(writing, self.write.p.address, self.read.p.address)),
                command.p.word.eq(self.write.p.word),
            ]

        # A place leaves together with its answer, so that there is room for the one if there is for
        # the other.
        wiring.connect(m, wiring.flipped(self.answer), answers.i)
        there = ~places.o.p.inside | answers.o.valid
        m.d.comb += [
            self.data.valid.eq(places.o.valid & there),
            places.o.ready.eq(self.data.ready & there),
            answers.o.ready.eq(self.data.ready & places.o.valid & places.o.p.inside),
            self.idle.eq((places.level == 0) & ~command.valid),
        ]
        _tell(m, self.data.p, places.o.p, answers.o.payload)
        return m


def _tell(m, item, place, word):
    """Let ``item`` be a word as it is at a place."""
    m.d.comb += [getattr(item, key).eq(getattr(place, key)) for key in _TOLD]
    m.d.comb += item.word.eq(Mux(place.inside, word, 0))


_TOLD = ("inside", "ends_window", "ends_route")
