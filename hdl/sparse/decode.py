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
    have been spent waiting. A term appears one cycle after the first word it comes from; there is
    no backpressure on terms. A word without entries takes a cycle that counts for nothing.

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

    LATENCY = 1

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

        # The word at hand is what is left of an earlier one, or else the one at the input.
        held = Signal(self.word)
        held_valid = Signal()
        here = Signal(self.word)
        m.d.comb += here.eq(Mux(held_valid, held, self.i.payload))
        goes = Signal()
        m.d.comb += goes.eq(held_valid | self.i.valid)
        m.d.comb += self.works.eq(goes & here.here.any())

        first = Mux(here.here[0], here.entries[0], here.entries[1])
        first = data.View(self.word["entries"].shape.elem_shape, first)
        # Its successor, in the same word or at the beginning of the next one.
        both = here.here.all()
        across = ~both & ~here.last & held_valid & self.i.valid
        second = Mux(both, here.entries[1], self.i.p.entries[0])
        second = data.View(self.word["entries"].shape.elem_shape, second)
        pair = Signal()
        m.d.comb += pair.eq(first.escape & (both | across))

        # A segment begins above the first row. The choice stands where it is not late.
        row = Signal.like(self.term.row)
        begins = Signal(init=1)
        reached = Signal.like(self.term.row)
        above = row | begins.replicate(len(row))
        m.d.comb += reached.eq(above + first.rows + Mux(pair, second.rows, 0))
        m.d.comb += self.gives.eq(self.works & ~(first.escape & ~(pair & ~second.escape)))
        m.d.sync += [
            self.valid.eq(self.gives),
            self.term.row.eq(reached),
            self.term.code.eq(Mux(first.escape, second.code, first.code)),
            self.term.activation.eq(here.activation),
            self.term.bank.eq(here.bank),
        ]

        # What remains: half of the word at hand, half of the next, or nothing.
        emptied = Signal()
        ends = Signal()
        into_next = Signal()
        m.d.comb += [
            into_next.eq(pair & ~both),
            emptied.eq(~both | pair),
            ends.eq(Mux(into_next, self.i.p.last & ~self.i.p.here[1], emptied & here.last)),
        ]
        final = Mux(into_next, self.i.p.final, here.final)
        m.d.comb += self.i.ready.eq(~held_valid | emptied)
        with m.If(goes):
            m.d.sync += [row.eq(reached), begins.eq(ends)]
            m.d.sync += self.finished.eq(self.finished ^ ((ends & final) << here.bank))
        with m.If(self.i.ready):
            m.d.sync += held.eq(self.i.payload)
        with m.If(~emptied | into_next):
            m.d.sync += held.here.eq(0b10)
        # Holding the next word makes the one after it visible.
        with m.If(~held_valid):
            m.d.sync += held_valid.eq(goes & ~emptied)
        with m.Elif(into_next):
            m.d.sync += held_valid.eq(self.i.p.here[1])
        with m.Elif(emptied):
            m.d.sync += held_valid.eq(self.i.valid)

        return m
