"""Takes weights and biases, and transforms the weights."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.streams import delayed
from hdl.winograd.parameters import BIAS_WIDTH
from hdl.winograd.transforms import WEIGHTS, Transform, numbers
from hdl.winograd.walk import Weight

__all__ = ["BiasLoad", "Count", "Load", "Weights", "beat"]

_TAPS = 9


def beat(parameters):
    """Shape of a beat of weights: nine codes, or weights, row by row."""
    p = parameters
    return data.ArrayLayout(
        signed(p.weight_width) if p.code_width is None else unsigned(p.code_width), _TAPS
    )


class Count(data.StructLayout):
    """How many weights a layer has.

    Parameters
    ----------
    descriptor : Descriptor
    """

    def __init__(self, descriptor):
        names = ("channels", "kernels", "groups", "bands")
        super().__init__({name: descriptor[name].shape for name in names})


class Load(data.StructLayout):
    """Transformed weights of a kernel and channel, on their way to the kernels.

    Parameters
    ----------
    parameters : Parameters
    """

    def __init__(self, parameters):
        p = parameters
        super().__init__(
            {
                "kernels": p.kernels,  # which of those still ahead it is for
                "address": Weight(p),
                "weights": numbers(p.product_weight_widths),
            }
        )


class BiasLoad(data.StructLayout):
    """A bias on its way to a drain.

    Parameters
    ----------
    parameters : Parameters
    """

    def __init__(self, parameters):
        p = parameters
        super().__init__(
            {
                "drains": p.drains,
                "first": range(p.groups * p.per_drain),
                "half": 1,
                "bias": signed(BIAS_WIDTH),
            }
        )


class Weights(wiring.Component):
    """Takes what a layer needs besides its input, and puts it where it is needed.

    First the biases of a layer are taken, one for each kernel; then its codebook, if there is one;
    then weights: all channels of a group of kernels, for each of them the kernels one after
    another; for all groups; and all of this again for each band. A beat is taken in each cycle, but
    for :attr:`GAP` between groups. The transformed weights of a beat appear :attr:`latency` cycles
    later. Kernels have memory for two groups, of which one can be loaded while the other is used.

    Parameters
    ----------
    parameters : Parameters
    descriptor : Descriptor

    Members
    -------
    layer : ``In(stream.Signature(Count(descriptor)))``
    biases : ``In(stream.Signature(signed(32)))``
    codebook : ``In(stream.Signature(signed(weight_width)))``
        Value after value. Only if there is one.
    weights : ``In(stream.Signature(beat(parameters)))``
    frees : ``In(1)``
        Whether one more group is done with.
    finished : ``In(1)``
        Whether a layer is. There is room for the biases of two.
    loaded : ``Out(1)``
        Whether the last weights of a group are put out.
    o : ``Out(Load(parameters))``
    bias : ``Out(BiasLoad(parameters))``
    """

    # Cycles.
    GAP = 3

    def __init__(self, parameters, descriptor):
        self.parameters = p = parameters
        self.transform = Transform(WEIGHTS[p.tile], width=p.weight_width)
        codebook = {"codebook": In(stream.Signature(signed(p.weight_width)))}
        super().__init__(
            {
                "layer": In(stream.Signature(Count(descriptor))),
                "biases": In(stream.Signature(signed(BIAS_WIDTH))),
                "weights": In(stream.Signature(beat(p))),
                "frees": In(1),
                "finished": In(1),
                "loaded": Out(1),
                "o": Out(Load(p)),
                "bias": Out(BiasLoad(p)),
            }
            | ({} if p.code_width is None else codebook)
        )

    @property
    def latency(self):
        """Cycles from a beat to its transformed weights."""
        return 1 + self.transform.latency

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        layer = Signal(self.layer.payload.shape())
        layers = Signal(2)  # begun, and not finished
        half = Signal()  # of the biases' memories
        left, last = Signal(len(layer.kernels)), Signal()
        entries = Signal(p.code_width or 1)
        left_of_band = Signal(len(layer.kernels))
        begins = Signal()

        m.d.sync += layers.eq(layers + (self.layer.valid & self.layer.ready) - self.finished)
        ended, last_group, last_band = self._take(m, layer, left_of_band, begins)
        # Whatever is on offer is taken over, so that no logic decides about so many registers.
        with m.If(self.layer.ready):
            m.d.sync += layer.eq(self.layer.payload)
        # One of these is set, or weights are being taken.
        idle, prepares = Signal(init=1), Signal()
        taken = self.layer.valid & self.layer.ready
        m.d.sync += self.layer.ready.eq(idle & (layers != 2) & ~taken)
        m.d.sync += [prepares.eq(0), begins.eq(prepares)]
        with m.If(taken):
            m.d.sync += [idle.eq(0), half.eq(~half), self.biases.ready.eq(1)]
            m.d.sync += [left.eq(self.layer.p.kernels - 1), last.eq(self.layer.p.kernels == 1)]
        with m.If(self.biases.ready):
            m.d.sync += left_of_band.eq(layer.kernels)
            with m.If(self.biases.valid):
                m.d.sync += [left.eq(left - 1), last.eq(left == 1)]
                with m.If(last):
                    following = prepares if p.code_width is None else self.codebook.ready
                    m.d.sync += [self.biases.ready.eq(0), following.eq(1)]
        if p.code_width is not None:
            with m.If(self.codebook.ready & self.codebook.valid):
                m.d.sync += entries.eq(entries + 1)
                with m.If(entries.all()):
                    m.d.sync += [self.codebook.ready.eq(0), prepares.eq(1)]
        with m.If(ended):
            after = Mux(last_group, layer.kernels, left_of_band - p.kernels)
            ends = last_group & last_band
            m.d.sync += [left_of_band.eq(after), idle.eq(ends), prepares.eq(~ends)]

        self._spread(m, half)
        self._look_up(m, entries)
        return m

    def _take(self, m, layer, left, begins):
        """Counts beats of weights, from when a group begins until it ends.

        Returns whether it has ended, and is the last one of its band, and that the last one.
        """
        p = self.parameters
        channel, number = Signal(len(layer.channels)), Signal(range(p.kernels))
        kernel = Signal(p.kernels)
        size = Signal(range(p.kernels + 1))
        group, band = Signal.like(layer.groups), Signal.like(layer.bands)
        last_kernel, last_channel, only_kernel = Signal(), Signal(), Signal()
        last_group, last_band = Signal(), Signal()
        half = Signal()
        free, granted, active = Signal(2, init=2), Signal(), Signal()
        taken, ends_group, ended = Signal(), Signal(), Signal()

        # What comes two before the last one.
        third_channel, third_kernel = Signal.like(channel), Signal.like(number)
        greatest_group, greatest_band = Signal.like(group), Signal.like(band)
        m.d.sync += [
            size.eq(Mux(left < p.kernels, left, p.kernels)),
            third_channel.eq(layer.channels - 2),
            third_kernel.eq(size - 2),
            greatest_group.eq(layer.groups - 1),
            greatest_band.eq(layer.bands - 1),
            last_group.eq(group == greatest_group),
            last_band.eq(band == greatest_band),
        ]
        m.d.comb += [
            self.weights.ready.eq(active & granted),
            taken.eq(self.weights.valid & self.weights.ready),
            ends_group.eq(taken & last_kernel & last_channel),
        ]
        with m.If(taken):
            m.d.sync += [kernel.eq(kernel << 1), number.eq(number + 1)]
            m.d.sync += last_kernel.eq(number == third_kernel)
            with m.If(last_kernel):
                m.d.sync += [kernel.eq(1), number.eq(0), last_kernel.eq(only_kernel)]
                m.d.sync += [
                    channel.eq(channel + 1),
                    last_channel.eq(channel == third_channel),
                ]
        with m.If(begins):
            m.d.sync += [kernel.eq(1), number.eq(0), channel.eq(0)]
            m.d.sync += [last_kernel.eq(size == 1), only_kernel.eq(size == 1)]
            m.d.sync += last_channel.eq(layer.channels == 1)
        m.d.sync += [ended.eq(ends_group), active.eq((active | begins) & ~ends_group)]
        with m.If(ended):
            m.d.sync += [half.eq(~half), group.eq(group + 1)]
            with m.If(last_group):
                m.d.sync += [group.eq(0), band.eq(Mux(last_band, 0, band + 1))]

        # A group has its memory before its first beat is taken, and keeps it after its last one.
        grants = Signal()
        m.d.comb += grants.eq((free != 0) & (~granted | ended))
        m.d.sync += free.eq(free + self.frees - grants)
        m.d.sync += granted.eq((granted & ~ended) | grants)

        load = Signal(data.StructLayout({"kernels": p.kernels, "address": Weight(p)}))
        m.d.comb += [
            load.kernels.eq(Mux(taken, kernel, 0)),
            load.address.channel.eq(channel),
            load.address.half.eq(half),
        ]
        told = delayed(m, load, cycles=self.latency, name="load")
        m.d.comb += [self.o.kernels.eq(told.kernels), self.o.address.eq(told.address)]
        loaded = delayed(m, ends_group, cycles=self.latency, name="ends_group")
        m.d.comb += self.loaded.eq(loaded)
        return ended, last_group, last_band

    def _look_up(self, m, entries):
        """Weights of a beat, transformed."""
        p = self.parameters
        m.submodules.transform = transform = self.transform
        for n in range(_TAPS):
            weight = Signal(signed(p.weight_width), name=f"weight_{n}", reset_less=True)
            value = self.weights.p[n]
            if p.code_width is not None:
                # One copy for each weight: LUT RAM is read where it is.
                m.submodules[f"codebook_{n}"] = codebook = Memory(
                    shape=signed(p.weight_width), depth=1 << p.code_width, init=[]
                )
                write, read = codebook.write_port(), codebook.read_port(domain="comb")
                m.d.comb += [
                    write.addr.eq(entries),
                    write.data.eq(self.codebook.payload),
                    write.en.eq(self.codebook.valid & self.codebook.ready),
                    read.addr.eq(value),
                ]
                value = read.data
            m.d.sync += weight.eq(value)
            m.d.comb += transform.i[n // 3][n % 3].eq(weight)
        m.d.comb += self.o.weights.eq(transform.o)

    def _spread(self, m, half):
        """Biases to the drains: to the kernels of the first one, then to those of the next."""
        p = self.parameters
        number = Signal(range(p.kernels))  # in its group
        place, first = Signal(len(self.bias.first)), Signal(len(self.bias.first))
        drain = Signal(p.drains, init=1)
        inside = Signal(range(p.per_drain))
        m.d.sync += [
            self.bias.drains.eq(0),
            self.bias.first.eq(place),
            self.bias.half.eq(half),
            self.bias.bias.eq(self.biases.payload),
        ]
        with m.If(self.layer.valid & self.layer.ready):
            m.d.sync += [number.eq(0), place.eq(0), first.eq(0), drain.eq(1), inside.eq(0)]
        with m.If(self.biases.valid & self.biases.ready):
            m.d.sync += self.bias.drains.eq(drain)
            m.d.sync += [number.eq(number + 1), inside.eq(inside + 1), place.eq(place + 1)]
            with m.If(inside == p.per_drain - 1):
                m.d.sync += [inside.eq(0), place.eq(first), drain.eq(drain << 1)]
            with m.If(number == p.kernels - 1):
                m.d.sync += [number.eq(0), inside.eq(0), drain.eq(1)]
                m.d.sync += [place.eq(first + p.per_drain), first.eq(first + p.per_drain)]
