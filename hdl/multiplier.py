"""Multiplication in the blocks that FPGAs have for it."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.streams import delayed

__all__ = ["Multiplier"]


class Multiplier(wiring.Component):
    """``o = a * b``, ``latency`` cycles later, one a cycle.

    On ECP5 it is a MULT18X18D and on iCE40UP, up to 16 bits, an SB_MAC16, with registers at their
    inputs and outputs, and inside unless ``latency`` is 2: Yosys infers the blocks, but not these
    registers, without which ECP5's are half as fast (nextpnr's figures: 3.9 ns from input to
    output, and 0.7 ns from the output's register). Elsewhere it is registers around a product. All
    do the same.

    Parameters
    ----------
    a_width, b_width : :class:`int`
        Bits in a factor, two's complement. At most 18.
    latency : :class:`int`
        Cycles, 2 or 3.

    Members
    -------
    a : ``In(signed(a_width))``
    b : ``In(signed(b_width))``
    o : ``Out(signed(a_width + b_width))``
    """

    LATENCY = 3
    # Bits of a factor, on ECP5 and on iCE40.
    WIDEST = 18
    WIDEST_ICE40 = 16

    def __init__(self, *, a_width, b_width, latency=LATENCY):
        for name, width in ("a_width", a_width), ("b_width", b_width):
            if not isinstance(width, int) or isinstance(width, bool) or width < 1:
                raise TypeError(f"{name} must be a positive integer, not {width!r}")
            if width > self.WIDEST:
                raise ValueError(f"{name} must be at most {self.WIDEST}, not {width!r}")
        if latency not in (2, 3):
            raise ValueError(f"latency must be 2 or 3, not {latency!r}")
        self.latency = latency
        super().__init__(
            {
                "a": In(signed(a_width)),
                "b": In(signed(b_width)),
                "o": Out(signed(a_width + b_width)),
            }
        )

    def elaborate(self, platform):
        family = getattr(platform, "family", None)
        if family == "ecp5":
            return self._ecp5()
        # Of iCE40s, only these have multipliers.
        multiplies = getattr(platform, "device", "iCE40UP").startswith("iCE40UP")
        fits = max(len(self.a), len(self.b)) <= self.WIDEST_ICE40
        if family == "iCE40" and multiplies and fits:
            return self._ice40()

        m = Module()
        a, b = Signal.like(self.a, name="a_register"), Signal.like(self.b, name="b_register")
        product = Signal.like(self.o)
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b)]
        m.d.comb += self.o.eq(delayed(m, product, cycles=self.latency - 2, name="product"))
        return m

    def _ecp5(self):
        """Lattice, "ECP5 and ECP5-5G sysDSP Usage Guide" (FPGA-TN-02205)."""
        m = Module()
        product = Signal(36)
        registers = {
            f"p_REG_{place}_{part}": value
            for place in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")
            if place != "PIPELINE" or self.latency == 3
            for part, value in (("CLK", "CLK0"), ("CE", "CE0"), ("RST", "RST0"))
        }
        a, b = _wide(m, self.a, 18), _wide(m, self.b, 18)
        bits = {
            f"{name}{n}": bit
            for name, value in (("i_A", a), ("i_B", b), ("o_P", product))
            for n, bit in enumerate(value)
        }
        # The ports of the shift chains are left out: what ties them off cannot be routed.
        m.submodules.block = Instance(
            "MULT18X18D",
            **registers,
            **bits,
            p_RESETMODE="SYNC",
            i_CLK0=ClockSignal(),
            i_CE0=Const(1),
            i_RST0=ResetSignal(),
            i_SIGNEDA=Const(1),
            i_SIGNEDB=Const(1),
            i_SOURCEA=Const(0),
            i_SOURCEB=Const(0),
        )
        m.d.comb += self.o.eq(product)
        return m

    def _ice40(self):
        """Lattice, "DSP Function Usage Guide for iCE40 Devices" (FPGA-TN-02007)."""
        m = Module()
        product = Signal(32)
        # What is inside is in two places: behind the products of halves, and behind their sum.
        flags = ("A_REG", "B_REG", "PIPELINE_16x16_MULT_REG2", "A_SIGNED", "B_SIGNED")
        if self.latency == 3:
            flags += "TOP_8x8_MULT_REG", "BOT_8x8_MULT_REG", "PIPELINE_16x16_MULT_REG1"
        ties = (
            *("C", "D", "AHOLD", "BHOLD", "CHOLD", "DHOLD"),
            *("ORSTTOP", "ORSTBOT", "OLOADTOP", "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT"),
            *("OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN"),
        )
        m.submodules.block = Instance(
            "SB_MAC16",
            **{f"p_{flag}": Const(1) for flag in flags},
            **{f"i_{name}": Const(0, 16 if name in "CD" else 1) for name in ties},
            # The product itself, and not what the adders behind it make of it.
            p_TOPOUTPUT_SELECT=Const(3, 2),
            p_BOTOUTPUT_SELECT=Const(3, 2),
            i_CLK=ClockSignal(),
            i_CE=Const(1),
            i_IRSTTOP=ResetSignal(),
            i_IRSTBOT=ResetSignal(),
            i_A=_wide(m, self.a, 16),
            i_B=_wide(m, self.b, 16),
            o_O=product,
        )
        m.d.comb += self.o.eq(product)
        return m


def _wide(m, value, width):
    """``value`` with its sign repeated up to ``width`` bits."""
    extended = Signal(signed(width))
    m.d.comb += extended.eq(value)
    return extended
