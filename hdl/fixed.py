"""Fixed-point arithmetic that every engine shares."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.streams import delayed

__all__ = ["Requantise"]


class Requantise(wiring.Component):
    """``clamp(round((value + bias) / 2 ** shift), low, high)``, ties to the even neighbour.

    A result appears :attr:`latency` cycles after its operands, one a cycle; there is no
    backpressure. ``shift``, ``low`` and ``high`` are to stand still while results are on their
    way, from two cycles before the first one on, or three without biases. A rectifier is a ``low``
    of 0. The sum wraps around if it does not fit ``value``.

    Parameters
    ----------
    width : :class:`int`
        Bits in a value, two's complement.
    bias_width : :class:`int` or None
        Bits in a bias, two's complement. At most ``width``. None if there is none, which takes a
        cycle less.
    result_width : :class:`int`
        Bits in a result, two's complement. Less than ``width``.
    deep : :class:`bool`
        Whether the shift takes more registers, for a higher clock.

    Members
    -------
    value : ``In(signed(width))``
    bias : ``In(signed(bias_width))``
        Only if there is a ``bias_width``.
    shift : ``In(range(width))``
        Bits to drop.
    low, high : ``In(signed(result_width))``
        Bounds of the result.
    o : ``Out(signed(result_width))``
    """

    # Cycles, of one that is not deep: the sum, the shift, comparisons, the result.
    LATENCY = 4
    # Of a deep one, bits of the shift to a register, and bits that are looked at together.
    _STEP = 2
    _PART = 8

    def __init__(self, *, width, bias_width, result_width, deep=False):
        widths = {"width": width, "bias_width": bias_width, "result_width": result_width}
        if bias_width is None:
            del widths["bias_width"]
        for name, value in widths.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TypeError(f"{name} must be a positive integer, not {value!r}")
        if bias_width is not None and bias_width > width:
            raise ValueError(f"bias_width must be at most width ({width}), not {bias_width!r}")
        if result_width >= width:
            raise ValueError(
                f"result_width must be less than width ({width}), not {result_width!r}"
            )
        self.width = width
        self.bias_width = bias_width
        self.deep = deep
        super().__init__(
            {
                "value": In(signed(width)),
                "shift": In(range(width)),
                "low": In(signed(result_width)),
                "high": In(signed(result_width)),
                "o": Out(signed(result_width)),
            }
            | ({} if bias_width is None else {"bias": In(signed(bias_width))})
        )

    @property
    def latency(self):
        """Cycles."""
        latency = self.deep_latency(self.width) if self.deep else self.LATENCY
        return latency - (self.bias_width is None)

    @classmethod
    def deep_latency(cls, width):
        """Cycles, of a deep one with biases."""
        return cls.LATENCY + (len(Const(0, range(width))) - 1) // cls._STEP

    def elaborate(self, platform):
        m = Module()

        total = self.value
        if self.bias_width is not None:
            total = Signal(signed(self.width))
            m.d.sync += total.eq(self.value + self.bias)

        # The bits that are kept, and below them the highest one that is dropped, which is the half.
        halves = Cat(0, total).as_signed()
        shift = self._shift_deep if self.deep else self._shift
        halves, negative_total, lost = shift(m, halves)
        # Whether any below that one is set is all that rounding needs to know of the others. Bit n
        # is one of these if ``shift`` is more than n + 1, of which parts are compared first.
        fine, coarse = self.shift[: self._STEP], self.shift[self._STEP :]
        beyond_fine = Signal((1 << len(fine)) - 1)
        beyond, same = Signal((1 << len(coarse)) - 1), Signal(1 << len(coarse))
        m.d.sync += [
            beyond_fine.eq(Cat(fine > n for n in range(len(beyond_fine)))),
            beyond.eq(Cat(coarse > n for n in range(len(beyond)))),
            same.eq(Cat(coarse == n for n in range(len(same)))),
        ]
        ignored = Signal(self.width)
        places = [divmod(n, 1 << len(fine)) for n in range(1, self.width)]
        m.d.sync += ignored.eq(
            Cat(
                Cat(beyond, 0)[upper] | (same[upper] & Cat(beyond_fine, 0)[lower])
                for upper, lower in places
            )
        )
        dropped = total & ignored
        length = self._PART if self.deep else self.width
        parts = Signal(-(-self.width // length))
        m.d.sync += parts.eq(
            Cat(dropped[n : n + length].any() for n in range(0, self.width, length))
        )
        steps = self.latency - (self.bias_width is not None) - 2
        below = delayed(m, parts.any(), cycles=steps - 1, name="below")

        # What is below ``low`` may round up to it, but no further; what is at ``high`` stays there.
        # So neither waits for rounding. What does not fit a result is beyond one of them.
        kept = halves >> 1
        result, rest = kept[: len(self.o)].as_signed(), kept[len(self.o) - 1 :]
        rounded, negative, fits = Signal(len(self.o)), Signal(), Signal()
        m.d.sync += [
            rounded.eq(result + (halves[0] & (below | kept[0]))),
            negative.eq(negative_total),
            fits.eq(~lost & (rest == negative_total.replicate(len(rest)))),
        ]
        below_low = self._less(m, result, self.low, "low")
        below_high = self._less(m, result, self.high, "high")
        with m.If(Mux(fits, below_low, negative)):
            m.d.sync += self.o.eq(self.low)
        with m.Elif(~fits | ~below_high):
            m.d.sync += self.o.eq(self.high)
        with m.Else():
            m.d.sync += self.o.eq(rounded)

        return m

    def _shift(self, m, halves):
        """Shifted in a cycle: ``halves``, whether they are negative, and whether bits were lost."""
        shifted = Signal.like(halves, name="shifted")
        m.d.sync += shifted.eq(halves >> self.shift)
        return shifted, shifted[-1], Const(0)

    def _shift_deep(self, m, halves):
        """Likewise, in some cycles. The bits of a step are lost that no later one will need.

        The largest step comes first, so that they are many. They are only looked at: all have to be
        as the sign.
        """
        lost = Const(0)
        negative = halves[-1]
        for high in range(len(self.shift), 0, -self._STEP):
            low = max(high - self._STEP, 0)
            by = self.shift[low:high]
            width = min(len(halves), len(self.o) + (1 << low))
            shifted = Signal(signed(width), name=f"halves_{low}")
            later, losses = Signal(name=f"negative_{low}"), Signal(name=f"lost_{low}")
            m.d.sync += [shifted.eq(halves >> (by << low)), later.eq(negative), losses.eq(lost)]
            upper = halves[width:] ^ negative.replicate(len(halves) - width)
            # Of those, the lowest ones can be kept. The layer says how many.
            spans = [upper[n : n + (1 << low)] for n in range(0, len(upper), 1 << low)]
            differs, counts = (
                Signal(len(spans), name=f"{name}_{low}") for name in ("differs", "counts")
            )
            m.d.sync += [
                differs.eq(Cat(span.any() for span in spans)),
                counts.eq(Cat(by <= n for n in range(len(spans)))),
            ]
            lost = losses | (differs & counts).any()
            halves, negative = shifted, later
        return halves, negative, lost

    def _less(self, m, first, second, name):
        """Whether ``first`` is less, a cycle later. Halves are compared, so that none is long."""
        half = len(self.o) // 2
        upper, same, lower = (Signal(name=f"{part}_{name}") for part in ("upper", "same", "lower"))
        m.d.sync += [
            upper.eq(first[half:].as_signed() < second[half:].as_signed()),
            same.eq(first[half:] == second[half:]),
            lower.eq(first[:half] < second[:half]),
        ]
        return upper | (same & lower)
