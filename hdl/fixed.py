"""Fixed-point arithmetic that every engine shares."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Requantise"]


class Requantise(wiring.Component):
    """``clamp(round((value + bias) / 2 ** shift), low, high)``, ties to the even neighbour.

    A result appears :attr:`LATENCY` cycles after its operands, one a cycle; there is no
    backpressure. ``shift``, ``low`` and ``high`` are to stand still while results are on their
    way. A rectifier is a ``low`` of 0. The sum wraps around if it does not fit ``value``.

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

        # Each stage of the shifter drops 2**n bits. The highest bit dropped is the half, and
        # whether any below it was set is all that rounding needs to know of the others.
        kept, half, below = total, Const(0, 1), Const(0, 1)
        for n in range(len(self.shift)):
            dropped = min(1 << n, self.width)
            kept_in, half_in, below_in = kept, half, below
            kept = Signal(signed(self.width), name=f"kept_{n}")
            half = Signal(name=f"half_{n}")
            below = Signal(name=f"below_{n}")
            m.d.comb += [kept.eq(kept_in), half.eq(half_in), below.eq(below_in)]
            with m.If(self.shift[n]):
                m.d.comb += [
                    kept.eq(kept_in >> dropped),
                    half.eq(kept_in[dropped - 1]),
                    below.eq(Cat(below_in, half_in, kept_in[: dropped - 1]).any()),
                ]
        quotient = Signal(signed(self.width))
        up = Signal()
        m.d.sync += [quotient.eq(kept), up.eq(half & (below | kept[0]))]

        rounded = Signal(signed(self.width + 1))
        m.d.comb += rounded.eq(quotient + up)
        with m.If(rounded < self.low):
            m.d.sync += self.o.eq(self.low)
        with m.Elif(rounded > self.high):
            m.d.sync += self.o.eq(self.high)
        with m.Else():
            m.d.sync += self.o.eq(rounded)

        return m
