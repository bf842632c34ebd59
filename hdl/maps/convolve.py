"""3x3 convolution of feature maps, without a sum in the sparse engine."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.maps.feed import Feed, Feeding
from hdl.maps.transpose import Transpose
from hdl.winograd.engine import Engine
from hdl.winograd.parameters import Descriptor

__all__ = ["Convolve", "Task"]


class Task(data.StructLayout):
    """A layer, and where its weights are.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`
    """

    def __init__(self, configuration):
        p, depth = configuration.winograd, configuration.winograd_depth
        feeding = Feeding(p, depth)
        places = {name: feeding[name].shape for name in ("first", "beats")}
        super().__init__({"layer": Descriptor(p), **places})


class Convolve(wiring.Component):
    """A :class:`~hdl.winograd.engine.Engine` that takes words of maps, and gives them.

    The engine's blocks are ``tile`` rows and columns of a channel, words are a pixel of
    ``scan_width`` channels. So the words of as many pixels, in rows from left to right, are turned
    into a block for each of their channels, and blocks into words. From block to block, words go
    on to the next channels first. What words have beyond the last channel is dropped, or zero.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`

    Members
    -------
    task : ``In(stream.Signature(Task(configuration), always_ready=True))``
        Only when all words of the one before have left.
    i, o : ``stream.Signature(ArrayLayout(signed(activation_width), scan_width))``
    load : ``Out``
        Write port of what weights, biases and codebooks are in; see
        :class:`~hdl.maps.feed.Feed`.
    """

    def __init__(self, configuration):
        self.configuration = c = configuration
        self.feed = Feed(c.winograd, depth=c.winograd_depth)
        word = data.ArrayLayout(signed(c.activation_width), c.scan_width)
        super().__init__(
            {
                "task": In(stream.Signature(Task(c), always_ready=True)),
                "i": In(stream.Signature(word)),
                "o": Out(stream.Signature(word)),
                "load": Out(self.feed.load.signature),
            }
        )

    def elaborate(self, platform):
        m = Module()
        c = self.configuration
        p = c.winograd
        pixels, lanes = p.tile**2, c.scan_width
        shape = signed(c.activation_width)
        m.submodules.feed = feed = self.feed
        m.submodules.engine = engine = Engine(p)
        m.submodules.blocks = blocks = Transpose(shape, rows=pixels, columns=lanes)
        m.submodules.words = words = Transpose(shape, rows=lanes, columns=pixels)

        wiring.connect(m, wiring.flipped(self.load), feed.load)
        for name in "biases", "codebook", "weights":
            wiring.connect(m, getattr(feed, name), getattr(engine, name))
        # Neither has anything left to do, so both are ready.
        task, layer = self.task.p, self.task.p.layer
        m.d.comb += [
            engine.layer.payload.eq(layer),
            engine.layer.valid.eq(self.task.valid),
            feed.layer.p.first.eq(task.first),
            feed.layer.p.beats.eq(task.beats),
            feed.layer.p.kernels.eq(layer.kernels),
            feed.layer.p.bands.eq(layer.bands),
            feed.layer.valid.eq(self.task.valid),
        ]
        of_input = self._pieces(m, layer.channels, blocks, "input")
        of_output = self._pieces(m, layer.kernels, words, "output")
        wiring.connect(m, wiring.flipped(self.i), blocks.i)
        wiring.connect(m, words.o, wiring.flipped(self.o))
        m.d.comb += [
            blocks.row_count.eq(pixels),
            blocks.column_count.eq(of_input),
            engine.i.valid.eq(blocks.o.valid),
            blocks.o.ready.eq(engine.i.ready),
            Value.cast(engine.i.payload).eq(blocks.o.payload),
            words.row_count.eq(of_output),
            words.column_count.eq(pixels),
            words.i.valid.eq(engine.o.valid),
            engine.o.ready.eq(words.i.ready),
            Value.cast(words.i.payload).eq(engine.o.payload),
        ]
        return m

    def _pieces(self, m, channels, turns, name):
        """How many channels a word has: all lanes but in the last one of a place."""
        lanes = self.configuration.scan_width
        every, left = (Signal.like(channels, name=f"{name}_{part}") for part in ("every", "left"))
        with m.If(turns.complete):
            m.d.sync += left.eq(Mux(left > lanes, left - lanes, every))
        with m.If(self.task.valid):
            m.d.sync += [every.eq(channels), left.eq(channels)]
        return Mux(left > lanes, lanes, left)
