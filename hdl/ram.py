"""Block RAM with a register at its output."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory, WritePort
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Ram"]


class Ram(wiring.Component):
    """One word is written and one is read in a cycle.

    What is read appears :attr:`LATENCY` cycles after its address. If the word is written in the
    cycle of its address, or was never, that can be anything.

    Block RAM answers late in its cycle: 5.6 ns after the clock on ECP5, where Yosys leaves out the
    register that it has at its output, with which it is 1 ns. So there it is made of DP16KD, and
    elsewhere of a memory with a register behind it. Both do the same. Beyond 2**14 words, a
    multiplexer follows the blocks of ECP5.

    Parameters
    ----------
    shape : shape-castable
        Shape of a word.
    depth : :class:`int`
        Words. At least 2, and at most :attr:`DEEPEST`.

    Members
    -------
    address : ``In(range(depth))``
        What to read.
    o : ``Out(shape)``
    load : ``Out``
        Write port.
    """

    LATENCY = 2
    DEEPEST = 1 << 16

    # Words of a DP16KD by their bits. The lowest bits of its addresses are for narrower ones.
    _DEPTHS = {18: 1 << 10, 9: 1 << 11, 4: 1 << 12, 2: 1 << 13, 1: 1 << 14}

    def __init__(self, shape, *, depth):
        self.check_depth(depth)
        self.shape = shape
        self.depth = depth
        super().__init__(
            {
                "address": In(range(depth)),
                "o": Out(shape),
                "load": Out(WritePort.Signature(addr_width=ceil_log2(depth), shape=shape)),
            }
        )

    @classmethod
    def check_depth(cls, depth):
        """Refuse what is no number of words that it can have."""
        if not isinstance(depth, int) or isinstance(depth, bool) or not 2 <= depth <= cls.DEEPEST:
            raise TypeError(f"depth must be an integer from 2 to {cls.DEEPEST}, not {depth!r}")

    def elaborate(self, platform):
        if getattr(platform, "family", None) == "ecp5":
            return self._ecp5()
        m = Module()
        m.submodules.words = memory = Memory(shape=self.shape, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.addr.eq(self.load.addr),
            write.data.eq(self.load.data),
            write.en.eq(self.load.en),
            read.addr.eq(self.address),
        ]
        m.d.sync += self.o.eq(read.data)
        return m

    def _ecp5(self):
        """Lattice, "ECP5 and ECP5-5G Memory Usage Guide" (FPGA-TN-02204)."""
        m = Module()
        deepest = max(self._DEPTHS.values())
        needed = min(self.depth, deepest)
        width = next(width for width, depth in self._DEPTHS.items() if depth >= needed)
        within = ceil_log2(self._DEPTHS[width])
        banks = -(-self.depth // deepest)
        bank = self.address[within:]
        asked, chosen = Signal.like(bank, name="asked"), Signal.like(bank, name="chosen")
        m.d.sync += [asked.eq(bank), chosen.eq(asked)]
        words = Signal(data.ArrayLayout(len(Value.cast(self.o)), banks))
        for n in range(banks):
            writes = self.load.en & (self.load.addr[within:] == n)
            self._bank(m, n, words[n], writes, width, within)
        m.d.comb += Value.cast(self.o).eq(words[chosen] if banks > 1 else words[0])
        return m

    def _bank(self, m, number, word, writes, width, within):
        """Blocks side by side, for so many of the addresses' bits."""
        written = Value.cast(self.load.data)
        for n, first in enumerate(range(0, len(word), width)):
            out = Signal(width, name=f"part_{number}_{n}")
            m.submodules[f"block_{number}_{n}"] = Instance(
                "DP16KD",
                p_DATA_WIDTH_A=width,
                p_DATA_WIDTH_B=width,
                p_REGMODE_A="NOREG",
                p_REGMODE_B="OUTREG",
                p_RESETMODE="SYNC",
                p_WRITEMODE_A="NORMAL",
                p_WRITEMODE_B="NORMAL",
                p_GSR="DISABLED",
                **self._port("A", self.load.addr[:within], width, writes),
                **self._port("B", self.address[:within], width, Const(0)),
                **{f"i_DIA{k}": bit for k, bit in enumerate(written[first : first + width])},
                **{f"o_DOB{k}": bit for k, bit in enumerate(out)},
            )
            m.d.comb += word[first : first + width].eq(out)

    def _port(self, name, address, width, writes):
        """Clock, enables and address of port ``name``."""
        lowest = 14 - ceil_log2(self._DEPTHS[width])
        # Of words of 18 bits, the lowest bits say which bytes to write.
        lines = {n: Const(width == 18 and n < 2) for n in range(14)}
        lines |= {lowest + n: bit for n, bit in enumerate(address)}
        return {
            f"i_CLK{name}": ClockSignal(),
            f"i_CE{name}": Const(1),
            f"i_OCE{name}": Const(1),
            f"i_RST{name}": Const(0),
            f"i_WE{name}": writes,
            **{f"i_CS{name}{n}": Const(0) for n in range(3)},
            **{f"i_AD{name}{n}": bit for n, bit in lines.items()},
        }
