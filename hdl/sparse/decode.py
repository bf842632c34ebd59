"""Follows the relative rows of a segment."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.sparse.fetch import Word

__all__ = ["Decode", "Term"]


class Term(data.StructLayout):
    """What is to be multiplied, and where the product belongs.

    Parameters
    ----------
    row_depth : :class:`int`
        Rows of an element.
    code_width : :class:`int`
        Bits in the widest code.
    activation_width : :class:`int`
        Bits in an activation.
    """

    def __init__(self, row_depth, code_width, activation_width):
        super().__init__(
            {
                "row": range(row_depth),
                "code": code_width,
                "activation": signed(activation_width),
                "bank": 1,
            }
        )


class Decode(wiring.Component):
    """Turns words into terms, one a cycle.

    An escape is taken together with the entry behind it, and waits for that, so it costs no cycle
    as long as words come fast enough; one in front of another escape is taken alone. A term
    appears :attr:`LATENCY` cycles after the word it comes from, one a cycle, or a cycle less
    if an escape has waited for it; there is no backpressure on terms. A word without entries takes
    a cycle that counts for nothing.

    Parameters
    ----------
    row_depth, code_width, activation_width : :class:`int`
        As of :class:`~hdl.sparse.fetch.Word`.

    Members
    -------
    i : ``In(stream.Signature(Word(...)))``
    term : ``Out(Term(...))``
    valid : ``Out(1)``
        Whether there is a term.
    finished : ``Out(2)``
        For each bank, turns with the end of a run, in the cycle in which its last term is there.
    works : ``Out(1)``
        Whether entries are taken in this cycle.
    gives : ``Out(1)``
        Whether they give a term.
    """

    # Into the line of entries, and out of it.
    LATENCY = 2
    # From the cycle in which the last entry of a run is taken to ``finished``.
    END_LATENCY = 2

    def __init__(self, *, row_depth, code_width, activation_width):
        self.word = Word(row_depth, code_width, activation_width)
        super().__init__(
            {
                "i": In(stream.Signature(self.word)),
                "term": Out(Term(row_depth, code_width, activation_width)),
                "valid": Out(1),
                "finished": Out(2),
                "works": Out(1),
                "gives": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # Next is the entry at the head, if there is one, and behind it those of a word: both, or
        # the upper one if the lower one is gone, or none. Then comes the word at the input. What is
        # decided on has registers of its own.
        word = self.i.payload
        tag = data.StructLayout({"activation": self.term.activation.shape(), "final": 1, "bank": 1})
        comes_tag = Signal(tag)
        m.d.comb += [comes_tag[name].eq(word[name]) for name in tag.members]
        slot = data.StructLayout({"entry": self.word["entries"].shape.elem_shape, "last": 1})
        head = Signal(slot)
        there = Signal()
        weight = Signal()  # whether the head is a weight
        escape = Signal()  # or an escape; what stands for an empty segment is neither
        head_tag = Signal(tag)
        behind = Signal.like(word.entries)
        behind_tag, behind_last = Signal(tag), Signal()
        some, both, gone = Signal(), Signal(), Signal()

        def entry(number, of_word):
            """Of the word behind the head, or of the one that comes in."""
            bits = Mux(of_word, behind.as_value(), word.entries.as_value())
            return bits.word_select(number, len(bits) // 2)

        # A weight that belongs to an escape may just be coming in; until then the escape waits. One
        # in front of another one goes alone, but only once that is in line, which is known early.
        front = data.View(slot["entry"].shape, Mux(gone, behind[1], behind[0]))
        second = Signal(slot)
        pair, waits = Signal(), Signal()
        m.d.comb += [
            second.entry.eq(Mux(some, front, word.entries[0])),
            second.last.eq(Mux(some, behind_last & ~both, self.i.valid & word.last & ~word.both)),
            pair.eq(escape & ~(some & front.escape)),
            waits.eq(escape & ~(some | (self.i.valid & ~word.entries[0].escape))),
            self.works.eq((weight | escape) & ~waits),
            self.gives.eq((weight | pair) & ~waits),
        ]

        # A segment begins above the first row.
        row = Signal.like(self.term.row, init=-1)
        reached = Signal.like(self.term.row)
        # What an escape skips is a multiple of more rows than a weight can skip. One adder with a
        # carry does it all.
        skipped = head.entry.skips | Mux(pair, second.entry.skips, 0)
        m.d.comb += reached.eq((Cat(1, row) + Cat(weight | pair, skipped)) >> 1)
        m.d.sync += [
            self.valid.eq(self.gives),
            self.term.row.eq(reached),
            self.term.code.eq(Mux(escape, second.entry.code, head.entry.code)),
            self.term.activation.eq(head_tag.activation),
            self.term.bank.eq(head_tag.bank),
        ]
        # An escape that waits does not end a segment, nor does one that it may wait for.
        ends = there & Mux(pair, second.last, head.last)
        with m.If(ends):
            m.d.sync += row.eq(-1)
        with m.Elif(there & ~waits):
            m.d.sync += row.eq(reached)
        # An escape need not be in the last word of its segment. The end is news for units far away.
        final = Mux(pair, Mux(some, behind_tag.final, word.final), head_tag.final)
        finishes = Signal(2)
        m.d.sync += finishes.eq((ends & final) << head_tag.bank)
        m.d.sync += self.finished.eq(self.finished ^ finishes)

        # A word comes in if no more than one entry remains. The next head is the first entry that
        # does, or else the first one of that word which is not taken already.
        m.d.comb += self.i.ready.eq(~both | (escape & ~behind[0].escape))
        remains, upper = Signal(), Signal()
        upcoming = Signal(slot)
        exists = Signal()
        m.d.comb += [
            remains.eq(Mux(pair, both, some)),
            upper.eq((pair & (both | ~some)) | (remains & gone)),
            upcoming.entry.eq(entry(upper, remains)),
            upcoming.last.eq(
                Mux(remains, behind_last, word.last) & (upper | ~Mux(remains, both, word.both))
            ),
            exists.eq(remains | (self.i.valid & (~upper | word.both))),
        ]
        with m.If(~waits):
            m.d.sync += [
                head.eq(upcoming),
                weight.eq(exists & ~upcoming.entry.escape),
                escape.eq(exists & upcoming.entry.escape & ~upcoming.last),
                head_tag.eq(Mux(remains, behind_tag, comes_tag)),
                there.eq(exists),
            ]
        m.d.sync += gone.eq(1)
        with m.If(self.i.ready):
            m.d.sync += [
                behind.eq(word.entries),
                behind_tag.eq(comes_tag),
                behind_last.eq(word.last),
                some.eq(self.i.valid & (remains | waits | (word.both & ~upper))),
                both.eq(self.i.valid & (remains | waits) & word.both),
                gone.eq(~(remains | waits)),
            ]
        with m.Else():
            m.d.sync += both.eq(0)

        return m
