"""Takes weights and biases, and transforms the weights."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.streams import delayed
from hdl.winograd.parameters import BIAS_WIDTH, TAPS
from hdl.winograd.transforms import WEIGHTS, Transform, numbers
from hdl.winograd.walk import Weight

__all__ = ["BiasLoad", "Count", "Load", "Weights", "beat"]


def beat(parameters):
    """Shape of a beat of weights: nine codes, or weights, row by row.

    If layers can be paired, each of them has one bit more, the highest: which of the two channels
    it is for.
    """
    p = parameters
    number = signed(p.weight_width) if p.code_width is None else unsigned(p.code_width)
    if p.pairs:
        number = data.StructLayout({"number": number, "select": 1})
    return data.ArrayLayout(number, TAPS)


class Count(data.StructLayout):
    """How many weights a layer has.

    Parameters
    ----------
    descriptor : Descriptor
    """

    def __init__(self, descriptor):
        names = ("channels", "kernels", "groups", "bands", "paired")
        fields = dict(descriptor)
        super().__init__({name: fields[name].shape for name in names if name in fields})


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
            | ({"selects": p.size**2} if p.pairs else {})  # which way each of them is for
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
    a group takes at least :attr:`LEAST`. The transformed weights of a beat appear :attr:`latency`
    cycles later. Kernels have memory for two groups, of which one can be loaded while the other is
    used.

    Weights of a paired layer are not transformed. There are as many beats as their ``size**2``
    numbers take, for a kernel and two channels.

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
        Whether one more group will be done with, channel after channel, before others can follow.
    finished : ``In(1)``
        Whether a layer is. There is room for the biases of two.
    loaded : ``Out(1)``
        Whether the last weights of a group are put out.
    o : ``Out(Load(parameters))``
    bias : ``Out(BiasLoad(parameters))``
    """

    # Cycles, and those from when a layer has all but weights until the first of them are taken.
    LEAST = 3
    START = 3
    # From ``frees`` until a beat is taken for that.
    TURN = 2

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
        return 1 + Transform.latency(WEIGHTS[self.parameters.tile])

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        layer = Signal(self.layer.payload.shape())
        layers = Signal(2)  # begun, and not finished
        half = Signal()  # of the biases' memories
        left, last = Signal(len(layer.kernels)), Signal()
        entries = Signal(p.code_width or 1)
        starts = Signal()

        m.d.sync += layers.eq(layers + (self.layer.valid & self.layer.ready) - self.finished)
        ends = self._take(m, layer, starts)
        # Whatever is on offer is taken over, so that no logic decides about so many registers.
        with m.If(self.layer.ready):
            m.d.sync += layer.eq(self.layer.payload)
        # One of these is set, or weights are being taken.
        idle = Signal(init=1)
        taken = self.layer.valid & self.layer.ready
        m.d.sync += self.layer.ready.eq(idle & (layers != 2) & ~taken)
        m.d.sync += starts.eq(0)
        with m.If(taken):
            m.d.sync += [idle.eq(0), half.eq(~half), self.biases.ready.eq(1)]
            m.d.sync += [left.eq(self.layer.p.kernels - 1), last.eq(self.layer.p.kernels == 1)]
        with m.If(self.biases.ready & self.biases.valid):
            m.d.sync += [left.eq(left - 1), last.eq(left == 1)]
            with m.If(last):
                following = starts if p.code_width is None else self.codebook.ready
                m.d.sync += [self.biases.ready.eq(0), following.eq(1)]
        if p.code_width is not None:
            with m.If(self.codebook.ready & self.codebook.valid):
                m.d.sync += entries.eq(entries + 1)
                with m.If(entries.all()):
                    m.d.sync += [self.codebook.ready.eq(0), starts.eq(1)]
        with m.If(ends):
            m.d.sync += idle.eq(1)

        self._spread(m, half)
        weights = self._look_up(m, entries)
        if p.pairs:
            self._choose(m, layer, weights)
        else:
            m.d.comb += self.o.weights.eq(self.transform.o)
        return m

    def _take(self, m, layer, starts):
        """Takes the beats of a layer. Returns whether this is the last one of them."""
        p = self.parameters
        channel, number = Signal(len(layer.channels)), Signal(range(p.kernels))
        kernel = Signal(p.kernels)
        last_kernel, last_channel = Signal(), Signal()
        half = Signal()
        free, granted, active = Signal(2, init=2), Signal(), Signal()
        taken, ends_group = Signal(), Signal()
        begins, following, now = self._groups(m, layer, starts, active, ends_group)

        # Channels, or pairs of them; and two before the last one.
        steps = layer.channels >> layer.paired if p.pairs else layer.channels
        third_channel = Signal.like(channel)
        m.d.sync += third_channel.eq(steps - 2)
        beat_taken = self.weights.valid & self.weights.ready
        m.d.comb += [
            self.weights.ready.eq(active & granted),
            taken.eq(beat_taken & self._completes(m, layer) if p.pairs else beat_taken),
            ends_group.eq(taken & last_kernel & last_channel),
        ]
        with m.If(taken):
            m.d.sync += [kernel.eq(kernel << 1), number.eq(number + 1)]
            m.d.sync += last_kernel.eq(number == now.third)
            with m.If(last_kernel):
                m.d.sync += [kernel.eq(1), number.eq(0), last_kernel.eq(now.only)]
                m.d.sync += [
                    channel.eq(channel + 1),
                    last_channel.eq(channel == third_channel),
                ]
        with m.If(begins):
            m.d.sync += [kernel.eq(1), number.eq(0), channel.eq(0)]
            m.d.sync += [last_kernel.eq(following.only), last_channel.eq(steps == 1)]
        m.d.sync += [active.eq(begins | (active & ~ends_group)), half.eq(half ^ ends_group)]

        # A group has its memory before its first beat is taken, and keeps it after its last one.
        grants = Signal()
        m.d.comb += grants.eq((free != 0) & (~granted | ends_group))
        m.d.sync += free.eq(free + self.frees - grants)
        m.d.sync += granted.eq((granted & ~ends_group) | grants)

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
        return ends_group & now.final

    def _completes(self, m, layer):
        """Whether the beat that is on offer is the last one for its kernel and step."""
        parts = self.parameters.parts_of_weights
        left = Signal(range(parts), init=parts - 1)
        completes = ~layer.paired | (left == 0)
        with m.If(self.weights.valid & self.weights.ready):
            m.d.sync += left.eq(Mux(completes, parts - 1, left - 1))
        return completes

    def _groups(self, m, layer, starts, active, ends_group):
        """Prepares groups of kernels, each while the one before it is taken.

        Returns whether one begins, what is to be known of the next one to begin, and of the one
        that began last.
        """
        p = self.parameters
        group = data.StructLayout(
            {
                "third": range(p.kernels),  # which kernel comes two before the last one
                "only": 1,  # whether there is one kernel
                "final": 1,  # whether it is the last group of the layer
            }
        )
        following, now = Signal(group), Signal(group)
        left = Signal(len(layer.kernels))  # of the band's, from this group on
        size = Signal(range(p.kernels + 1))
        number, band = Signal.like(layer.groups), Signal.like(layer.bands)
        greatest_number, greatest_band = Signal.like(number), Signal.like(band)
        last_group, last_band = Signal(), Signal()
        m.d.sync += [
            size.eq(Mux(left < p.kernels, left, p.kernels)),
            greatest_number.eq(layer.groups - 1),
            greatest_band.eq(layer.bands - 1),
            last_group.eq(number == greatest_number),
            last_band.eq(band == greatest_band),
            following.third.eq(size - 2),
            following.only.eq(size == 1),
            following.final.eq(last_group & last_band),
        ]

        begins, settles, prepared = Signal(), Signal(self.LEAST - 1), Signal()
        m.d.comb += begins.eq(prepared & (~active | ends_group))
        more = starts | (begins & ~following.final)
        m.d.sync += [
            settles.eq(Cat(more, settles)),
            prepared.eq((prepared & ~begins) | settles[-1]),
        ]
        with m.If(starts):
            m.d.sync += left.eq(layer.kernels)
        with m.If(begins):
            m.d.sync += [now.eq(following), left.eq(left - p.kernels), number.eq(number + 1)]
            with m.If(last_group):
                m.d.sync += [left.eq(layer.kernels), number.eq(0)]
                m.d.sync += band.eq(Mux(last_band, 0, band + 1))
        return begins, following, now

    def _look_up(self, m, entries):
        """Transforms the weights of a beat. Returns them as they are, a cycle after they came."""
        p = self.parameters
        m.submodules.transform = transform = self.transform
        weights = []
        for n in range(TAPS):
            weight = Signal(signed(p.weight_width), name=f"weight_{n}", reset_less=True)
            value = self.weights.p[n].number if p.pairs else self.weights.p[n]
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
            weights.append(weight)
        return weights

    def _choose(self, m, layer, weights):
        """Puts out transformed weights; or, in a paired layer, those of several beats."""
        p = self.parameters
        taken = Signal()
        selects = [Signal(name=f"select_{n}", reset_less=True) for n in range(TAPS)]
        m.d.sync += taken.eq(self.weights.valid & self.weights.ready)
        m.d.sync += [select.eq(self.weights.p[n].select) for n, select in enumerate(selects)]

        # When the last beat for a kernel is there, those before it are further on.
        given = [Cat(*both) for both in zip(weights, selects, strict=True)]
        for part in range(1, p.parts_of_weights):
            earlier = [
                Signal(p.weight_width + 1, name=f"given_{n}_{part}", reset_less=True)
                for n in range(TAPS)
            ]
            with m.If(taken):
                m.d.sync += [x.eq(y) for x, y in zip(earlier, given[:TAPS], strict=True)]
            given = earlier + given

        # As late as transformed ones. In another layer, a channel is the first or the second one.
        plain = delayed(m, ~layer.paired, cycles=self.latency, name="plain")
        for n, number in enumerate(given[: p.size**2]):
            later = delayed(m, number, cycles=self.latency - 1, name=f"later_{n}")
            weight, select = later[:-1].as_signed(), later[-1]
            m.d.comb += [
                self.o.weights[str(n)].eq(Mux(plain, self.transform.o[str(n)], weight)),
                self.o.selects[n].eq(Mux(plain, self.o.address.channel[0], select)),
            ]

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
