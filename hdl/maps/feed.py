"""What convolutions need besides their input, from memory."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.ram import Ram
from hdl.streams import Queue, delayed, tally
from hdl.winograd.parameters import BIAS_WIDTH, Descriptor
from hdl.winograd.weights import beat

__all__ = ["Feed", "Feeding"]


class Kind(enum.Enum, shape=2):
    """What an item is."""

    BIAS = 0
    VALUE = 1
    BEAT = 2


class Feeding(data.StructLayout):
    """The items of a layer.

    Parameters
    ----------
    parameters : :class:`~hdl.winograd.parameters.Parameters`
    depth : :class:`int`
        As of :class:`Feed`.
    """

    def __init__(self, parameters, depth):
        descriptor = Descriptor(parameters)
        super().__init__(
            {
                "first": ceil_log2(depth),  # where they begin
                "kernels": descriptor["kernels"].shape,
                "beats": range(depth + 1),
                "bands": descriptor["bands"].shape,  # how many times beats are given
            }
        )


class Feed(wiring.Component):
    """Gives a layer's biases, then the values of its codebook, then its beats of weights, again and
    again for each band.

    They lie one behind the other in memory, an item in each word, lowest bits first. The first one
    is on offer :attr:`LATENCY` cycles after the layer is told; then one in each cycle, as long as
    they are taken.

    Parameters
    ----------
    parameters : :class:`~hdl.winograd.parameters.Parameters`
        Of the engine, which has a ``code_width``.
    depth : :class:`int`
        Items in memory.

    Members
    -------
    layer : ``In(stream.Signature(Feeding(parameters, depth)))``
        Taken when the items of the one before have been read.
    biases, codebook, weights
        To the engine of the same names; see :class:`~hdl.winograd.engine.Engine`.
    load : ``Out``
        Write port.
    """

    LATENCY = 1 + Ram.LATENCY + 1
    # Items on their way at full rate.
    _AHEAD = Ram.LATENCY + 2

    def __init__(self, parameters, *, depth):
        self.parameters = p = parameters
        self._ram = Ram(self.item_width(p), depth=depth)
        super().__init__(
            {
                "layer": In(stream.Signature(Feeding(p, depth))),
                "biases": Out(stream.Signature(signed(BIAS_WIDTH))),
                "codebook": Out(stream.Signature(signed(p.weight_width))),
                "weights": Out(stream.Signature(beat(p))),
                "load": Out(self._ram.load.signature),
            }
        )

    @staticmethod
    def item_width(parameters):
        """Bits of an item."""
        return max(BIAS_WIDTH, beat(parameters).size)

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        m.submodules.ram = ram = self._ram
        wiring.connect(m, wiring.flipped(self.load), ram.load)
        item = data.StructLayout({"kind": Kind, "bits": self.item_width(p)})
        m.submodules.queue = queue = Queue(item, depth=self._AHEAD)

        # Loops: what is left of the items of a kind, and of the bands.
        layer = Signal.like(self.layer.payload)
        active, kind = Signal(), Signal(Kind)
        address = Signal.like(ram.address)
        left, bands = Signal.like(layer.beats), Signal.like(layer.bands)
        last, last_band = left == 1, bands == 1
        asked = Signal()
        ahead = tally(m, asked, queue.o.valid & queue.o.ready, most=self._AHEAD, name="ahead")
        m.d.comb += [asked.eq(active & ~ahead[-1]), self.layer.ready.eq(~active)]
        m.d.comb += ram.address.eq(address)
        with m.If(asked):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
            with m.If(last):
                m.d.sync += left.eq(layer.beats)
                with m.If(kind == Kind.BIAS):
                    m.d.sync += [kind.eq(Kind.VALUE), left.eq(1 << p.code_width)]
                with m.Elif(kind == Kind.VALUE):
                    m.d.sync += [kind.eq(Kind.BEAT), layer.first.eq(address + 1)]
                with m.Else():
                    m.d.sync += [address.eq(layer.first), bands.eq(bands - 1)]
                    m.d.sync += active.eq(~last_band)
        with m.If(self.layer.ready):
            m.d.sync += [layer.eq(self.layer.payload), active.eq(self.layer.valid)]
            m.d.sync += [kind.eq(Kind.BIAS), address.eq(self.layer.p.first)]
            m.d.sync += [left.eq(self.layer.p.kernels), bands.eq(self.layer.p.bands)]

        m.d.comb += [
            queue.i.valid.eq(delayed(m, asked, cycles=Ram.LATENCY, name="asked")),
            queue.i.p.kind.eq(delayed(m, kind, cycles=Ram.LATENCY, name="kind")),
            queue.i.p.bits.eq(ram.o),
        ]
        bits = queue.o.p.bits
        for own, port in (
            (Kind.BIAS, self.biases),
            (Kind.VALUE, self.codebook),
            (Kind.BEAT, self.weights),
        ):
            number = Value.cast(port.payload)
            m.d.comb += [
                number.eq(bits[: len(number)]),
                port.valid.eq(queue.o.valid & (queue.o.p.kind == own)),
            ]
            with m.If(queue.o.p.kind == own):
                m.d.comb += queue.o.ready.eq(port.ready)
        return m
