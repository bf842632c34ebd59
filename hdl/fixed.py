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
    way, from two cycles before the first one on. A rectifier is a ``low`` of 0. The sum wraps
    around if it does not fit ``value``.

    Parameters
    ----------
    width : :class:`int`
        Bits in a value, two's complement.
    bias_width : :class:`int`
        Bits in a bias, two's complement. At most ``width``.
    result_width : :class:`int`
        Bits in a result, two's complement. Less than ``width``.
    deep : :class:`bool`
        Whether the shift takes more registers, for a higher clock.

    Members
    -------
    value : ``In(signed(width))``
    bias : ``In(signed(bias_width))``
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
        for name, value in widths.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TypeError(f"{name} must be a positive integer, not {value!r}")
        if bias_width > width:
            raise ValueError(f"bias_width must be at most width ({width}), not {bias_width!r}")
        if result_width >= width:
            raise ValueError(
                f"result_width must be less than width ({width}), not {result_width!r}"
            )
        self.width = width
        self.deep = deep
        super().__init__(
            {
                "value": In(signed(width)),
                "bias": In(signed(bias_width)),
                "shift": In(range(width)),
                "low": In(signed(result_width)),
                "high": In(signed(result_width)),
                "o": Out(signed(result_width)),
            }
        )

    @property
    def latency(self):
        """Cycles."""
        return self.deep_latency(self.width) if self.deep else self.LATENCY

    @classmethod
    def deep_latency(cls, width):
        """Cycles, of a deep one."""
        return cls.LATENCY + (len(Const(0, range(width))) - 1) // cls._STEP

    def elaborate(self, platform):
        m = Module()

        total = Signal(signed(self.width))
        m.d.sync += total.eq(self.value + self.bias)

        # The bits that are kept, and below them the highest one that is dropped, which is the half.
        halves = Cat(0, total).as_signed()
        step = self._STEP if self.deep else len(self.shift)
        for n in range(0, len(self.shift), step):
            shifted = Signal(signed(self.width + 1), name=f"halves_{n}")
            m.d.sync += shifted.eq(halves >> (self.shift[n : n + step] << n))
            halves = shifted
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
        below = delayed(m, parts.any(), cycles=self.latency - self.LATENCY, name="below")

        # What is below ``low`` may round up to it, but no further; what is at ``high`` stays there.
        # So neither waits for rounding. What does not fit a result is beyond one of them.
        kept = halves >> 1
        result, rest = kept[: len(self.o)].as_signed(), kept[len(self.o) - 1 :]
        rounded, negative, fits = Signal(len(self.o)), Signal(), Signal()
        m.d.sync += [
            rounded.eq(result + (halves[0] & (below | kept[0]))),
            negative.eq(rest[-1]),
            fits.eq(rest.all() | ~rest.any()),
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
