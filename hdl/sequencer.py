"""Runs the layers of a network one after another."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory, WritePort
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.sparse.drain import Scaling
from hdl.sparse.element import COUNTERS
from hdl.sparse.engine import Layer

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Runs the program once for each vector of input.

    A vector begins as soon as the input offers its first block. The next layer starts in the
    cycle in which the one before it is quiet, and the next vector in that of the last layer. After
    a reset, counters and both banks of accumulators are cleared first, which takes
    ``layer_depth + 2 * (row_depth * elements / scan_width + Drain.LATENCY)`` cycles.

    A report is ``layer_depth`` numbers, the cycles that each layer has taken since the report
    before, then the counters of each element in the order of
    :data:`~hdl.sparse.element.COUNTERS`. All are cleared by it.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`

    Members
    -------
    enabled : ``In(1)``
        Whether vectors may begin.
    offered : ``In(1)``
        Whether there is input.
    room : ``In(1)``
        Whether the output has room for a vector.
    start, first, layer, finish, scaling, rebias : ``Out``
        To the engine, as are the two below from it.
    quiet, draining : ``In(1)``
    discard : ``Out(1)``
        Whether what is being drained is of no use.
    to_output : ``Out(1)``
        Whether what is being drained is the result, and not the input of the next layer.
    from_input : ``Out(1)``
        Whether the layer at hand reads the input, and not the result of the layer before it.
    running : ``Out(1)``
        Whether a layer is at hand.
    idle : ``Out(1)``
        Whether nothing is going on.
    number : ``Out(range(layer_depth))``
        Which layer is at hand.
    load : ``Out``
        Write port of the program.
    report : ``In(1)``
        Begins a report. Only while ``idle``.
    shift : ``Out(1)``
        Moves the chain of counters on.
    counter : ``In(counter_width)``
        First counter of the chain.
    counters : ``Out(stream.Signature(counter_width))``
        The report.
    """

    def __init__(self, configuration):
        self.configuration = c = configuration
        self.program_layout = Layer(c)
        super().__init__(
            {
                "enabled": In(1),
                "offered": In(1),
                "room": In(1),
                "start": Out(1),
                "first": Out(1),
                "layer": Out(Layer(c)),
                "quiet": In(1),
                "finish": Out(1),
                "scaling": Out(Scaling(c)),
                "rebias": Out(1),
                "draining": In(1),
                "discard": Out(1),
                "to_output": Out(1),
                "from_input": Out(1),
                "running": Out(1),
                "idle": Out(1),
                "number": Out(range(c.layer_depth)),
                "load": Out(
                    WritePort.Signature(addr_width=ceil_log2(c.layer_depth), shape=Layer(c).size)
                ),
                "report": In(1),
                "shift": Out(1),
                "counter": In(c.counter_width),
                "counters": Out(stream.Signature(c.counter_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.configuration

        m.submodules.program = program = Memory(shape=Layer(c).size, depth=c.layer_depth, init=[])
        load, read = program.write_port(), program.read_port()
        m.d.comb += [load.addr.eq(self.load.addr), load.data.eq(self.load.data)]
        m.d.comb += load.en.eq(self.load.en)
        # The next layer is read long before the one at hand is done.
        upcoming = Signal(range(c.layer_depth))
        m.d.comb += read.addr.eq(upcoming)
        m.d.comb += self.layer.eq(read.data)
        m.d.comb += self.first.eq(upcoming == 0)

        current = Signal(Layer(c))
        clears = Signal(range(4), init=3)
        reporting = Signal()
        place = Signal(range(c.layer_depth))  # in the cycles of the layers
        begin = Signal()
        m.d.comb += [
            begin.eq(self.enabled & ~reporting & (~self.first | self.offered)),
            self.scaling.eq(current.scaling),
            self.rebias.eq(self.from_input),
            self.idle.eq(~self.running & ~self.draining & (clears == 0) & ~reporting),
        ]
        with m.If(clears == 3):
            with m.If(place == c.layer_depth - 1):
                m.d.sync += clears.eq(2)
        with m.Elif(clears != 0):
            m.d.comb += self.scaling.rows.eq(c.row_depth)
            with m.If(~self.draining):
                m.d.comb += self.finish.eq(1)
                m.d.sync += [clears.eq(clears - 1), self.discard.eq(1)]
        with m.Elif(~self.running):
            m.d.comb += self.start.eq(begin & ~self.draining)
        with m.Elif(self.quiet & ~self.draining & (self.room | ~current.last)):
            m.d.comb += [self.finish.eq(1), self.start.eq(begin)]
            m.d.sync += [
                self.running.eq(0),
                self.to_output.eq(current.last),
                self.discard.eq(0),
            ]
        with m.If(self.start):
            m.d.sync += [
                self.running.eq(1),
                self.from_input.eq(self.first),
                self.number.eq(upcoming),
                current.eq(self.layer),
                upcoming.eq(Mux(self.layer.last, 0, upcoming + 1)),
            ]

        # Cycles of each layer, added up where the layer ends.
        m.submodules.cycles = cycles = Memory(shape=c.counter_width, depth=c.layer_depth, init=[])
        so_far, sums = cycles.read_port(domain="comb"), cycles.write_port()
        elapsed = Signal(c.counter_width)
        tail = Signal(range(len(COUNTERS) * c.elements + 1))
        moves = Signal()
        m.d.comb += [
            so_far.addr.eq(Mux(self.running, self.number, place)),
            sums.addr.eq(so_far.addr),
            sums.data.eq(so_far.data + elapsed + 1),
            sums.en.eq(self.finish & self.running),
            self.counters.valid.eq(reporting),
            self.counters.payload.eq(Mux(tail == 0, so_far.data, self.counter)),
            moves.eq(self.counters.valid & self.counters.ready),
            self.shift.eq(moves & (tail != 0)),
        ]
        with m.If(self.finish | ~self.running):
            m.d.sync += elapsed.eq(0)
        with m.Else():
            m.d.sync += elapsed.eq(elapsed + 1)
        with m.If((clears == 3) | (moves & (tail == 0))):
            m.d.comb += [sums.data.eq(0), sums.en.eq(1)]
            m.d.sync += place.eq(Mux(place == c.layer_depth - 1, 0, place + 1))
        with m.If(self.report):
            m.d.sync += [reporting.eq(1), place.eq(0)]
        with m.If(moves & (tail == 0) & (place == c.layer_depth - 1)):
            m.d.sync += tail.eq(len(COUNTERS) * c.elements)
        with m.If(self.shift):
            m.d.sync += tail.eq(tail - 1)
            with m.If(tail == 1):
                m.d.sync += reporting.eq(0)

        return m
