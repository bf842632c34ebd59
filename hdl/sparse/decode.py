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

    An escape is taken together with the entry behind it, so it costs no cycle as long as words
    come fast enough; two escapes in a row are taken together and give no term. Only an escape
    whose successor has not been fetched yet is taken alone, which delays nothing: the cycle would
    have been spent waiting. A term appears :attr:`LATENCY` cycles after the first word it comes
    from, one a cycle; there is no backpressure on terms. A word without entries takes a cycle that
    counts for nothing.

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
    END_LATENCY = 1

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

        # The next three entries: one that an earlier word has left, or none, and those of the word
        # behind it. What is decided on has registers of its own.
        slot = data.StructLayout({"entry": self.word["entries"].shape.elem_shape, "last": 1})
        slots = Signal(data.ArrayLayout(slot, 3))
        there = Signal(3)
        weight = Signal()  # whether there is a first entry, and it is a weight
        escape = Signal()  # or an escape; what stands for an empty segment is neither
        first, second = slots[0].entry, slots[1].entry
        tag = data.StructLayout({"activation": self.term.activation.shape(), "final": 1, "bank": 1})
        at_hand, behind = Signal(tag), Signal(tag)  # of the first entry, and of the last one

        pair = Signal()
        m.d.comb += [
            pair.eq(escape & there[1]),
            self.works.eq(weight | escape),
            self.gives.eq(weight | (pair & ~second.escape)),
        ]

        # A segment begins above the first row.
        row = Signal.like(self.term.row)
        begins = Signal(init=1)
        reached = Signal.like(self.term.row)
        above = row | begins.replicate(len(row))
        m.d.comb += reached.eq(above + first.rows + Mux(pair, second.rows, 0))
        m.d.sync += [
            self.valid.eq(self.gives),
            self.term.row.eq(reached),
            self.term.code.eq(Mux(escape, second.code, first.code)),
            self.term.activation.eq(at_hand.activation),
            self.term.bank.eq(at_hand.bank),
        ]
        ends = Mux(pair, slots[1].last, slots[0].last)
        with m.If(there[0]):
            m.d.sync += [row.eq(reached), begins.eq(ends)]
            # An escape need not be in the last word of its segment.
            done = ends & Mux(pair, behind.final, at_hand.final)
            m.d.sync += self.finished.eq(self.finished ^ (done << at_hand.bank))

        # A word comes in behind what remains, if that is one entry at the most.
        remains = there[2] | (there[1] & ~escape)
        m.d.comb += self.i.ready.eq(~there[2] | escape)
        word = self.i.payload
        both = self.i.valid & word.both
        comes_tag = Signal(tag)
        m.d.comb += [comes_tag[name].eq(word[name]) for name in tag.members]
        comes = [Signal(slot, name=f"comes_{n}") for n in range(2)]
        for n, last in enumerate((word.last & ~word.both, word.last)):
            m.d.comb += [comes[n].entry.eq(word.entries[n]), comes[n].last.eq(last)]

        upcoming = Signal(slot)
        exists = Signal()
        left = Mux(there[2] & escape, slots[2], slots[1])
        m.d.comb += [
            upcoming.eq(Mux(remains, left, comes[0])),
            exists.eq(remains | self.i.valid),
        ]
        m.d.sync += [
            slots[0].eq(upcoming),
            weight.eq(exists & ~upcoming.entry.escape),
            escape.eq(exists & upcoming.entry.escape & ~upcoming.last),
            at_hand.eq(Mux(remains, behind, comes_tag)),
            there[0].eq(exists),
        ]
        with m.If(~self.i.ready):
            m.d.sync += [slots[1].eq(slots[2]), there[1:].eq(0b01)]
        with m.Else():
            m.d.sync += [
                slots[1].eq(Mux(remains, comes[0], comes[1])),
                slots[2].eq(comes[1]),
                there[1].eq(Mux(remains, self.i.valid, both)),
                there[2].eq(remains & both),
                behind.eq(comes_tag),
            ]

        return m
