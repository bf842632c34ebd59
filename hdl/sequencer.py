"""Runs the layers of a network one after another."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory, WritePort
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.sparse.drain import Scaling
from hdl.sparse.element import COUNTERS
from hdl.sparse.engine import COMPANIONS, Layer
from hdl.sparse.run import Origin

__all__ = ["Sequencer"]


class Run(data.StructLayout):
    """What is kept of a run until it is drained.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`
    """

    def __init__(self, configuration):
        super().__init__(
            {
                "scaling": Scaling(configuration),
                "last": 1,
                "keep": 1,
                "number": range(configuration.layer_depth),
                "origin": Origin,
            }
        )


class Sequencer(wiring.Component):
    """Runs the program once for each vector of input, for up to three vectors at a time.

    A vector begins as soon as the input offers its first block. If another one is there by the
    time that the scan is through with the first layer, and maybe a third one after that, they go
    through the program together, layer by layer, and give the elements something to do while the
    others are drained. Otherwise the next layer starts, and waits for its input.

    A layer may be in tiles, each with some of the rows, and a line of the program: what is said
    here of layers is true of tiles. Those of a layer scan the same vector, which is kept for them.
    While it is, no other one can come in between, so that the vectors of such a network go alone.

    If the device has stages, a vector goes through the lines of the stage at hand only: those up to
    the next one that is marked as the last. The lines of a stage lie behind those of the one
    before.

    Two runs are under way at the most, for that is how many banks of accumulators there are, and
    the results of others wait for the next layer. After a reset, counters and both banks are
    cleared first, which takes
    ``layer_depth + 2 * (row_depth * elements / scan_width + Drain.LATENCY)`` cycles.

    A report is ``layer_depth`` numbers, the cycles that each layer has taken since the report
    before, then the counters of each element in the order of
    :data:`~hdl.sparse.element.COUNTERS`. All are cleared by it. What a run has taken are the cycles
    from the end of the run before, or, if there was none under way, from its own start.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`

    Members
    -------
    enabled : ``In(1)``
        Whether vectors may begin. Changes only while ``idle``, and while nothing is ``offered``.
    enter, restart : ``In(1)``
        The next stage begins, or the first one. Only if there are stages, while ``idle``, and while
        nothing is ``offered``, nor in the next cycle. After a reset, and while not ``enabled``, the
        first one is at hand.
    offered : ``In(1)``
        Whether there is input.
    output_level, between_level : ``In(range(activation_depth / scan_width + 1))``
        Blocks that wait to be put out, and for the scan of the next layer. As many more can be
        drained to either as there is room for.
    start, start_bank, start_origin, layer, finish, finish_bank, finish_origin, scaling : ``Out``
        To the engine, as are those below from it; ``drains`` is whether it puts out a block.
    scanning, reading, draining, drains : ``In(1)``
    done : ``In(2)``
    discard : ``Out(1)``
        Whether what is being drained is of no use.
    to_output : ``Out(1)``
        Whether what is being drained is the result, and not the input of the next layer.
    partial : ``Out(1)``
        Whether more of the layer's result comes after what is being drained.
    from_input : ``Out(1)``
        Whether the run that is scanned reads the input, and not the result of the layer before it.
    keep : ``Out(1)``
        Whether what it reads is to be read again by the run after it.
    rewind : ``Out(1)``
        Ends that reading, for one cycle: the next one begins anew.
    running : ``Out(1)``
        Whether a run is under way.
    idle : ``Out(1)``
        Whether nothing is going on.
    number : ``Out(range(layer_depth))``
        Layer of the run that is to be done next.
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

    # From a run being ``done`` to its ``finish``, if there is room for its result.
    END_LATENCY = 1

    def __init__(self, configuration):
        self.configuration = c = configuration
        level = range(c.activation_depth // c.scan_width + 1)
        super().__init__(
            {
                "enabled": In(1),
                **({"enter": In(1), "restart": In(1)} if c.stages else {}),
                "offered": In(1),
                "output_level": In(level),
                "between_level": In(level),
                "start": Out(1),
                "start_bank": Out(1),
                "start_origin": Out(Origin),
                "layer": Out(Layer(c)),
                "scanning": In(1),
                "done": In(2),
                "finish": Out(1),
                "finish_bank": Out(1),
                "finish_origin": Out(Origin),
                "scaling": Out(Scaling(c)),
                "reading": In(1),
                "draining": In(1),
                "drains": In(1),
                "discard": Out(1),
                "to_output": Out(1),
                "partial": Out(1),
                "from_input": Out(1),
                "keep": Out(1),
                "rewind": Out(1),
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
        clears = Signal(range(4), init=3)
        place = Signal(range(c.layer_depth))  # in the cycles of the layers
        reporting = Signal()

        # Runs take the banks in turn, both to start and to finish. After a reset, all rows of both
        # have to be drained.
        reset = {"scaling": {"rows": c.row_depth}}
        runs = Signal(data.ArrayLayout(Run(c), 2), init=[reset, reset])
        active = Signal(2)
        self._start(m, self.enabled & ~reporting & (clears == 0), runs, active)

        # Whether there is room for a result is known a cycle late, but for what comes meanwhile.
        oldest = runs[self.finish_bank]
        blocks = oldest.scaling.rows * c.groups
        blocks = Mux(oldest.scaling.split, blocks >> (c.ways.bit_length() - 1), blocks)
        most = Signal(signed(len(self.output_level) + 1))  # blocks that may wait already
        last = Signal()
        level = Mux(last, self.output_level, self.between_level)
        comes = self.drains & (self.to_output == last)
        fits = Signal()
        m.d.sync += [most.eq(c.activation_depth // c.scan_width - blocks), last.eq(oldest.last)]
        m.d.sync += fits.eq(Mux(comes, level < most, level <= most))
        m.d.comb += [
            self.finish_origin.eq(oldest.origin),
            self.scaling.eq(oldest.scaling),
            self.number.eq(oldest.number),
            self.running.eq(active.any()),
            self.idle.eq(~self.running & ~self.draining & (clears == 0) & ~reporting),
        ]
        # All that decides on the end of a run comes from registers.
        ended = Signal()
        clearing = (clears == 2) | (clears == 1)
        m.d.comb += self.finish.eq((ended & fits | clearing) & ~self.draining)
        m.d.sync += ended.eq((active & self.done).bit_select(self.finish_bank, 1))
        with m.If((clears == 3) & (place == c.layer_depth - 1)):
            m.d.sync += clears.eq(2)
        with m.If(self.finish):
            m.d.sync += [
                self.finish_bank.eq(~self.finish_bank),
                self.to_output.eq(oldest.last),
                self.partial.eq(oldest.keep),
                self.discard.eq(clearing),
            ]
            with m.If(clearing):
                m.d.sync += clears.eq(clears - 1)

        # Cycles of each layer, added up when its run has ended.
        m.submodules.cycles = cycles = Memory(shape=c.counter_width, depth=c.layer_depth, init=[])
        so_far, sums = cycles.read_port(domain="comb"), cycles.write_port()
        elapsed = Signal(c.counter_width)
        reads, adds = Signal(), Signal()
        adds_to = Signal.like(self.number)
        took = Signal.like(elapsed)
        before = Signal.like(elapsed)
        # No two runs end in such short time.
        m.d.sync += [reads.eq(self.finish & self.running), adds.eq(reads)]
        m.d.sync += before.eq(so_far.data)
        with m.If(self.finish):
            m.d.sync += [adds_to.eq(self.number), took.eq(elapsed + 1)]
        chained = Signal()  # whether the counters of the elements are told
        tail = Signal(range(len(COUNTERS) * c.elements))  # counters to come after that at hand
        moves = Signal()
        m.d.comb += [
            so_far.addr.eq(Mux(reads | adds, adds_to, place)),
            sums.addr.eq(so_far.addr),
            sums.data.eq(before + took),
            sums.en.eq(adds),
            # The chain of counters moves a cycle after one was taken.
            self.counters.valid.eq(reporting & ~self.shift),
            self.counters.payload.eq(Mux(chained, self.counter, so_far.data)),
            moves.eq(self.counters.valid & self.counters.ready),
        ]
        m.d.sync += self.shift.eq(moves & chained)
        with m.If(self.finish | ~self.running):
            m.d.sync += elapsed.eq(0)
        with m.Else():
            m.d.sync += elapsed.eq(elapsed + 1)
        with m.If((clears == 3) | (moves & ~chained)):
            m.d.comb += [sums.data.eq(0), sums.en.eq(1)]
            m.d.sync += place.eq(Mux(place == c.layer_depth - 1, 0, place + 1))
        with m.If(self.report):
            m.d.sync += [reporting.eq(1), place.eq(0)]
        with m.If(moves & ~chained & (place == c.layer_depth - 1)):
            m.d.sync += [chained.eq(1), tail.eq(len(COUNTERS) * c.elements - 1)]
        with m.If(self.shift):
            m.d.sync += tail.eq(tail - 1)
            with m.If(tail == 0):
                m.d.sync += [chained.eq(0), reporting.eq(0)]

        return m

    def _start(self, m, enabled, runs, active):
        """Start one run after another, as soon as there is a bank for it."""
        c = self.configuration
        m.submodules.program = program = Memory(shape=Layer(c).size, depth=c.layer_depth, init=[])
        load, read = program.write_port(), program.read_port()
        m.d.comb += [load.addr.eq(self.load.addr), load.data.eq(self.load.data)]
        m.d.comb += load.en.eq(self.load.en)
        # The next layer is read while the one before is scanned.
        upcoming = Signal(range(c.layer_depth))
        m.d.comb += read.addr.eq(upcoming)
        # Where the stage begins, and how the run of its first layer is told.
        first, opening = Const(0), Origin.FIRST
        if c.stages:
            first = Signal.like(upcoming, name="first")
            opening = Signal(Origin, init=Origin.RESTART)

        # A run may be followed by that of the same layer for a companion of its vector, which joins
        # in the first layer. Vectors are counted as so many ones. What decides on a start comes
        # from registers, but for the end of the scan and the offer of input.
        newest = Signal(Layer(c))
        newest_number = Signal.like(upcoming)
        companions = Signal(COMPANIONS)  # that have joined
        behind = Signal(COMPANIONS)  # for which the layer is still to be started
        room = Signal(COMPANIONS)  # for those that are offered
        within = Signal()  # whether the next layer is not the first one
        again = behind[0] | (room[0] & self.offered)
        # The bank that was drained last is the one that is not to be drained next.
        free = ~active.bit_select(self.start_bank, 1)
        free &= ~(self.reading & (self.start_bank != self.finish_bank))
        can = Signal()
        m.d.sync += can.eq(enabled & free & ~self.start)
        m.d.comb += [
            self.layer.eq(Mux(again, newest.as_value(), read.data)),
            self.start_origin.eq(Mux(again, Origin.SAME, Mux(within, Origin.NEXT, opening))),
            self.start.eq(can & ~self.scanning & (behind[0] | within | self.offered)),
        ]
        number = Mux(again, newest_number, upcoming)
        with m.If(self.start):
            run = runs[self.start_bank]
            m.d.sync += [
                run.scaling.eq(self.layer.scaling),
                run.last.eq(self.layer.last),
                run.keep.eq(self.layer.keep),
                run.number.eq(number),
                run.origin.eq(self.start_origin),
                newest.eq(self.layer),
                newest_number.eq(number),
                self.start_bank.eq(~self.start_bank),
                self.from_input.eq(Mux(again, room[0], ~within) | (self.keep & self.from_input)),
                self.keep.eq(self.layer.keep),
            ]
            with m.If(again):
                m.d.sync += [behind.eq(behind >> 1), room.eq(room >> 1)]
                with m.If(room[0]):
                    m.d.sync += companions.eq(Cat(1, companions))
            with m.Else():
                ends = self.layer.last & ~self.layer.keep
                m.d.sync += [upcoming.eq(Mux(ends, first, upcoming + 1)), within.eq(~ends)]
                m.d.sync += [behind.eq(companions), room.eq(0)]
                with m.If(~within):
                    places = Cat(self.layer.companions > n for n in range(COMPANIONS))
                    m.d.sync += [companions.eq(0), behind.eq(0), room.eq(places)]
        with m.Elif(~self.enabled):
            m.d.sync += [upcoming.eq(0), within.eq(0), behind.eq(0), room.eq(0)]
        if c.stages:
            following = Signal.like(upcoming)  # behind the last line of the stage
            with m.If(self.start):
                m.d.sync += opening.eq(Origin.FIRST)
                with m.If(~again):
                    m.d.sync += following.eq(upcoming + 1)
            with m.Elif(self.restart | ~self.enabled):
                m.d.sync += [following.eq(0), opening.eq(Origin.RESTART)]
            with m.Elif(self.enter):
                m.d.sync += [upcoming.eq(following), first.eq(following), room.eq(0)]
                with m.If(opening == Origin.FIRST):
                    m.d.sync += opening.eq(Origin.ENTER)

        # A vector that is kept is read again as soon as the scan is through with it.
        rewinds = Signal()
        m.d.comb += self.rewind.eq(rewinds & ~self.scanning)
        with m.If(self.start):
            m.d.sync += rewinds.eq(self.layer.keep)
        with m.Elif(self.rewind):
            m.d.sync += rewinds.eq(0)

        starts = self.start << self.start_bank
        ends = (self.finish & self.running) << self.finish_bank
        m.d.sync += active.eq((active | starts) & ~ends)
