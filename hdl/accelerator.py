"""The accelerator: a loader, a sequencer, the engine, and activations between them."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.configuration import Configuration
from hdl.loader import BEAT_WIDTH, Loader, Space
from hdl.maps.conductor import Stage
from hdl.maps.maps import Maps
from hdl.maps.memory import Command
from hdl.result import Result
from hdl.sequencer import Sequencer
from hdl.sparse.element import Load, Store
from hdl.sparse.engine import Engine
from hdl.sparse.scan import Block
from hdl.streams import Queue, VectorQueue

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """Runs a network that was loaded into it, for every vector that it is given.

    All of it is streams: packets to ``load`` (see :class:`~hdl.loader.Loader`), vectors of
    activations in at ``i`` and out at ``o``, ``scan_width`` a beat, and reports out at
    ``counters``. A layer's activations wait in a queue, whose head the next layer scans while its
    tail is still being filled; so each activation is written once, and read once if the rows of the
    layer that scans it fit the accumulators. Otherwise the layer is in tiles, and each of these
    scans the vector. The next vector may be sent before the result of the one before it is there.

    A device with feature maps takes a tensor of input, and goes through the network stage by stage;
    see :class:`~hdl.maps.maps.Maps`. What its engine scans, and what it puts out, are then words
    of maps, and all else is the same.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`

    Members
    -------
    load : ``In(stream.Signature(32))``
    i : ``In(stream.Signature(ArrayLayout(signed(activation_width), scan_width)))``
    o : ``Out(stream.Signature(Result(configuration)))``
    counters : ``Out(stream.Signature(counter_width))``
    layer : ``Out(range(layer_depth))``
        Layer or tile at hand, by its place in the program; one bit at least.
    running : ``Out(1)``
        Whether there is one.
    tap : ``Out(ArrayLayout(signed(activation_width), scan_width))``
        Activations of every layer as they come into being, to watch.
    tap_valid : ``Out(1)``
    command, answer
        To and from memory outside, if feature maps are there; see
        :class:`~hdl.maps.memory.External`.
    """

    def __init__(self, configuration):
        if not isinstance(configuration, Configuration):
            raise TypeError(f"configuration must be a Configuration, not {configuration!r}")
        self.configuration = c = configuration
        block = data.ArrayLayout(signed(c.activation_width), c.scan_width)
        outside = {}
        if c.map_reads:
            outside = {
                "command": Out(stream.Signature(Command(block, Stage.address_width(c)))),
                "answer": In(stream.Signature(block)),
            }
        super().__init__(
            {
                "load": In(stream.Signature(BEAT_WIDTH)),
                "i": In(stream.Signature(block)),
                "o": Out(stream.Signature(Result(c))),
                "counters": Out(stream.Signature(c.counter_width)),
                "layer": Out(range(c.layer_depth)),
                "running": Out(1),
                "tap": Out(block),
                "tap_valid": Out(1),
                **outside,
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.configuration
        blocks = c.activation_depth // c.scan_width

        m.submodules.loader = loader = Loader(c)
        m.submodules.sequencer = sequencer = Sequencer(c)
        m.submodules.engine = engine = Engine(c)
        block = Block(c.scan_width, c.activation_width)
        m.submodules.inputs = inputs = VectorQueue(block, depth=blocks)
        m.submodules.between = between = VectorQueue(block, depth=blocks)
        m.submodules.outputs = outputs = Queue(self.o.payload.shape(), depth=blocks)

        wiring.connect(m, wiring.flipped(self.load), loader.i)
        wiring.connect(m, sequencer.counters, wiring.flipped(self.counters))
        wiring.connect(m, outputs.o, wiring.flipped(self.o))
        m.d.comb += [self.layer.eq(sequencer.number), self.running.eq(sequencer.running)]

        # Non-zeros are found before they wait, so that the scan sees them early.
        given = Signal.like(self.i.payload)
        m.d.comb += given.eq(self.i.payload)
        for queue, activations in ((inputs, given), (between, engine.o)):
            nonzero = Cat(activations[n] != 0 for n in range(c.scan_width))
            m.d.comb += queue.i.p.activations.eq(activations)
            m.d.comb += queue.i.p.nonzero.eq(nonzero)

        # A vector that has begun to come in is done before a packet can begin. That nothing is
        # going on is known a cycle late, but for what begins meanwhile.
        idle = Signal()
        takes = Signal()
        m.d.comb += [
            loader.idle.eq(idle),
            takes.eq(loader.enabled & ~(idle & self.load.valid)),
            inputs.i.valid.eq(self.i.valid & takes),
            self.i.ready.eq(inputs.i.ready & takes),
        ]
        begins = loader.begins | (self.i.valid & self.i.ready)
        empty = (inputs.level == 0) & (outputs.level == 0)
        quiet = sequencer.idle & empty
        m.d.sync += idle.eq(quiet & ~begins)

        down = ("start", "start_bank", "start_origin", "layer", "running", "shift")
        down += ("finish", "finish_bank", "finish_origin", "scaling")
        up = ("scanning", "done", "reading", "draining", "counter")
        m.d.comb += [getattr(engine, name).eq(getattr(sequencer, name)) for name in down]
        m.d.comb += [getattr(sequencer, name).eq(getattr(engine, name)) for name in up]
        m.d.comb += [
            sequencer.enabled.eq(loader.enabled),
            sequencer.offered.eq(inputs.o.valid),
            sequencer.output_level.eq(outputs.level),
            sequencer.between_level.eq(between.level),
            sequencer.drains.eq(engine.valid),
            sequencer.report.eq(loader.report),
        ]

        m.d.comb += [inputs.keep.eq(sequencer.keep), between.keep.eq(sequencer.keep)]
        with m.If(sequencer.from_input):
            wiring.connect(m, inputs.o, engine.i)
            m.d.comb += inputs.rewind.eq(sequencer.rewind)
        with m.Else():
            wiring.connect(m, between.o, engine.i)
            m.d.comb += between.rewind.eq(sequencer.rewind)
        drained = engine.valid & ~sequencer.discard
        m.d.comb += [
            self.tap.eq(engine.o),
            self.tap_valid.eq(drained),
            between.i.valid.eq(drained & ~sequencer.to_output),
            outputs.i.p.activations.eq(engine.o),
            outputs.i.p.last.eq(engine.ends & ~sequencer.partial),
            outputs.i.valid.eq(drained & sequencer.to_output),
        ]
        if c.stages:
            self._stages(m, loader, sequencer, inputs, outputs, given, takes, idle, quiet & ~begins)

        # Which memory of which element it is for is found a cycle before it is sent there.
        write = loader.write
        stores = {Space.WEIGHTS: Store.WEIGHTS, Space.COUNTS: Store.COUNTS}
        for n in range(c.elements):
            load = Signal(Load(c), name=f"load_{n}")
            m.d.comb += engine.load_elements[n].eq(load)
            m.d.sync += [load.store.eq(Store.NONE), load.address.eq(write.address)]
            m.d.sync += load.data.eq(write.data)
            with m.If(loader.valid):
                for space, store in stores.items():
                    with m.If((write.space == space) & (write.element == n)):
                        m.d.sync += load.store.eq(store)
                with m.If(write.space == Space.CODEBOOK):
                    m.d.sync += load.store.eq(Store.CODEBOOK)
        for space, port in (
            (Space.BIASES, engine.load_biases),
            (Space.LAYERS, sequencer.load),
        ):
            m.d.comb += [
                port.addr.eq(write.address),
                port.data.eq(write.data),
                port.en.eq(loader.valid & (write.space == space)),
            ]

        return m

    def _stages(self, m, loader, sequencer, inputs, outputs, given, takes, idle, quiet):
        """Let the words of maps through, in place of input and result."""
        c = self.configuration
        m.submodules.maps = maps = Maps(c)
        stage = maps.stage
        if c.map_reads:
            wiring.connect(m, maps.command, wiring.flipped(self.command))
            wiring.connect(m, wiring.flipped(self.answer), maps.answer)

        # Until the first word of a tensor has come in, nothing is going on.
        begun = Signal()
        with m.If(~maps.running):
            m.d.sync += begun.eq(0)
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += begun.eq(1)
        waiting = maps.first & ~begun
        m.d.sync += idle.eq(quiet & maps.idle & (stage.endless | waiting))
        m.d.comb += [
            maps.enabled.eq(loader.enabled),
            maps.waiting.eq(waiting),
            maps.quiet.eq(quiet),
            sequencer.enter.eq(maps.enter),
            sequencer.restart.eq(maps.restart),
        ]

        # Words from outside go to a map, unless the only stage scans them as they come.
        with m.If(~(stage.endless & maps.running)):
            m.d.comb += [
                maps.input.payload.eq(self.i.payload),
                maps.input.valid.eq(self.i.valid & takes & maps.running),
                self.i.ready.eq(maps.input.ready & takes & maps.running),
                given.eq(maps.o.payload),
                inputs.i.valid.eq(maps.o.valid),
                maps.o.ready.eq(inputs.i.ready),
                maps.i.payload.eq(outputs.o.p.activations),
                maps.i.valid.eq(outputs.o.valid),
                outputs.o.ready.eq(maps.i.ready),
                self.o.payload.eq(maps.result.payload),
                self.o.valid.eq(maps.result.valid),
                maps.result.ready.eq(self.o.ready),
            ]
        with m.If(maps.made_valid):
            m.d.comb += [self.tap.eq(maps.made), self.tap_valid.eq(1)]

        # A report begins with the cycles of the stages.
        m.d.comb += [maps.report.eq(loader.report), sequencer.report.eq(maps.reported)]
        with m.If(maps.reporting):
            m.d.comb += [
                self.counters.payload.eq(maps.counters.payload),
                self.counters.valid.eq(maps.counters.valid),
                maps.counters.ready.eq(self.counters.ready),
            ]

        write = loader.write
        ports = {Space.STAGES: maps.load}
        if c.winograd:
            ports[Space.WINOGRAD] = maps.load_weights
        for space, port in ports.items():
            m.d.comb += [
                port.addr.eq(write.address),
                port.data.eq(write.data),
                port.en.eq(loader.valid & (write.space == space)),
            ]
