"""Makes one word of each window: pooling, the sum of two maps, another radix point."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.fixed import Requantise
from hdl.maps.memory import Item
from hdl.multiplier import Multiplier
from hdl.streams import Queue, delayed, tally

__all__ = ["Fold", "Folding", "Operation"]


class Operation(enum.Enum, shape=2):
    """What is made of the words of a window, lane by lane, before it is multiplied."""

    GREATEST = 0  # of those that are inside; at least one has to be
    SUM = 1
    ADD = 2  # of two words, of which the second is added to the product


class Folding(data.StructLayout):
    """What to make of windows: the result is
    ``clamp(round((operation * factor + addend) / 2 ** shift), low, high)``.

    Parameters
    ----------
    activation_width, accumulator_width, factor_width : :class:`int`
        As of :class:`Fold`.
    """

    def __init__(self, activation_width, accumulator_width, factor_width):
        self.accumulator_width = accumulator_width
        super().__init__(
            {
                "operation": Operation,
                "factor": signed(factor_width),
                "shift": range(accumulator_width + factor_width),
                "low": signed(activation_width),
                "high": signed(activation_width),
            }
        )


class Fold(wiring.Component):
    """Makes one word of each window.

    Words that are not inside do not count. A word is taken a cycle, into the accumulators of all
    lanes; when a window has ended, its results are made one a cycle while the next window comes. So
    a window takes as many cycles as it has words, or ``scan_width`` if that is more. Its word is on
    offer :attr:`latency` cycles after the last word of the window is taken. A folding is taken when
    all words of the one before are made, and the first word of its route a cycle later.

    A sum wraps around if it does not fit the accumulator; products and what is added to them always
    fit. With ``ADD``, a factor that is a power of two brings the first word to the radix point of
    the second.

    Parameters
    ----------
    scan_width : :class:`int`
        Activations in a word.
    activation_width : :class:`int`
        Bits in an activation, two's complement.
    accumulator_width : :class:`int`
        Bits in a sum, two's complement. At least ``activation_width``. One multiplier is enough
        for 18, and for each 17 more it takes another one.
    factor_width : :class:`int`
        Bits in a factor, two's complement. At most :attr:`Multiplier.WIDEST`.

    Members
    -------
    folding : ``In(stream.Signature(Folding(activation_width, accumulator_width, factor_width)))``
        For the words up to one that ends a route.
    i : ``In(stream.Signature(Item(ArrayLayout(signed(activation_width), scan_width))))``
    o : ``Out(stream.Signature(ArrayLayout(signed(activation_width), scan_width)))``
    """

    # Bits of a sum that go to a multiplier, if there are several.
    _PART = Multiplier.WIDEST - 1

    def __init__(
        self, *, scan_width, activation_width, accumulator_width, factor_width=Multiplier.WIDEST
    ):
        widths = {
            "scan_width": scan_width,
            "activation_width": activation_width,
            "accumulator_width": accumulator_width,
            "factor_width": factor_width,
        }
        for name, value in widths.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TypeError(f"{name} must be a positive integer, not {value!r}")
        if accumulator_width < activation_width:
            raise ValueError(
                f"accumulator_width must be at least activation_width ({activation_width}), "
                f"not {accumulator_width!r}"
            )
        if factor_width > Multiplier.WIDEST:
            raise ValueError(
                f"factor_width must be at most {Multiplier.WIDEST}, not {factor_width!r}"
            )
        self.scan_width = scan_width
        self.accumulator_width = accumulator_width
        self.product_width = accumulator_width + factor_width
        word = data.ArrayLayout(signed(activation_width), scan_width)
        folding = Folding(activation_width, accumulator_width, factor_width)
        super().__init__(
            {
                "folding": In(stream.Signature(folding)),
                "i": In(stream.Signature(Item(word))),
                "o": Out(stream.Signature(word)),
            }
        )

    @property
    def _parts(self):
        """Multipliers."""
        return max(1, -(-(self.accumulator_width - 1) // self._PART))

    @property
    def _multiplied(self):
        """Cycles from a sum to its product."""
        return Multiplier.LATENCY + (self._parts > 1)

    @property
    def _made(self):
        """Cycles from a lane's turn until its result is in a word."""
        return self._multiplied + Requantise.deep_latency(self.product_width) + 1

    @property
    def _ahead(self):
        """Windows between the accumulators and who takes their words, one each ``scan_width``."""
        # All lanes have their turns; the word is put into the queue, on offer up to two cycles
        # later, and a cycle after it is taken there is room.
        cycles = self.scan_width + self._made + 3
        return max(2, -(-cycles // self.scan_width))

    @property
    def latency(self):
        """Cycles."""
        # Into a register, into the accumulators, to the first lane's turn, to the last one's.
        turn = 3 + self.scan_width - 1
        return turn + self._made + Queue.latency(self._ahead)

    def elaborate(self, platform):
        m = Module()

        folding = Signal.like(self.folding.payload)
        active, ended = Signal(), Signal()
        m.d.comb += self.folding.ready.eq(~active)
        with m.If(~active):
            m.d.sync += [folding.eq(self.folding.payload), active.eq(self.folding.valid)]

        # A word waits in a register until it is accumulated. A window that has ended waits in the
        # accumulators until the lanes of the one before have had their turns.
        item = Signal.like(self.i.payload)
        waits, full = Signal(), Signal()
        goes, leaves = Signal(), Signal()
        m.d.comb += [
            goes.eq(waits & (~full | leaves)),
            self.i.ready.eq(active & ~ended & (~waits | goes)),
        ]
        with m.If(self.i.ready):
            m.d.sync += [item.eq(self.i.payload), waits.eq(self.i.valid)]
            m.d.sync += ended.eq(self.i.valid & self.i.p.ends_route)
        with m.Elif(goes):
            m.d.sync += waits.eq(0)
        with m.If(goes):
            m.d.sync += full.eq(item.ends_window)
        with m.Elif(leaves):
            m.d.sync += full.eq(0)
        sums, addends = self._accumulate(m, folding, item, goes)

        # Lanes take turns, and a word leaves with its last one.
        m.submodules.queue = queue = Queue(self.o.payload.shape(), depth=self._ahead)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        busy = Signal()
        turns = Signal(self.scan_width)
        ahead = tally(m, leaves, self.o.valid & self.o.ready, most=self._ahead, name="ahead")
        m.d.comb += leaves.eq(full & (~busy | turns[-1]) & ~ahead[-1])
        m.d.sync += turns.eq(turns << 1)
        with m.If(leaves):
            m.d.sync += [turns.eq(1), busy.eq(1)]
        with m.Elif(turns[-1]):
            m.d.sync += busy.eq(0)
        total = self._in_turns(m, sums, leaves, "totals")
        addend = self._in_turns(m, addends, leaves, "rest")
        result = self._finish(m, folding, total, addend)
        word = Signal.like(self.o.payload)
        m.d.sync += Value.cast(word).eq(Cat(word, result)[len(result) :])
        done = delayed(m, turns[-1], cycles=self._made, name="done")
        m.d.comb += [queue.i.payload.eq(word), queue.i.valid.eq(done)]

        # The last window of a route leaves with no word behind it.
        last = Signal()
        with m.If(leaves):
            m.d.sync += last.eq(ended & ~waits)
        with m.If(delayed(m, turns[-1] & last, cycles=self._made, name="last")):
            m.d.sync += [active.eq(0), ended.eq(0)]

        return m

    def _accumulate(self, m, folding, item, goes):
        """Sums or greatest activations of all lanes, and what is added later."""
        # Whether no word of the window has come, or none that is inside.
        first, empty = Signal(init=1), Signal(init=1)
        greatest, adds = Signal(), Signal()
        m.d.comb += [
            greatest.eq(folding.operation == Operation.GREATEST),
            adds.eq((folding.operation == Operation.ADD) & ~first),
        ]
        with m.If(goes):
            m.d.sync += first.eq(item.ends_window)
            m.d.sync += empty.eq(item.ends_window | (empty & ~item.inside))

        sums = Signal(data.ArrayLayout(signed(self.accumulator_width), self.scan_width))
        most, addends = Signal.like(item.word), Signal.like(item.word)
        found = Signal.like(sums)
        for n, value in enumerate(item.word):
            # A comparison takes longer than an addition, so that the greatest has its own register.
            with m.If(goes & item.inside & (empty | (value > most[n]))):
                m.d.sync += most[n].eq(value)
            with m.If(goes & ~adds):
                m.d.sync += sums[n].eq(Mux(first, 0, sums[n]) + Mux(item.inside, value, 0))
            with m.If(goes):
                m.d.sync += addends[n].eq(Mux(adds, value, 0))
            m.d.comb += found[n].eq(Mux(greatest, most[n], sums[n]))
        return found, addends

    def _in_turns(self, m, values, leaves, name):
        """The value of lane 0 a cycle after ``leaves``, then that of lane 1, and so on."""
        lanes = Signal.like(values, name=name)
        m.d.sync += Value.cast(lanes).eq(Value.cast(lanes) >> len(lanes[0]))
        with m.If(leaves):
            m.d.sync += lanes.eq(values)
        return lanes[0]

    def _finish(self, m, folding, total, addend):
        """The activation that comes of a sum and of what is added to its product."""
        products = []
        for n in range(self._parts):
            part = total[n * self._PART :].as_signed()
            if n < self._parts - 1:
                part = Cat(part[: self._PART], 0).as_signed()
            m.submodules[f"multiplier_{n}"] = multiplier = Multiplier(
                a_width=len(part), b_width=len(folding.factor)
            )
            m.d.comb += [multiplier.a.eq(part), multiplier.b.eq(folding.factor)]
            products.append(multiplier.o << n * self._PART)
        product = Signal(signed(self.product_width))
        domain = m.d.sync if self._parts > 1 else m.d.comb
        domain += product.eq(sum(products))

        m.submodules.requantise = requantise = Requantise(
            width=self.product_width,
            bias_width=len(addend),
            result_width=len(addend),
            deep=True,
        )
        m.d.comb += [
            requantise.value.eq(product),
            requantise.bias.eq(delayed(m, addend, cycles=self._multiplied, name="addend")),
            requantise.shift.eq(folding.shift),
            requantise.low.eq(folding.low),
            requantise.high.eq(folding.high),
        ]
        return requantise.o
