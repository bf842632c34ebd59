"""The whole unit."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.streams import delayed
from hdl.verilog import shared
from hdl.winograd.collect import Collect
from hdl.winograd.drain import Drain
from hdl.winograd.kernel import Hop, Kernel, skewed
from hdl.winograd.parameters import BIAS_WIDTH, Block, Descriptor
from hdl.winograd.transforms import INPUTS, Transform
from hdl.winograd.walk import Steps, Walk
from hdl.winograd.weights import Weights, beat
from hdl.winograd.windows import Windows

__all__ = ["Engine"]


class Engine(wiring.Component):
    """3x3 convolution with stride 1 by F(m x m, 3 x 3), exact.

    Layers are told first, and then come their inputs, biases and weights, each as early as it
    likes: what there is no room for waits. Results of a layer leave before those of the next one,
    in the same order as an input: block by block, which is ``tile`` rows and columns of a channel;
    in a row of blocks from left to right, for each of them channel by channel. All of it is only
    ever held up by what is missing, or by results that nobody takes.

    A tile takes a cycle for each input channel, or for two in a paired layer, and group of
    ``kernels`` output channels; and at least ``least`` for a group.

    Parameters
    ----------
    parameters : Parameters

    Members
    -------
    layer : ``In(stream.Signature(Descriptor(parameters)))``
    i : ``In(stream.Signature(Block(parameters)))``
    biases : ``In(stream.Signature(signed(32)))``
        One for each output channel.
    codebook : ``In(stream.Signature(signed(weight_width)))``
        ``2**code_width`` values for each layer. Only if there is a ``code_width``.
    weights : ``In(stream.Signature(beat(parameters)))``
        Nine of them a beat, in the order that :class:`~hdl.winograd.weights.Weights` takes.
    o : ``Out(stream.Signature(Block(parameters)))``
    busy : ``Out(1)``
        From the cycle in which the first tile of a layer is told until its last result is there.
    """

    # After a reset, what was on its way must not be added to any sum.
    _CLEAR = 64

    def __init__(self, parameters):
        self.parameters = p = parameters
        codebook = {"codebook": In(stream.Signature(signed(p.weight_width)))}
        super().__init__(
            {
                "layer": In(stream.Signature(Descriptor(p))),
                "i": In(stream.Signature(Block(p))),
                "biases": In(stream.Signature(signed(BIAS_WIDTH))),
                "weights": In(stream.Signature(beat(p))),
                "o": Out(stream.Signature(Block(p))),
                "busy": Out(1),
            }
            | ({} if p.code_width is None else codebook)
        )

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        descriptor = Descriptor(p)
        m.submodules.walk = walk = Walk(p)
        m.submodules.steps = steps = Steps(p)
        m.submodules.windows = windows = Windows(
            p, blocks=descriptor["blocks"].shape, channels=descriptor["channels"].shape
        )
        m.submodules.weights = weights = Weights(p, descriptor)
        m.submodules.collect = collect = Collect(p)
        self._tell(m, walk, windows, weights)

        # What was on its way when a reset came is gone by the end of this.
        clearing = Signal(range(self._CLEAR), init=self._CLEAR - 1)
        clear = Signal(init=1)
        with m.If(clearing == 0):
            m.d.sync += clear.eq(0)
        with m.Else():
            m.d.sync += clearing.eq(clearing - 1)

        layer = walk.current
        wiring.connect(m, walk.o, steps.i)
        wiring.connect(m, walk.band, collect.band)
        wiring.connect(m, wiring.flipped(self.i), windows.i)
        for name in ("biases", "weights", *(["codebook"] if p.code_width else [])):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(weights, name))
        wiring.connect(m, collect.o, wiring.flipped(self.o))
        m.d.comb += [
            walk.written.eq(windows.written),
            walk.arrived.eq(windows.arrived),
            walk.loaded.eq(weights.loaded),
            walk.freed.eq(collect.freed),
            walk.clear.eq(clear),
            steps.channels.eq(layer.channels),
            windows.oldest.eq(walk.oldest),
            windows.pads.eq(layer.pads),
            windows.pitch.eq(layer.pitch),
            windows.channels.eq(layer.channels),
            windows.place.eq(steps.place),
            self.busy.eq(walk.busy),
        ]

        values = []
        for n in range(p.ways):
            transform = Transform(INPUTS[p.tile], width=p.activation_width)
            m.submodules[f"transform_{n}"] = transform
            m.d.comb += transform.i.eq(windows.o[n])
            values.append(skewed(m, transform.o, size=p.size, name=f"values_{n}"))
        to_kernels = Windows.LATENCY + Transform.latency(INPUTS[p.tile])
        at_weights = to_kernels - Hop.LATENCY
        # Whoever is told that weights are read for the last time brings others after that.
        assert at_weights < Weights.TURN + weights.latency
        kernels = []
        for n in range(p.kernels):
            kernel = shared(platform, lambda: Kernel(p), name="winograd_kernel")
            m.submodules[f"kernel_{n}"] = kernel
            kernels.append(kernel)
            if n:
                wiring.connect(m, kernels[n - 1].next, kernel.i)
        first = kernels[0].i
        loaded = delayed(m, weights.o.weights, cycles=1, name="loaded")
        m.d.comb += [
            first.weight.eq(delayed(m, steps.weight, cycles=at_weights, name="weight")),
            *(way.eq(numbers) for way, numbers in zip(first.values, values, strict=True)),
            first.ends.eq(delayed(m, steps.ends, cycles=to_kernels, name="ends")),
            first.load.eq(weights.o),
            first.load.weights.eq(skewed(m, loaded, size=p.size, name="loaded")),
            first.clear.eq(clear),
            weights.frees.eq(steps.frees),
        ]
        if p.pairs:
            m.d.comb += steps.paired.eq(layer.paired)
            m.d.comb += [
                first.load.selects[n].eq(
                    delayed(m, select, cycles=1 + n // p.size, name=f"select_{n}")
                )
                for n, select in enumerate(weights.o.selects)
            ]
        self._drain(m, steps, weights, collect, kernels, to_kernels, layer, clear)
        m.d.comb += [
            weights.finished.eq(collect.i[-1].ends_layer),
            walk.finished.eq(collect.i[-1].ends_layer),
        ]
        return m

    def _tell(self, m, walk, windows, weights):
        """Layers to each of those who need to know, who are not at the same one."""
        layer = Signal(self.layer.payload.shape())
        ports = [walk.layer, windows.layer, weights.layer]
        pending = Signal(len(ports))
        taken = self.layer.valid & self.layer.ready
        m.d.sync += self.layer.ready.eq((pending == 0) & ~taken)
        with m.If(self.layer.ready):
            m.d.sync += layer.eq(self.layer.payload)
        for n, port in enumerate(ports):
            m.d.comb += port.valid.eq(pending[n])
            m.d.comb += [port.p[field].eq(layer[field]) for field, _ in port.payload.shape()]
            with m.If(port.ready):
                m.d.sync += pending[n].eq(0)
        with m.If(taken):
            m.d.sync += pending.eq(-1)

    def _drain(self, m, steps, weights, collect, kernels, to_kernels, layer, clear):
        """The drains, each with its kernels."""
        p = self.parameters
        half = Signal(init=1)
        m.d.sync += half.eq(half ^ collect.i[-1].ends_layer)
        # Drains are far from each other, so that what all of them need goes from one to the next.
        settings = ("shift", "low", "high", *(["paired"] if p.pairs else []))
        common = data.StructLayout(
            {name: layer[name].shape() for name in settings}
            | {"half": 1, "bias": weights.bias.shape(), "clear": 1}
        )
        told = Signal(common)
        m.d.comb += [told[name].eq(layer[name]) for name in settings]
        m.d.comb += [told.half.eq(half), told.bias.eq(weights.bias), told.clear.eq(clear)]
        begins, result = steps.ends, steps.result
        waited = 0
        for n in range(p.drains):
            mine = kernels[n * p.per_drain : (n + 1) * p.per_drain]
            m.submodules[f"drain_{n}"] = drain = Drain(p, kernels=len(mine))
            wait = to_kernels + n * p.per_drain + Kernel.LATENCY - Drain.AHEAD
            begins = delayed(m, begins, cycles=wait - waited, name=f"begins_{n}")
            result = delayed(m, result, cycles=wait - waited, name=f"result_{n}")
            waited = wait
            told = delayed(m, told, cycles=1, name=f"told_{n}")
            m.d.comb += [
                drain.begins.eq(begins),
                drain.result.eq(result),
                *(getattr(drain, name).eq(told[name]) for name, _ in common),
                drain.bias.drains.eq(told.bias.drains >> n),
                collect.i[n].eq(drain.o),
            ]
            for k, kernel in enumerate(mine):
                m.d.comb += [kernel.rows.eq(drain.rows[k]), drain.sums[k].eq(kernel.o)]
