"""Reads the entries of a segment."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory, WritePort
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.sparse.counts import Segment
from hdl.streams import Queue, delayed, tally

__all__ = ["Entry", "Fetch", "Word"]


class Entry(data.StructLayout):
    """An entry, taken apart.

    In memory, its lower ``delta_width`` bits are the delta and the others the code. A code other
    than 0 is a weight, which skips ``delta`` rows and takes the next one. Code 0 is an escape,
    which skips ``(delta + 1) << delta_width`` rows.

    Parameters
    ----------
    row_depth : :class:`int`
        Rows of an element.
    code_width : :class:`int`
        Bits in the widest code.
    """

    def __init__(self, row_depth, code_width):
        super().__init__({"skips": range(row_depth), "code": code_width, "escape": 1})


class Word(data.StructLayout):
    """The entries of a segment that lie side by side in memory, and their activation.

    The only word of an empty segment has an escape, which is its last entry. No other segment ends
    with an escape.

    Parameters
    ----------
    row_depth, code_width : :class:`int`
        As of :class:`Entry`.
    activation_width : :class:`int`
        Bits in an activation.
    """

    def __init__(self, row_depth, code_width, activation_width):
        super().__init__(
            {
                "entries": data.ArrayLayout(Entry(row_depth, code_width), 2),
                "both": 1,  # whether there is a second one
                "last": 1,  # whether the segment ends in this word
                "final": 1,  # whether the run does
                "bank": 1,
                "activation": signed(activation_width),
            }
        )


class Fetch(wiring.Component):
    """Reads the words of segments, one a cycle, without a gap between segments.

    A word appears :attr:`LATENCY` cycles after its segment was at the input. Words are read ahead
    only as far as there is room for them.

    Parameters
    ----------
    weight_depth : :class:`int`
        Entries in the memory. Even.
    entry_width : :class:`int`
        Bits in an entry.
    count_width, row_depth, code_width, activation_width : :class:`int`
        As of :class:`~hdl.sparse.counts.Segment` and :class:`Word`.

    Members
    -------
    delta_width : ``In(ArrayLayout(range(entry_width), 2))``
        Bits of an entry that are not its code, for each bank: so many at least that the code fits
        ``code_width``. To stand still from the first segment of the bank until the last word is put
        out.
    i : ``In(stream.Signature(Segment(...)))``
        A segment is taken with its last word.
    o : ``Out(stream.Signature(Word(...)))``
    load : ``Out``
        Write port of the memory: words of two entries, the first one lowest. Only while there is no
        segment.
    """

    LATENCY = 3
    # Words on their way, and the credit on its way back, make four at full rate.
    ROOM = 4
    # From so many words on, memory has one port, which is all that the large blocks of RAM have in
    # small FPGAs and elsewhere.
    ONE_PORT = 1 << 14

    def __init__(
        self, *, weight_depth, entry_width, count_width, row_depth, code_width, activation_width
    ):
        self.depth = weight_depth // 2
        self.entry_width = entry_width
        self.row_depth = row_depth
        self.code_width = code_width
        self.least_delta = max(1, entry_width - code_width)
        self.word = Word(row_depth, code_width, activation_width)
        super().__init__(
            {
                "delta_width": In(data.ArrayLayout(range(entry_width), 2)),
                "i": In(stream.Signature(Segment(weight_depth, count_width, activation_width))),
                "o": Out(stream.Signature(self.word)),
                "load": Out(
                    WritePort.Signature(addr_width=ceil_log2(self.depth), shape=2 * entry_width)
                ),
            }
        )

    def take_apart(self, m, raw, more, mask):
        """Entry whose bits in memory are ``raw``, its delta having ``least_delta + more`` bits.

        These are the bits of ``mask`` above the first ``least_delta``, and it has all if there is
        no entry.
        """
        entry = Signal(Entry(self.row_depth, self.code_width))
        low, high = raw[: self.least_delta], raw[self.least_delta :]
        delta = Cat(low, high & mask)
        steps = Signal.like(entry.skips)
        m.d.comb += [
            entry.code.eq(high >> more),
            entry.escape.eq((high & ~mask) == 0),
            steps.eq(delta + 1),
            entry.skips.eq(Mux(entry.escape, steps << self.least_delta << more, delta)),
        ]
        return entry

    def elaborate(self, platform):
        m = Module()

        m.submodules.memory = memory = Memory(shape=2 * self.entry_width, depth=self.depth, init=[])
        load = memory.write_port()
        read = memory.read_port()
        address = Signal.like(read.addr)
        m.d.comb += [load.data.eq(self.load.data), load.en.eq(self.load.en)]
        if self.depth < self.ONE_PORT:
            m.d.comb += [load.addr.eq(self.load.addr), read.addr.eq(address)]
        else:
            shared = Mux(self.load.en, self.load.addr, address)
            m.d.comb += [load.addr.eq(shared), read.addr.eq(shared), read.en.eq(~self.load.en)]
        m.submodules.words = words = Queue(self.word, depth=self.ROOM)

        # Words issued and not yet taken are counted against the room in the queue.
        go = Signal()
        issued = tally(m, go, self.o.valid & self.o.ready, most=self.ROOM, name="issued")
        m.d.comb += go.eq(self.i.valid & ~issued[-1])

        # Whether a word is the last one is known before it is its turn.
        segment = self.i.payload
        pairs = segment.count >> 1
        odd = segment.count[0] | segment.start[0]
        index = Signal(range(1 << len(pairs)))
        first = Signal(init=1)
        left = Signal(range((1 << len(pairs)) + 1))  # words from this one on, after the first
        ends = Signal()
        last = Mux(first, segment.single, ends)
        tags = Signal(
            data.StructLayout(
                {name: self.word[name].shape for name in ("both", "last", "final", "bank")}
                | {"activation": signed(len(segment.activation)), "upper": 1, "empty": 1}
            )
        )
        upper = first & segment.start[0]
        m.d.comb += [
            address.eq((segment.start >> 1) + index),
            tags.upper.eq(upper),
            tags.empty.eq(segment.count == 0),
            tags.both.eq(~(upper | tags.empty | (last & (segment.start[0] ^ segment.count[0])))),
            tags.last.eq(last),
            tags.final.eq(last & segment.final),
            tags.bank.eq(segment.bank),
            tags.activation.eq(segment.activation),
            self.i.ready.eq(go & last),
        ]
        with m.If(go):
            m.d.sync += [
                first.eq(last),
                index.eq(index + 1),
                left.eq(Mux(first, pairs - ~odd, left - 1)),
                ends.eq(Mux(first, pairs == 1 + ~odd, left == 2)),
            ]
        with m.If(self.i.ready):
            m.d.sync += index.eq(0)

        # Block RAM answers late in its cycle, so its output goes straight into a register.
        raw = Signal(data.ArrayLayout(self.entry_width, 2))
        m.d.sync += raw.eq(read.data)
        earlier_tags = delayed(m, tags, cycles=1, name="tags")
        raw_tags = delayed(m, earlier_tags, cycles=1, name="raw_tags")
        more = Signal(range(self.entry_width - self.least_delta))
        mask = Signal(self.entry_width - self.least_delta)
        upcoming = Signal.like(more)
        m.d.comb += upcoming.eq(self.delta_width[earlier_tags.bank] - self.least_delta)
        m.d.sync += more.eq(upcoming)
        m.d.sync += mask.eq(Cat(earlier_tags.empty | (n < upcoming) for n in range(len(mask))))
        m.d.comb += words.i.valid.eq(delayed(m, go, cycles=2, name="go"))
        for name in ("both", "last", "final", "bank", "activation"):
            m.d.comb += words.i.p[name].eq(raw_tags[name])
        for n, bits in enumerate((Mux(raw_tags.upper, raw[1], raw[0]), raw[1])):
            m.d.comb += words.i.p.entries[n].eq(self.take_apart(m, bits, more, mask))
        wiring.connect(m, words.o, wiring.flipped(self.o))

        return m
