"""Bench of :class:`hdl.sparse.element.Element`. Runs inside the simulator; see
:mod:`sim.runner`."""

import random
from typing import Any

import cocotb

from hdl.sparse.accumulate import Accumulate
from hdl.sparse.element import COUNTERS, Control, Element, Load, Store
from hdl.sparse.fetch import Fetch
from hdl.sparse.scan import Step
from hdl.streams import Queue
from sim.streams import Unit, corners, pack, signed
from sim.units import BENCHES

NAMES = list(BENCHES["element"])


def encode(codes: list[int], delta_width: int) -> list[int]:
    """Entries of a column whose codes are given row by row, with more escapes than it takes."""
    entries, above, reach = [], -1, 1 << delta_width
    for row, code in enumerate(codes):
        if code:
            while (gap := row - above - 1) >= reach:
                skip = random.randint(1, min(gap // reach, reach))
                entries.append(skip - 1)
                above += skip * reach
            entries.append(code << delta_width | gap)
            above = row
    return entries


class Driver:
    """Plays what surrounds an element, and knows what its sums have to be."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.c = unit.component.configuration
        self.control: dict[str, int] = {}
        self.cycles = 0
        self.blocked = 0
        self.held = [0, 0]

    async def cycle(self) -> None:
        """Go on by a cycle, and note what is counted in it and told to the scan."""
        self.unit.control.value = pack(Control(self.c), self.control)
        await self.unit.cycle()
        running = self.control.get("running", 0)
        self.cycles += running
        self.blocked += running and int(self.unit.hold.value)
        self.held = [self.held[1], int(self.unit.hold.value)]

    async def write(self, store: Store, words: list[int]) -> None:
        for address, word in enumerate(words):
            fields = {"store": store, "address": address, "data": word}
            self.unit.load.value = pack(Load(self.c), fields)
            await self.cycle()
        self.unit.load.value = 0

    async def load(self, columns: list[list[int]], codebook: list[int]) -> None:
        """Load columns of entries."""
        c = self.c
        entries = [entry for column in columns for entry in column] + [0]
        pairs = zip(entries[::2], entries[1::2], strict=False)
        await self.write(Store.WEIGHTS, [low | high << c.entry_width for low, high in pairs])
        blocks = [columns[n : n + c.scan_width] for n in range(0, len(columns), c.scan_width)]
        words = [
            sum(len(column) << n * c.count_width for n, column in enumerate(block))
            for block in blocks
        ]
        await self.write(Store.COUNTS, words)
        mask = (1 << c.weight_width) - 1
        await self.write(Store.CODEBOOK, [value & mask for value in codebook])

    async def tell(self, activations: list[int], gaps: float) -> None:
        """Tell the activations as a scan does that is on hold when it was told to a cycle ago."""
        c, layout = self.c, Step(self.c.scan_width, self.c.activation_width)
        for at in range(0, len(activations), c.scan_width):
            block = activations[at : at + c.scan_width]
            lanes = [lane for lane, activation in enumerate(block) if activation] or [0]
            for lane in lanes:
                while self.held[0] or random.random() < gaps:
                    await self.cycle()
                fields = {
                    "activation": block[lane],
                    "lane": lane,
                    "nonzero": block[lane] != 0,
                    "done": lane == lanes[-1],
                }
                self.unit.step.value = pack(layout, fields)
                self.unit.step_valid.value = 1
                await self.cycle()
                self.unit.step_valid.value = 0

    async def settle(self) -> None:
        """Wait until there is no work, given the time that a step takes to become visible."""
        for _ in range(Element.STEP_LATENCY + 2):
            await self.cycle()
        while self.unit.busy.value:
            await self.cycle()

    async def drain(self, rows: int) -> list[int]:
        """Sums of the bank that was in use, while the other one is taken into use.

        The last term was on its way when there was no work any more; its sum has to be written.
        """
        self.control["bank"] = self.control.get("bank", 0) ^ 1
        for _ in range(Accumulate.LATENCY - 2):
            await self.cycle()
        sums = []
        for n in range(rows + Element.DRAIN_LATENCY):
            self.control |= {"drain": n < rows, "drain_row": min(n, rows - 1)}
            await self.cycle()
            if n >= Element.DRAIN_LATENCY:
                sums.append(signed(self.unit.drained.value, self.c.accumulator_width))
        self.control["drain"] = 0
        await self.cycle()
        return sums

    async def count(self) -> dict[str, int]:
        """Read and clear the counters."""
        numbers = []
        self.unit.shift.value = 1
        for _ in COUNTERS:
            await self.cycle()
            numbers.append(int(self.unit.counter.value))
        self.unit.shift.value = 0
        return dict(zip(COUNTERS, numbers, strict=True))


async def begin(dut: Any, name: str) -> Driver:
    driver = Driver(Unit(dut, name))
    await driver.unit.start()
    for _ in range(2):
        await driver.drain(driver.c.row_depth)
    return driver


def matrix(driver: Driver, delta_width: int, density: float, columns: int) -> list[list[int]]:
    """Codes of each column, no more than the counts and the memory hold."""
    c = driver.c
    codes = 1 << min(c.code_width, c.entry_width - delta_width)
    most = min((1 << c.count_width) - 1, c.weight_depth // columns)

    def column() -> list[int]:
        few = random.choice([0.0, density, density, 1.0 if density else 0.0])
        while True:
            column = [
                random.randrange(1, codes) if random.random() < few else 0
                for _ in range(c.row_depth)
            ]
            # Every weight may take an escape for each of the rows that it skips.
            if c.row_depth // (1 << delta_width) + sum(map(bool, column)) <= most:
                return column
            few /= 2

    return [column() for _ in range(columns)]


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, density=[0.0, 0.1, 0.5], gaps=[0.0, 0.5])
async def adds_up_columns(dut: Any, name: str, density: float, gaps: float) -> None:
    """Layers one after the other, twice; each cycle is counted as what it was."""
    driver = await begin(dut, name)
    c = driver.c
    delta_width = max(1, c.entry_width - c.code_width)
    columns = 8 * c.scan_width
    codes = matrix(driver, delta_width, density, 2 * columns)
    entries = [encode(column, delta_width) for column in codes]
    codebook = [corners(c.weight_width) for _ in range(c.codebook_depth)]
    await driver.load(entries, codebook)
    driver.control["delta_width"] = delta_width
    await driver.count()
    for n in range(4):
        chosen = slice(columns, None) if n % 2 else slice(columns)
        base = 0 if n % 2 else c.codebook_depth - (1 << c.code_width)
        sparse = random.choice([0.0, 0.5, 1.0])
        activations = [
            corners(c.activation_width) if random.random() < sparse else 0 for _ in range(columns)
        ]
        driver.control |= {"codebook": base, "restart": n % 2 == 0}
        await driver.cycle()
        driver.control |= {"restart": 0, "running": 1}
        driver.cycles = driver.blocked = 0
        await driver.tell(activations, gaps)
        await driver.settle()
        driver.control["running"] = 0
        expected = [0] * c.row_depth
        for column, activation in zip(codes[chosen], activations, strict=True):
            for row, code in enumerate(column):
                expected[row] += codebook[base + code] * activation if code else 0
        assert await driver.drain(c.row_depth) == expected

        told = zip(codes[chosen], entries[chosen], activations, strict=True)
        told = [(column, taken) for column, taken, activation in told if activation]
        products = sum(code != 0 for column, _ in told for code in column)
        escapes = sum(len(taken) for _, taken in told) - products
        counted = await driver.count()
        assert counted["busy"] == products
        assert counted["padding"] <= escapes
        assert sum(counted[name] for name in ("busy", "padding", "starved")) == driver.cycles
        assert counted["blocked"] == driver.blocked


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def multiplies_every_cycle(dut: Any, name: str) -> None:
    """From step to product takes the latencies of the parts, and then there is one a cycle."""
    driver = await begin(dut, name)
    c = driver.c
    delta_width = max(1, c.entry_width - c.code_width)
    columns = 8 * c.scan_width
    # Long enough to work on while the scan, which was on hold, begins again.
    codes = [[1 + n % 3] * random.randint(6, 9) for n in range(columns)]
    await driver.load([encode(column, delta_width) for column in codes], [0, 1, 2, 3])
    driver.control["delta_width"] = delta_width
    await driver.count()
    driver.control["running"] = 1
    telling = cocotb.start_soon(driver.tell([1] * columns, 0.0))
    products = sum(map(len, codes))
    latency = Element.STEP_LATENCY + Queue.latency(c.queue_depth) + Fetch.LATENCY
    for _ in range(latency + products + 1):
        await driver.unit.cycle()
    assert telling.done()
    assert driver.unit.busy.value
    await driver.cycle()
    assert not driver.unit.busy.value
    driver.control["running"] = 0
    counted = await driver.count()
    # The two cycles in which the end becomes known have nothing to take.
    assert counted["starved"] == latency + 2
    assert counted["busy"] == products
    assert counted["padding"] == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def counters_form_a_chain(dut: Any, name: str) -> None:
    """What is shifted in comes out behind the counters; they saturate."""
    driver = await begin(dut, name)
    most = (1 << driver.c.counter_width) - 1
    numbers = [most - 2, 3, 7, 1]
    driver.unit.shift.value = 1
    for number in [*numbers, most - 2, most - 2, 5, 6]:
        driver.unit.counter_in.value = number
        await driver.cycle()
    driver.unit.shift.value = 0
    driver.unit.counter_in.value = 0
    driver.control["running"] = 1
    for _ in range(5):
        await driver.cycle()
    driver.control["running"] = 0
    expected = {"busy": most - 2, "starved": most, "blocked": 5, "padding": 6}
    assert await driver.count() == expected
    assert await driver.count() == dict.fromkeys(COUNTERS, 0)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_stops(dut: Any, name: str) -> None:
    """After a reset in the middle there is no work left, and the next layer is right."""
    driver = await begin(dut, name)
    c, unit = driver.c, driver.unit
    columns = 4 * c.scan_width
    codes = [[1] * 2] * columns
    await driver.load([encode(column, 2) for column in codes], [0, 3])
    driver.control["delta_width"] = 2
    await driver.tell([1] * columns, 0.0)
    await unit.reset()
    driver.control["bank"] = 0
    for _ in range(3):
        await driver.cycle()
    assert not unit.busy.value
    for _ in range(2):
        await driver.drain(c.row_depth)
    await driver.tell([1] * columns, 0.0)
    await driver.settle()
    assert await driver.drain(2) == [3 * columns] * 2
