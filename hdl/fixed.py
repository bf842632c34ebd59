"""Fixed-point arithmetic that every engine shares."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Requantise"]


class Requantise(wiring.Component):
    """``clamp(round((value + bias) / 2 ** shift), low, high)``, ties to the even neighbour.

    A result appears :attr:`LATENCY` cycles after its operands, one a cycle; there is no
    backpressure. ``shift``, ``low`` and ``high`` are to stand still while results are on their
    way, from a cycle before the first one on. A rectifier is a ``low`` of 0. The sum wraps around
    if it does not fit ``value``.

    Parameters
    ----------
    width : :class:`int`
        Bits in a value, two's complement.
    bias_width : :class:`int`
        Bits in a bias, two's complement. At most ``width``.
    result_width : :class:`int`
        Bits in a result, two's complement. Less than ``width``.

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

    LATENCY = 3

    def __init__(self, *, width, bias_width, result_width):
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

    def elaborate(self, platform):
        m = Module()

        total = Signal(signed(self.width))
        m.d.sync += total.eq(self.value + self.bias)

        # The bits that are kept, and below them the highest one that is dropped, which is the half.
        # Whether any below that one is set is all that rounding needs to know of the others.
        halves = Signal(signed(self.width + 1))
        m.d.sync += halves.eq(Cat(0, total).as_signed() >> self.shift)
        ignored = Signal(self.width)
        m.d.sync += ignored.eq((1 << self.shift) - 1 >> 1)
        below = Signal()
        m.d.sync += below.eq((total & ignored).any())

        # What is below ``low`` may round up to it, but no further; what is at ``high`` stays there.
        # So neither waits for the shift, nor for rounding.
        lowest, highest = (
            Signal(signed(len(self.o) + self.width), name=name) for name in ("lowest", "highest")
        )
        m.d.sync += [lowest.eq(self.low << self.shift), highest.eq(self.high << self.shift)]
        under, over = Signal(), Signal()
        m.d.sync += [under.eq(total < lowest), over.eq(total >= highest)]
        kept = halves >> 1
        up = halves[0] & (below | kept[0])
        bound = Mux(under, self.low, self.high)
        m.d.sync += self.o.eq(Mux(under | over, bound, kept + up))

        return m
