"""Feature maps: the memory that has them, and what is read and written there, stage by stage."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.maps.conductor import Conductor, Stage, Work
from hdl.maps.convolve import Convolve
from hdl.maps.fold import Fold
from hdl.maps.memory import Command, External, OnChip
from hdl.maps.walk import Walk
from hdl.result import Result

__all__ = ["Maps", "folding"]


class Maps(wiring.Component):
    """Gives each stage its words, and takes what is made of them.

    Words are read along the stage's one route, or come from outside. They are folded or copied
    here, or given to the sparse engine. What has been made of them is written along the other
    route, or leaves the device; words for which the route has no place are dropped. When it is
    through, the next stage begins.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`

    Members
    -------
    enabled : ``In(1)``
        As of :class:`~hdl.maps.conductor.Conductor`, as are those below whose names it has.
    stage : ``Out(Stage(configuration))``
    running, first, idle, enter, restart, reporting, reported : ``Out(1)``
    waiting, report : ``In(1)``
    counters : ``Out(stream.Signature(counter_width))``
    load : ``Out``
    quiet : ``In(1)``
        Whether nobody else works on the stage.
    input : ``In(stream.Signature(ArrayLayout(signed(activation_width), scan_width)))``
        Words of the network's input.
    o : ``Out(stream.Signature(...))``
        Words for the sparse engine.
    i : ``In(stream.Signature(...))``
        What that has made of them.
    result : ``Out(stream.Signature(Result(configuration)))``
        What leaves the device.
    made : ``Out(...)``
        A word that has been folded, or is a convolution's, to watch.
    made_valid : ``Out(1)``
        Whether there is one.
    load_weights : ``Out``
        Write port of the weights of convolutions, if there is a unit for these.
    command, answer
        As of :class:`~hdl.maps.memory.External`, if maps are in memory outside.
    """

    def __init__(self, configuration):
        self.configuration = c = configuration
        self.conductor = conductor = Conductor(c)
        word = data.ArrayLayout(signed(c.activation_width), c.scan_width)
        self.walks = [
            Walk(
                levels=Stage.LEVELS,
                address_width=Stage.address_width(c),
                coordinate_width=Stage.COORDINATE_WIDTH,
            )
            for _ in range(2)
        ]
        outside = {}
        if c.map_reads:
            self.memory = External(word, address_width=Stage.address_width(c), reads=c.map_reads)
            command = Command(word, Stage.address_width(c))
            outside = {
                "command": Out(stream.Signature(command)),
                "answer": In(stream.Signature(word)),
            }
        else:
            self.memory = OnChip(word, depth=c.map_depth)
        convolving = {}
        if c.winograd:
            self.convolve = Convolve(c)
            convolving = {"load_weights": Out(self.convolve.load.signature)}
        super().__init__(
            {
                "enabled": In(1),
                "stage": Out(Stage(c)),
                **{name: Out(1) for name in _FROM_CONDUCTOR},
                "waiting": In(1),
                "report": In(1),
                "counters": Out(stream.Signature(c.counter_width)),
                "load": Out(conductor.load.signature),
                "quiet": In(1),
                "input": In(stream.Signature(word)),
                "o": Out(stream.Signature(word)),
                "i": In(stream.Signature(word)),
                "result": Out(stream.Signature(Result(c))),
                "made": Out(word),
                "made_valid": Out(1),
                **outside,
                **convolving,
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.configuration
        m.submodules.conductor = conductor = self.conductor
        m.submodules.memory = memory = self.memory
        m.submodules.fold = fold = Fold(**folding(c))
        # A route that was begun is forgotten when another network is loaded.
        reader, writer = (ResetInserter(~self.enabled)(walk) for walk in self.walks)
        m.submodules.reader, m.submodules.writer = reader, writer
        reader, writer = self.walks

        wiring.connect(m, wiring.flipped(self.load), conductor.load)
        wiring.connect(m, conductor.counters, wiring.flipped(self.counters))
        wiring.connect(m, conductor.read, reader.route)
        wiring.connect(m, conductor.write, writer.route)
        m.d.comb += [
            conductor.enabled.eq(self.enabled),
            conductor.waiting.eq(self.waiting),
            conductor.report.eq(self.report),
            self.stage.eq(conductor.stage),
            *(getattr(self, name).eq(getattr(conductor, name)) for name in _FROM_CONDUCTOR),
        ]
        if c.map_reads:
            wiring.connect(m, memory.command, wiring.flipped(self.command))
            wiring.connect(m, wiring.flipped(self.answer), memory.answer)

        # What is read is folded, copied or given out; what is made of it goes to its place, if any.
        wiring.connect(m, reader.o, memory.read)
        read, place = memory.data, writer.o.p
        word = Signal.like(self.i.payload)
        there, takes, taken = Signal(), Signal(), Signal()
        accepted = Mux(self.stage.to_map, memory.write.ready, self.result.ready) | ~place.inside
        m.d.comb += [
            takes.eq(writer.o.valid & accepted),
            taken.eq(there & takes),
            fold.folding.payload.eq(self.stage.folding),
            fold.folding.valid.eq(conductor.read.valid & (self.stage.work == Work.FOLD)),
            fold.i.payload.eq(read.payload),
            self.o.payload.eq(read.p.word),
        ]
        with m.Switch(self.stage.work):
            with m.Case(Work.COPY):
                with m.If(self.stage.from_map):
                    m.d.comb += [word.eq(read.p.word), there.eq(read.valid)]
                    m.d.comb += read.ready.eq(takes)
                with m.Else():
                    m.d.comb += [word.eq(self.input.payload), there.eq(self.input.valid)]
                    m.d.comb += self.input.ready.eq(takes)
            with m.Case(Work.SPARSE):
                m.d.comb += [self.o.valid.eq(read.valid), read.ready.eq(self.o.ready)]
                m.d.comb += [word.eq(self.i.payload), there.eq(self.i.valid)]
                m.d.comb += self.i.ready.eq(takes)
            with m.Case(Work.FOLD):
                m.d.comb += [fold.i.valid.eq(read.valid), read.ready.eq(fold.i.ready)]
                m.d.comb += [word.eq(fold.o.payload), there.eq(fold.o.valid)]
                m.d.comb += [fold.o.ready.eq(takes), self.made_valid.eq(taken)]
            if c.winograd:
                m.submodules.convolve = convolve = self.convolve
                wiring.connect(m, wiring.flipped(self.load_weights), convolve.load)
                with m.Case(Work.WINOGRAD):
                    m.d.comb += [
                        convolve.task.payload.eq(self.stage.winograd),
                        convolve.task.valid.eq(conductor.read.valid),
                        convolve.i.payload.eq(read.p.word),
                        convolve.i.valid.eq(read.valid),
                        read.ready.eq(convolve.i.ready),
                        word.eq(convolve.o.payload),
                        there.eq(convolve.o.valid),
                        convolve.o.ready.eq(takes),
                        self.made_valid.eq(taken),
                    ]
        m.d.comb += [
            self.made.eq(word),
            writer.o.ready.eq(taken),
            memory.write.p.address.eq(place.address),
            memory.write.p.word.eq(word),
            memory.write.valid.eq(there & writer.o.valid & place.inside & self.stage.to_map),
            self.result.p.activations.eq(word),
            self.result.p.last.eq(place.ends_route & self.stage.last),
            self.result.valid.eq(there & writer.o.valid & place.inside & ~self.stage.to_map),
        ]
        through = Signal()
        with m.If(~self.running):
            m.d.sync += through.eq(0)
        with m.Elif(taken & place.ends_route):
            m.d.sync += through.eq(1)
        done = Signal()
        m.d.sync += done.eq(through & memory.idle & self.quiet & self.running)
        m.d.comb += conductor.done.eq(done & self.running)
        return m


def folding(configuration):
    """Parameters of what folds windows on a device."""
    c = configuration
    return {
        "scan_width": c.scan_width,
        "activation_width": c.activation_width,
        "accumulator_width": c.activation_width + Stage.WINDOW_BITS,
    }


_FROM_CONDUCTOR = ("running", "first", "idle", "enter", "restart", "reporting", "reported")
