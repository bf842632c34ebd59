"""An output channel: multiplies transformed inputs with transformed weights, and adds up."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.multiplier import Multiplier
from hdl.ram import Ram
from hdl.streams import delayed
from hdl.winograd.transforms import numbers
from hdl.winograd.walk import Weight
from hdl.winograd.weights import Load

__all__ = ["Hop", "Kernel", "Order", "Row", "skewed"]


class Hop(wiring.Signature):
    """What goes from kernel to kernel, a cycle behind in each.

    Parameters
    ----------
    parameters : Parameters

    Members
    -------
    weight : ``Out(Weight(parameters))``
        Where the weights of a step are.
    values : ``Out(ArrayLayout(numbers(value_widths), ways))``
        Its transformed inputs, :attr:`LATENCY` cycles later; of each row of them, a cycle after the
        row above. See :func:`skewed`.
    ends : ``Out(1)``
        Whether it is the last step of a tile; with the first row of values.
    load : ``Out(Load(parameters))``
        Weights on their way to one of the kernels ahead, row by row like the values, those of the
        first row a cycle behind their address.
    clear : ``Out(1)``
        Sets the sums to zero.
    """

    # The memory, and a register.
    LATENCY = Ram.LATENCY + 1

    def __init__(self, parameters):
        p = parameters
        super().__init__(
            {
                "weight": Out(Weight(p)),
                "values": Out(data.ArrayLayout(numbers(p.value_widths), p.ways)),
                "ends": Out(1),
                "load": Out(Load(p)),
                "clear": Out(1),
            }
        )


class Order(wiring.Signature):
    """What goes from row to row of a kernel, a cycle behind in each.

    Parameters
    ----------
    parameters : Parameters

    Members
    -------
    weight : ``Out(Weight(parameters))``
        Where the weights of a step are, :attr:`Hop.LATENCY` cycles before the values of the row.
    ends, clear : ``Out(1)``
        As of :class:`Hop`.
    loads : ``Out(1)``
        Whether to write weights.
    address : ``Out(Weight(parameters))``
        Where to.
    """

    def __init__(self, parameters):
        weight = Weight(parameters)
        super().__init__(
            {
                "weight": Out(weight),
                "ends": Out(1),
                "clear": Out(1),
                "loads": Out(1),
                "address": Out(weight),
            }
        )


def skewed(m, rows, *, size, name):
    """Numbers of a square, each row a cycle later than the one above.

    Rows of a kernel are far from each other, so that what all of them need goes from one to the
    next. Numbers for a row have to be as late as what it is told that way.
    """
    later = Signal.like(rows, name=name)
    for n in range(size**2):
        number = delayed(m, rows[str(n)], cycles=n // size, name=f"{name}_{n}")
        m.d.comb += later[str(n)].eq(number)
    return later


class Row(wiring.Component):
    """``sums += values * weights`` for a row of positions.

    All that comes in waits in a register first, but for weights to write, which are a cycle behind
    their address. Otherwise it is as :class:`Kernel` has it.

    Parameters
    ----------
    parameters : Parameters
    number : :class:`int`
        Which row it is.

    Members
    -------
    i : ``In(Order(parameters))``
        From the row above.
    next : ``Out(Order(parameters))``
        To the row below, a cycle later.
    values : ``In(ArrayLayout(numbers(...), ways))``
    load : ``In(numbers(...))``
        Weights to write.
    selects : ``In(size)``
        Which way each of them is for. Only if there are two.
    shows : ``In(1)``
        Whether to put out the copy.
    o : ``Out(numbers(...))``
        It, two cycles later; zeros otherwise.
    """

    # The register, multiplier, product, sum, copy.
    LATENCY = 1 + Multiplier.LATENCY + 3

    def __init__(self, parameters, number):
        self.parameters = p = parameters
        self.sum_widths = p.sum_widths[number]
        row = slice(number * p.size, (number + 1) * p.size)
        self.widths = p.value_widths[row], p.product_weight_widths[row]
        super().__init__(
            {
                "i": In(Order(p)),
                "next": Out(Order(p)),
                "values": In(data.ArrayLayout(numbers(self.widths[0]), p.ways)),
                "load": In(numbers(self.widths[1])),
                "shows": In(1),
                "o": Out(numbers(self.sum_widths)),
            }
            | ({"selects": In(p.size)} if p.pairs else {})
        )

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        m.d.sync += [
            getattr(self.next, name).eq(getattr(self.i, name)) for name in self.i.signature.members
        ]
        # Weights, and behind them which way each is for.
        load = Cat(self.load, self.selects) if p.pairs else Value.cast(self.load)
        # A reset of a register's own takes no logic, if it need not be inverted.
        hides = Signal(init=1)
        m.d.sync += hides.eq(~self.shows)

        address = self.next.address
        m.submodules.memory = memory = Ram(len(load), depth=1 << len(Value.cast(address)))
        weights = data.View(self.load.shape(), memory.o[: self.load.shape().size])
        selects = memory.o[self.load.shape().size :]
        m.d.comb += [
            memory.load.en.eq(self.next.loads),
            memory.load.addr.eq(address),
            memory.load.data.eq(load),
            memory.address.eq(self.next.weight),
        ]

        # Before the first step of a tile, sums are copied that have all of the tile before.
        copies = delayed(m, self.next.ends, cycles=self.LATENCY - 2, name="copies")
        for n, (name, _) in enumerate(self.o.shape()):
            value = Signal.like(self.values[0][name], name=f"value_{n}", reset_less=True)
            multiplier = Multiplier(a_width=self.widths[0][n], b_width=self.widths[1][n])
            m.submodules[f"multiplier_{n}"] = multiplier
            # Multipliers are far from what is around them: there are registers on the way.
            factor = Signal.like(weights[name], name=f"factor_{n}", reset_less=True)
            chosen = self.values[0][name]
            if p.pairs:
                chosen = Mux(selects[n], self.values[1][name], chosen)
            m.d.sync += [value.eq(chosen), factor.eq(weights[name])]
            m.d.comb += [multiplier.a.eq(value), multiplier.b.eq(factor)]
            product = Signal.like(multiplier.o, name=f"product_{n}", reset_less=True)
            total = Signal.like(self.o[name], name=f"sum_{n}", reset_less=True)
            copy = Signal.like(self.o[name], name=f"copy_{n}", reset_less=True)
            shown = Signal.like(self.o[name], name=f"shown_{n}", reset_less=True)
            m.d.sync += [product.eq(multiplier.o), total.eq(total + product), shown.eq(copy)]
            with m.If(self.next.clear):
                m.d.sync += total.eq(0)
            with m.If(copies):
                m.d.sync += copy.eq(total)
            with m.If(hides):
                m.d.sync += shown.eq(0)
            m.d.comb += self.o[name].eq(shown)

        return m


class Kernel(wiring.Component):
    """``sums += values * weights``, position by position and step by step.

    With two ways, each weight says which one its value is to come from.

    Sums wrap around, and nothing ever sets them to zero: those of a tile are what came to them
    since the end of the one before. At the end of a tile they are copied, :attr:`LATENCY` cycles
    after its last values came in, each row a cycle after the one above, and stay so until the end
    of the next one. Then they can be asked for, row by row.

    Parameters
    ----------
    parameters : Parameters

    Members
    -------
    i : ``In(Hop(parameters))``
        From the kernel before.
    next : ``Out(Hop(parameters))``
        To the kernel behind, a cycle later.
    rows : ``In(size)``
        Which row of the copy to put out; at most one.
    o : ``Out(numbers)``
        It, :attr:`ROW_LATENCY` cycles later; zeros if there was none.
    """

    LATENCY = 1 + Row.LATENCY
    ROW_LATENCY = 3

    def __init__(self, parameters):
        self.parameters = p = parameters
        super().__init__(
            {
                "i": In(Hop(p)),
                "next": Out(Hop(p)),
                "rows": In(p.size),
                "o": Out(numbers(p.row_widths)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        # The kernel is the first one of those ahead.
        values = Signal.like(self.i.values, reset_less=True)
        mine = Signal()
        m.d.sync += [
            values.eq(self.i.values),
            self.next.weight.eq(self.i.weight),
            self.next.ends.eq(self.i.ends),
            self.next.load.eq(self.i.load),
            self.next.load.kernels.eq(self.i.load.kernels >> 1),
            self.next.clear.eq(self.i.clear),
            mine.eq(self.i.load.kernels[0]),
        ]
        m.d.comb += self.next.values.eq(values)

        order = Order(p).create()
        m.d.comb += [
            order.weight.eq(self.next.weight),
            order.ends.eq(self.next.ends),
            order.clear.eq(self.next.clear),
            order.loads.eq(mine),
            order.address.eq(self.next.load.address),
        ]
        merged = [Const(0)] * p.size
        for i in range(p.size):
            m.submodules[f"row_{i}"] = row = Row(p, i)
            wiring.connect(m, order, row.i)
            order = row.next
            m.d.comb += [
                row.shows.eq(self.rows[i]),
            ]
            for j in range(p.size):
                place = str(i * p.size + j)
                m.d.comb += row.load[str(j)].eq(self.next.load.weights[place])
                for n in range(p.ways):
                    m.d.comb += row.values[n][str(j)].eq(values[n][place])
                if p.pairs:
                    m.d.comb += row.selects[j].eq(self.next.load.selects[i * p.size + j])
                # All rows but one are zeros, so that they need no multiplexer. What a narrower sum
                # lacks is of no account.
                merged[j] = merged[j] | row.o[str(j)].as_unsigned()
        for j, width in enumerate(p.row_widths):
            chosen = Signal(width, name=f"chosen_{j}", reset_less=True)
            m.d.sync += chosen.eq(merged[j])
            m.d.comb += self.o[str(j)].eq(chosen)

        return m
