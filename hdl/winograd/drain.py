"""Turns the sums of tiles into activations."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.fixed import Requantise
from hdl.ram import Ram
from hdl.streams import delayed
from hdl.winograd.kernel import Kernel
from hdl.winograd.parameters import BIAS_WIDTH
from hdl.winograd.transforms import INVERSES, ODDS, OUTPUTS, Sums, moduli, numbers
from hdl.winograd.walk import Result
from hdl.winograd.weights import BiasLoad

__all__ = ["Drain", "Part"]


class Part(data.StructLayout):
    """Part of a block of results, on its way to memory.

    Parameters
    ----------
    parameters : Parameters
    """

    def __init__(self, parameters):
        p = parameters
        super().__init__(
            {
                "parts": p.parts,  # which one it is; none if there is nothing to write
                "place": range(p.output_depth // 2),
                "bank": 1,
                "ends_band": 1,
                "ends_layer": 1,
                # A column, or with one lane a single result, row by row.
                "values": data.ArrayLayout(signed(p.activation_width), p.lanes),
            }
        )


class Drain(wiring.Component):
    """``clamp(round(((A M A') / s**2 + bias) / 2**shift), low, high)`` for each of its kernels.

    M are the sums of a tile, less those of the one before: since A M A' is linear, that is what is
    subtracted, when it is no more than ``tile**2`` numbers. Row after row is asked for and goes
    through the first half of the transform, ``M A'``; the columns of that through the second half.
    What comes out is a multiple of ``2**spare``, of which the rest is divided by multiplying with
    the inverse modulo powers of two. In a paired layer there is nothing to divide by ``s**2``, and
    ``A M A'`` itself has to fit ``sum_width`` bits.

    A tile is begun at most every :attr:`Parameters.least` cycles. Its first part is put out
    :meth:`latency` cycles after that, and one in each of the ``parts`` cycles from then on; so it
    goes on with the next kernel, ``size`` cycles later.

    Parameters
    ----------
    parameters : Parameters
    kernels : :class:`int`
        How many there are; at most ``per_drain``.

    Members
    -------
    begins : ``In(1)``
        Whether a tile begins: the first kernel has its copy :attr:`AHEAD` cycles later, the others
        have theirs one cycle after each other.
    result : ``In(Result(parameters))``
        Where it goes, with ``begins``.
    rows : ``Out(ArrayLayout(size, kernels))``
        Row that each kernel is asked for.
    sums : ``In(ArrayLayout(numbers, kernels))``
        What they answer, :attr:`Kernel.ROW_LATENCY` cycles later.
    shift, low, high : ``In``
        Of the layer. To stand still until its last result is there.
    paired : ``In(1)``
        Likewise. Only if layers can be.
    half : ``In(1)``
        Of the biases' memory, likewise.
    bias : ``In(BiasLoad(parameters))``
        Biases, of which the first bit of ``drains`` says whether they are for this drain.
    clear : ``In(1)``
        Set while nothing is on its way, it says that all sums are zeros.
    o : ``Out(Part(parameters))``
    """

    AHEAD = 3

    def __init__(self, parameters, *, kernels):
        self.parameters = p = parameters
        self.kernels = kernels
        super().__init__(
            {
                "begins": In(1),
                "result": In(Result(p)),
                "rows": Out(data.ArrayLayout(p.size, kernels)),
                "sums": In(data.ArrayLayout(numbers(p.row_widths), kernels)),
                "shift": In(range(p.sum_width)),
                "low": In(signed(p.activation_width)),
                "high": In(signed(p.activation_width)),
                "half": In(1),
                "bias": In(BiasLoad(p)),
                "clear": In(1),
                "o": Out(Part(p)),
            }
            | ({"paired": In(1)} if p.pairs else {})
        )

    @classmethod
    def latency(cls, parameters):
        """Cycles from the beginning of a tile to its first part."""
        return 1 + cls._to_total(parameters) + cls._to_value(parameters) + cls._rounds(parameters)

    @staticmethod
    def _to_total(p):
        """Cycles from a row's turn until the column of that number is through the transform.

        To the kernel, from it, merged; the other rows; column's choice and what came of it; the
        transform itself; and, with one lane, row's choice.
        """
        steps = len(OUTPUTS[p.tile]) * Sums.LATENCY
        return 1 + Kernel.ROW_LATENCY + 1 + (p.size - 1) + 2 + 2 * steps + (p.lanes < p.tile)

    @staticmethod
    def _to_value(p):
        """Cycles from there to a result before it is rounded."""
        return 1 + p.pairs + len(_factors(p))

    @staticmethod
    def _rounds(p):
        """Cycles from there to the result."""
        return Requantise.deep_latency(p.sum_width) - 1

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        steps = len(OUTPUTS[p.tile]) * Sums.LATENCY

        # Whose turn it is: row by row, kernel by kernel.
        active = Signal()
        row, kernel = Signal(range(p.size)), Signal(range(p.per_drain))
        last_row, last_kernel = Signal(), kernel == p.per_drain - 1
        m.d.sync += [row.eq(row + 1), last_row.eq((row == p.size - 2) & ~self.begins)]
        with m.If(last_row):
            m.d.sync += [row.eq(0), kernel.eq(kernel + 1), active.eq(active & ~last_kernel)]
        with m.If(self.begins):
            m.d.sync += [active.eq(1), row.eq(0), kernel.eq(0)]
        for n in range(self.kernels):
            turn = [active & (kernel == n) & (row == i) for i in range(p.size)]
            m.d.sync += self.rows[n].eq(Cat(turn))

        merged = self._merge(m)
        rows = self._transform(m, merged, p.row_widths, "row")

        # A column is complete with the last row. The next one waits for a cycle, in all of its
        # rows, so that one column is there at a time.
        others = delayed(
            m, ~(active & last_row), cycles=1 + Kernel.ROW_LATENCY + 1 + steps, name="others"
        )
        total_width = p.sum_width + p.spare
        column = [Const(0)] * p.size
        for n, number in enumerate(rows):
            line = number
            for k in range(n):
                line = self._after(m, line, f"wait_{n}_{k}")
            others_turn = delayed(m, others, cycles=n, name=f"others_{n}")
            for i in reversed(range(p.size)):
                chosen = Signal(total_width, name=f"chosen_{n}_{i}", reset_less=True)
                m.d.sync += chosen.eq(line)
                with m.If(others_turn):
                    m.d.sync += chosen.eq(0)
                column[i] = column[i] | chosen
                line = self._after(m, line, f"line_{n}_{i}")
        column = [self._after(m, number, f"column_{i}") for i, number in enumerate(column)]
        totals = self._transform(m, column, [max(w) for w in p.sum_widths], "column")

        # What belongs to a part goes beside it. It is many bits, so that they come a cycle late.
        result = Signal.like(self.result)
        given = delayed(m, self.result, cycles=1, name="given")
        with m.If(delayed(m, last_row, cycles=1, name="next_kernel")):
            m.d.sync += [result.place.eq(result.place + 1), result.first.eq(result.first + 1)]
        with m.If(delayed(m, self.begins, cycles=1, name="begun")):
            m.d.sync += result.eq(given)
        event = Signal(
            data.StructLayout(
                {
                    "kernel": kernel.shape(),
                    "part": range(p.parts),
                    "result": Result(p),
                    "there": 1,
                    "last": 1,  # of its tile
                }
            )
        )
        m.d.sync += [
            event.kernel.eq(kernel),
            event.part.eq(row),
            event.there.eq(active & (row < p.parts)),
            event.last.eq(active & (row == p.parts - 1) & last_kernel),
        ]
        m.d.comb += event.result.eq(result)
        early = delayed(m, event, cycles=self._to_total(p) - 4 - Ram.LATENCY, name="early")
        bias = self._bias(m, early)
        event = delayed(m, early, cycles=Ram.LATENCY + 1, name="to_total")
        if not p.pairs:
            totals = [total[p.spare :] for total in totals]
        at_total = delayed(m, event, cycles=2, name="at_total")
        if p.lanes < p.tile:
            part = delayed(m, event.part, cycles=1, name="part")
            totals = [self._in_turn(m, totals, part)]
        values = self._subtract(m, totals, bias, event, at_total)
        self._round(m, values, delayed(m, at_total, cycles=self._to_value(p), name="to_value"))
        return m

    def _merge(self, m):
        """The row that one of the kernels puts out."""
        merged = []
        for n, width in enumerate(self.parameters.row_widths):
            either = Signal(width, name=f"merged_{n}", reset_less=True)
            total = Const(0)
            for k in range(self.kernels):
                total = total | self.sums[k][str(n)].as_unsigned()
            m.d.sync += either.eq(total)
            merged.append(either)
        return merged

    def _transform(self, m, line, widths, name):
        """A times the numbers of ``line``, modulo what is kept of the results."""
        p = self.parameters
        matrices = OUTPUTS[p.tile]
        bits = [[p.sum_width + p.spare] * p.tile]
        for matrix in reversed(matrices):
            bits.append(moduli(matrix, bits[-1]))
        bits = bits[::-1]
        assert all(wide >= needed for wide, needed in zip(widths, bits[0], strict=True))
        for n, matrix in enumerate(matrices):
            sums = Sums(matrix, bits[n], bits[n + 1])
            m.submodules[f"{name}_{n}"] = sums
            m.d.comb += [sums.i[str(k)].eq(number) for k, number in enumerate(line)]
            line = [sums.o[str(k)] for k in range(len(matrix))]
        return line

    def _in_turn(self, m, totals, part):
        """The two numbers of a column one after another, those of each row when its part comes."""
        tile = self.parameters.tile
        options = []
        for n, total in enumerate(totals):
            for k in range(n * tile):
                total = self._after(m, total, f"turn_{n}_{k}")
            options.append(total)
        chosen = Signal(len(options[0]), name="in_turn", reset_less=True)
        m.d.sync += chosen.eq(Mux(part[-1], options[1], options[0]))
        return chosen

    def _bias(self, m, event):
        """The bias that belongs to ``event``, times what results are, ``Ram.LATENCY + 2`` cycles
        later."""
        p = self.parameters
        m.submodules.biases = biases = Ram(
            signed(BIAS_WIDTH), depth=1 << len(Cat(self.bias.first, self.bias.half))
        )
        m.d.comb += [
            biases.load.en.eq(self.bias.drains[0]),
            biases.load.addr.eq(Cat(self.bias.first, self.bias.half)),
            biases.load.data.eq(self.bias.bias),
            biases.address.eq(Cat(event.result.first, self.half)),
        ]
        bias = Signal(p.sum_width + p.spare * p.pairs, reset_less=True)
        read = delayed(m, biases.o, cycles=1, name="bias_read")
        scaled = sum(read << shift for shift in ODDS[p.tile])
        if p.pairs:
            scaled = Mux(self.paired, read, scaled << p.spare)
        m.d.sync += bias.eq(scaled)
        return bias

    def _subtract(self, m, totals, bias, event, at_total):
        """Results before they are rounded, ``_to_value`` cycles after the totals.

        The bias comes from what is subtracted, so that it takes no cycle of its own. It is that of
        the totals of the next cycle. Of these cycles, ``event`` is two ahead of ``at_total``, which
        belongs to the totals.
        """
        p = self.parameters
        width = len(totals[0])
        m.submodules.before = before = Memory(
            shape=data.ArrayLayout(width, p.lanes),
            depth=1 << len(Cat(event.part, event.kernel)),
            init=[],
        )
        write, read = before.write_port(), before.read_port(domain="comb")
        fresh = Signal(init=1)
        m.d.comb += [
            read.addr.eq(Cat(event.part, event.kernel)),
            write.addr.eq(Cat(at_total.part, at_total.kernel)),
            write.en.eq(at_total.there),
        ]
        with m.If(event.last):
            m.d.sync += fresh.eq(0)
        with m.If(self.clear):
            m.d.sync += fresh.eq(1)

        values = []
        for n, total in enumerate(totals):
            last_time = Signal(width, name=f"before_{n}", reset_less=True)
            less = Signal(width, name=f"less_{n}", reset_less=True)
            value = Signal(width, name=f"value_{n}", reset_less=True)
            m.d.comb += write.data[n].eq(total)
            m.d.sync += [last_time.eq(read.data[n]), less.eq(last_time - bias)]
            m.d.sync += value.eq(total - less)
            with m.If(fresh):
                m.d.sync += last_time.eq(0)
            if p.pairs:
                divided = Signal(p.sum_width, name=f"divided_{n}", reset_less=True)
                m.d.sync += divided.eq(Mux(self.paired, value, value[p.spare :]))
                value = divided
            for sign, shift in _factors(p):
                times = Signal(p.sum_width, name=f"value_{n}_{shift}", reset_less=True)
                part = Mux(self.paired, 0, value << shift) if p.pairs else value << shift
                m.d.sync += times.eq(value + part if sign > 0 else value - part)
                value = times
            values.append(value)
        return values

    def _round(self, m, values, event):
        """Rounds. ``event`` is what belongs to the values."""
        p = self.parameters
        for n, value in enumerate(values):
            m.submodules[f"requantise_{n}"] = requantise = Requantise(
                width=p.sum_width, bias_width=None, result_width=p.activation_width, deep=True
            )
            m.d.comb += [
                requantise.value.eq(value),
                requantise.shift.eq(self.shift),
                requantise.low.eq(self.low),
                requantise.high.eq(self.high),
                self.o.values[n].eq(requantise.o),
            ]
        event = delayed(m, event, cycles=self._rounds(p) - 1, name="to_result")
        m.d.sync += [
            self.o.parts.eq(event.there << event.part),
            self.o.place.eq(event.result.place),
            self.o.bank.eq(event.result.bank),
            self.o.ends_band.eq(event.last & event.result.ends_band),
            self.o.ends_layer.eq(event.last & event.result.ends_layer),
        ]

    def _after(self, m, number, name):
        """``number`` a cycle later."""
        later = Signal(len(number), name=name, reset_less=True)
        m.d.sync += later.eq(number)
        return later


def _factors(p):
    """Factors of the division that matter to so many bits."""
    return [(sign, shift) for sign, shift in INVERSES[p.tile] if shift < p.sum_width]
