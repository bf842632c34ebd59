"""Turns finished sums into activations."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import WritePort
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.fixed import Requantise
from hdl.ram import Ram
from hdl.sparse.element import Element
from hdl.sparse.run import Origin, begin
from hdl.streams import delayed

__all__ = ["BIAS_WIDTH", "Drain", "Scaling"]

BIAS_WIDTH = 32


class Scaling(data.StructLayout):
    """How the sums of a layer become activations.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`
    """

    def __init__(self, configuration):
        c = configuration
        super().__init__(
            {
                "rows": range(c.row_depth + 1),  # of each element
                "split": 1,  # whether the ways have columns, and not rows, of their own
                "shift": range(c.accumulator_width),
                "low": signed(c.activation_width),
                "high": signed(c.activation_width),
            }
        )


class Drain(wiring.Component):
    """Reads the accumulators of all elements and puts out blocks of activations.

    Row 0 of all elements comes first, then row 1, and so on; within a row, a block has the sums of
    ``scan_width`` neighbouring elements. If the ways are split, elements at the same place in
    their ways have partial sums of the same rows, which are added up. Biases are stored in the
    order of the blocks, layer after layer. A block is put out a cycle, from :attr:`LATENCY` cycles
    after ``start`` on; there is no backpressure.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`

    Members
    -------
    start : ``In(1)``
        Begins to drain a layer. Only while not ``busy``.
    origin : ``In(Origin)``
        Which layer's biases to add, given the layer before. With ``start``.
    scaling : ``In(Scaling(configuration))``
        Of the layer to drain. Sampled with ``start``.
    reading : ``Out(1)``
        Whether the elements are yet to be asked for rows other than the one at hand.
    read : ``Out(1)``
        Asks the elements for ``row``.
    row : ``Out(range(row_depth))``
    drained : ``In(ArrayLayout(ArrayLayout(signed(accumulator_width), scan_width), ways))``
        The sums of the first group of each way, :attr:`READ_LATENCY` cycles after ``read``; in the
        next cycles those of the next groups, and behind the last ones, of the next way.
    o : ``Out(ArrayLayout(signed(activation_width), scan_width))``
    valid : ``Out(1)``
        Whether there is a block.
    ends : ``Out(1)``
        Whether it is the last one of the layer.
    busy : ``Out(1)``
        Whether blocks are yet to be put out.
    load : ``Out``
        Write port of the biases: words of ``scan_width``, the first element lowest.
    """

    # A register leads to the elements.
    READ_LATENCY = 1 + Element.DRAIN_LATENCY

    # From ``start`` to the first block: to the first slot, to the sums, to the result.
    LATENCY = 1 + READ_LATENCY + Requantise.LATENCY

    def __init__(self, configuration):
        self.configuration = c = configuration
        self.bias_words = c.bias_depth // c.scan_width
        self._sums = data.ArrayLayout(signed(c.accumulator_width), c.scan_width)
        super().__init__(
            {
                "start": In(1),
                "origin": In(Origin),
                "scaling": In(Scaling(c)),
                "reading": Out(1),
                "read": Out(1),
                "row": Out(range(c.row_depth)),
                "drained": In(data.ArrayLayout(self._sums, c.ways)),
                "o": Out(data.ArrayLayout(signed(c.activation_width), c.scan_width)),
                "valid": Out(1),
                "ends": Out(1),
                "busy": Out(1),
                "load": Out(
                    WritePort.Signature(
                        addr_width=ceil_log2(self.bias_words), shape=c.scan_width * BIAS_WIDTH
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.configuration

        # A slot a cycle: row by row, in each row group by group.
        latency = self.LATENCY
        scaling = Signal(Scaling(c))
        active = Signal()
        group = Signal(range(c.groups))
        left = Signal.like(scaling.rows)  # rows from this one on
        last_row = Signal()
        row_ends = group == Mux(scaling.split, c.groups // c.ways, c.groups) - 1
        last = row_ends & last_row
        with m.If(self.start):
            # The group is back at 0 since the end of the layer before.
            m.d.sync += [scaling.eq(self.scaling), active.eq(1), self.row.eq(0)]
            m.d.sync += [left.eq(self.scaling.rows), last_row.eq(self.scaling.rows == 1)]
        with m.Elif(active):
            m.d.sync += [group.eq(Mux(row_ends, 0, group + 1)), active.eq(~last)]
            with m.If(row_ends):
                m.d.sync += [self.row.eq(self.row + 1), left.eq(left - 1), last_row.eq(left == 2)]
        m.d.comb += self.read.eq(active & (group == 0))
        m.d.comb += self.reading.eq(active & ~last_row)

        # Slots on their way, the youngest first. Whether there are any decides whether runs start
        # and finish, so it comes from a register.
        stages = [active]
        for n in range(1, latency):
            stages.append(delayed(m, stages[-1], cycles=1, name=f"stage_{n}"))
        m.d.sync += self.busy.eq(self.start | Cat(stages[:-1]).any())
        m.d.comb += self.valid.eq(stages[-1])
        m.d.comb += self.ends.eq(delayed(m, last, cycles=latency - 1, name="last"))

        # Without a split, the chain of one way goes on into that of the next.
        sums = Signal(self._sums)
        for n in range(c.scan_width):
            others = sum(self.drained[way][n] for way in range(1, c.ways))
            m.d.comb += sums[n].eq(self.drained[0][n] + Mux(scaling.split, others, 0))
        # A bias is read before its sum is chosen.
        ready = stages[latency - Requantise.LATENCY - 3]

        m.submodules.biases = biases = Ram(
            data.ArrayLayout(signed(BIAS_WIDTH), c.scan_width), depth=max(2, self.bias_words)
        )
        m.d.comb += [
            biases.load.addr.eq(self.load.addr),
            biases.load.data.eq(self.load.data),
            biases.load.en.eq(self.load.en),
        ]
        address = Signal.like(biases.address)
        m.d.comb += biases.address.eq(address)
        with m.If(ready):
            m.d.sync += address.eq(address + 1)
        origin = Mux(self.start, self.origin, Origin.NONE)
        begin(m, origin, address, name="first_address", stages=c.stages)

        for n in range(c.scan_width):
            m.submodules[f"requantise_{n}"] = requantise = Requantise(
                width=c.accumulator_width,
                bias_width=min(BIAS_WIDTH, c.accumulator_width),
                result_width=c.activation_width,
            )
            m.d.comb += [
                requantise.value.eq(sums[n]),
                requantise.bias.eq(biases.o[n]),
                requantise.shift.eq(scaling.shift),
                requantise.low.eq(scaling.low),
                requantise.high.eq(scaling.high),
                self.o[n].eq(requantise.o),
            ]

        return m
