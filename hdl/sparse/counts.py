"""Finds an element's share of a column."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory, WritePort
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.sparse.run import Origin, begin
from hdl.sparse.scan import Step
from hdl.streams import delayed

__all__ = ["Counts", "Segment"]


class Segment(data.StructLayout):
    """An element's share of a column: consecutive entries, all for the same activation.

    Parameters
    ----------
    weight_depth : :class:`int`
        Entries in an element's memory.
    count_width : :class:`int`
        Bits in the number of entries.
    activation_width : :class:`int`
        Bits in an activation.
    """

    def __init__(self, weight_depth, count_width, activation_width):
        super().__init__(
            {
                "start": range(weight_depth),
                "count": count_width,
                "activation": signed(activation_width),
                "single": 1,  # whether one word, which is two places in memory, has all of them
                "final": 1,  # last one of a run
                "bank": 1,
            }
        )


class Counts(wiring.Component):
    """Turns steps into segments, by the number of entries in each column.

    Layers lie one after another in the memories, in the order in which they run, and so do the
    columns of a layer. Since every column is passed, told or not, adding up the counts gives the
    start of each; neither pointers nor bases are stored. A column without entries gives no
    segment, so it costs an element nothing; only the last step of a run always gives one, which
    may be empty. A segment appears :attr:`LATENCY` cycles after its step, one a cycle; there is no
    backpressure.

    Parameters
    ----------
    scan_width : :class:`int`
        Columns in a block; their counts are one word.
    activation_width : :class:`int`
        Bits in an activation.
    count_width : :class:`int`
        Bits in a count.
    column_depth : :class:`int`
        Counts that are stored.
    weight_depth : :class:`int`
        Entries in the element's memory.
    stages : :class:`bool`
        Whether programs have several; see :class:`~hdl.sparse.run.Origin`.

    Members
    -------
    origin : ``In(Origin)``
        Where the entries of the run are whose first step comes next. Only between two runs, in a
        cycle without a step.
    step : ``In(Step(scan_width, activation_width, column_depth // scan_width))``
    valid : ``In(1)``
        Whether there is a step.
    segment : ``Out(Segment(weight_depth, count_width, activation_width))``
    segment_valid : ``Out(1)``
    load : ``Out``
        Write port of the memory: words of ``scan_width`` counts, the first column lowest.
    """

    LATENCY = 3

    def __init__(
        self, *, scan_width, activation_width, count_width, column_depth, weight_depth, stages
    ):
        self.scan_width = scan_width
        self.stages = stages
        self.weight_depth = weight_depth
        self.count_width = count_width
        self.depth = column_depth // scan_width
        super().__init__(
            {
                "origin": In(Origin),
                "step": In(Step(scan_width, activation_width, self.depth)),
                "valid": In(1),
                "segment": Out(Segment(weight_depth, count_width, activation_width)),
                "segment_valid": Out(1),
                "load": Out(
                    WritePort.Signature(
                        addr_width=ceil_log2(self.depth), shape=scan_width * count_width
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.memory = memory = Memory(
            shape=self.scan_width * self.count_width, depth=self.depth, init=[]
        )
        load = memory.write_port()
        read = memory.read_port()
        m.d.comb += [load.addr.eq(self.load.addr), load.data.eq(self.load.data)]
        m.d.comb += load.en.eq(self.load.en)

        # Block RAM answers late in its cycle, so its output goes straight into a register.
        word = Signal(data.ArrayLayout(self.count_width, self.scan_width))
        m.d.comb += read.addr.eq(self.step.block)
        m.d.sync += word.eq(read.data)

        valid = delayed(m, self.valid, cycles=2, name="valid")
        earlier_step = delayed(m, self.step, cycles=1, name="earlier_step")
        step = delayed(m, earlier_step, cycles=1, name="step")
        ahead = Signal(range(self.weight_depth))
        total = Signal(range(self.weight_depth))
        counts_ahead, counts_total = self._add_up(word, step.lane)
        count = Mux(step.nonzero, word[step.lane], 0)
        m.d.sync += [
            ahead.eq(counts_ahead),
            total.eq(Mux(valid & step.done, counts_total, 0)),
            self.segment.count.eq(count),
            self.segment.activation.eq(earlier_step.activation),
            self.segment.final.eq(step.final),
            self.segment.bank.eq(step.bank),
            self.segment_valid.eq(valid & (step.final | (count != 0))),
        ]

        base = Signal(range(self.weight_depth))
        m.d.sync += base.eq(base + total)
        m.d.comb += self.segment.start.eq(base + ahead)
        one = Signal()
        two = Signal()
        m.d.sync += [one.eq(count < 2), two.eq(count == 2)]
        m.d.comb += self.segment.single.eq(one | (two & ~(base[0] ^ ahead[0])))

        # By now the base is behind the last column of the run before.
        origin = delayed(m, self.origin, cycles=self.LATENCY, name="origin")
        begin(m, origin, base, name="first_base", stages=self.stages)

        return m

    def _add_up(self, word, lane):
        """Sum of the counts before ``lane``, and of all.

        A tree of sums has both: for each bit of the lane that is 1 it has the sum of the lanes that
        differ from it in this bit first.
        """
        ahead = Const(0)
        sums = [word[n] for n in range(self.scan_width)]
        for n in range(len(lane)):
            sums += [Const(0)] * (len(sums) % 2)
            width = self.count_width + n
            firsts = Cat(Const(0, width) | first for first in sums[::2])
            ahead = ahead + Mux(lane[n], firsts.word_select(lane[n + 1 :], width), 0)
            sums = [low + high for low, high in zip(sums[::2], sums[1::2], strict=True)]
        return ahead, sums[0]
