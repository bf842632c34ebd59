"""Bench of :class:`hdl.sparse.element.Element`. Runs inside the simulator; see
:mod:`sim.runner`."""

import random
from collections import deque
from itertools import groupby
from typing import Any, NamedTuple

import cocotb

from hdl.sparse.decode import Decode
from hdl.sparse.element import COUNTERS, Control, Element, Load, Store
from hdl.sparse.fetch import Fetch
from hdl.sparse.run import Origin
from hdl.streams import Queue
from sim.runs import random_runs
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


class Layer(NamedTuple):
    """Columns of codes row by row, and where the first one's value is in the codebook."""

    columns: list[list[int]]
    delta_width: int
    base: int

    def entries(self) -> list[list[int]]:
        return [encode(column, self.delta_width) for column in self.columns]


class Driver:
    """Plays what surrounds an element, and knows what its sums have to be."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.c = unit.component.configuration
        self.control: dict[str, Any] = {"delta_width": [0, 0], "codebook": [0, 0]}
        self.codebook = [corners(self.c.weight_width) for _ in range(self.c.codebook_depth)]
        # What is yet to be told: changes of control where a run begins, and steps.
        self.waiting: deque[tuple[Origin, int, Layer] | dict[str, int]] = deque()
        self.activation = 0  # of the last step
        self.gaps = 0.0
        self.blocks = 0, 0  # where the counts of the newest run begin and end
        self.expected = [[0] * self.c.row_depth for _ in range(2)]
        self.phase = [0, 0]  # ``finished`` when all that waits is done
        self.cycles = 0
        self.blocked = 0
        self.held = [0, 0, 0]
        self.drains = [False] * Element.DRAIN_LATENCY
        self.passed = 0

    async def cycle(self) -> None:
        """Go on by a cycle, and note what is counted in it and told to the scan.

        Steps come as from a scan that is on hold when it was told to two cycles ago.
        """
        self.control["origin"] = Origin.NONE.value
        self.unit.step_valid.value = 0
        fields: dict[str, int] = {}
        if self.waiting and random.random() >= self.gaps:
            if not isinstance(self.waiting[0], dict):
                origin, bank, layer = self.waiting.popleft()
                self.control["origin"] = origin.value
                self.control["delta_width"][bank] = layer.delta_width
                self.control["codebook"][bank] = layer.base
            elif not self.held[0]:
                fields = self.waiting.popleft()
                self.unit.step_valid.value = 1
        # The activation comes a cycle later.
        layout = self.unit.component.step.shape()
        self.unit.step.value = pack(layout, {**fields, "activation": self.activation})
        self.activation = fields.get("activation", 0)
        self.unit.control.value = pack(Control(self.c), self.control)
        self.unit.drained_in.value = passed = random.getrandbits(self.c.accumulator_width)
        await self.unit.cycle()
        # Sums of the elements behind pass in all cycles in which there is none of its own.
        assert self.drains[0] or self.unit.drained.value == self.passed
        self.drains = [*self.drains[1:], bool(self.control.get("drain"))]
        self.passed = passed
        running = self.control.get("running", 0)
        self.cycles += running
        self.blocked += running and int(self.unit.hold.value)
        self.held = [*self.held[1:], int(self.unit.hold.value)]

    async def write(self, store: Store, words: list[int]) -> None:
        for address, word in enumerate(words):
            fields = {"store": store, "address": address, "data": word}
            self.unit.load.value = pack(Load(self.c), fields)
            await self.cycle()
        self.unit.load.value = 0

    async def load(self, columns: list[list[int]]) -> None:
        """Load columns of entries, and the codebook."""
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
        await self.write(Store.CODEBOOK, [value & mask for value in self.codebook])

    def tell(self, origin: Origin, bank: int, layer: Layer, activations: list[int]) -> None:
        """Tell of a run as soon as what waits already has been told."""
        c = self.c
        first, following = self.blocks
        first = {Origin.FIRST: 0, Origin.SAME: first, Origin.NEXT: following}[origin]
        self.blocks = first, first + len(activations) // c.scan_width
        self.waiting.append((origin, bank, layer))
        for at in range(0, len(activations), c.scan_width):
            block = activations[at : at + c.scan_width]
            lanes = [lane for lane, activation in enumerate(block) if activation] or [0]
            for lane in lanes:
                done = lane == lanes[-1]
                fields = {
                    "activation": block[lane],
                    "lane": lane,
                    "nonzero": block[lane] != 0,
                    "done": done,
                    "final": done and at + c.scan_width == len(activations),
                    "bank": bank,
                    "block": first + at // c.scan_width,
                }
                self.waiting.append(fields)
        self.phase[bank] ^= 1
        for column, activation in zip(layer.columns, activations, strict=True):
            for row, code in enumerate(column):
                value = self.codebook[layer.base + code] if code else 0
                self.expected[bank][row] += value * activation

    def under_way(self, bank: int) -> bool:
        """Whether the run in ``bank`` was not finished in the last cycle."""
        return int(self.unit.finished.value) >> bank & 1 != self.phase[bank]

    async def settle(self, bank: int) -> None:
        """Wait for the end of the run in ``bank``, and until its sums are written."""
        while self.under_way(bank):
            await self.cycle()
        for _ in range(Element.FINISH_LATENCY - 1):
            await self.cycle()

    async def drain(self, bank: int) -> list[int]:
        """Sums of ``bank``. The last row is the first, since its sum is the latest."""
        rows = range(self.c.row_depth)
        sums = []
        for n in range(len(rows) + Element.DRAIN_LATENCY):
            drains = n < len(rows)
            self.control |= {"drain": drains, "drain_row": rows[-1 - n] if drains else 0}
            self.control["drain_bank"] = bank if drains else bank ^ 1
            await self.cycle()
            if n >= Element.DRAIN_LATENCY:
                sums.append(signed(self.unit.drained.value, self.c.accumulator_width))
        return sums[::-1]

    async def check(self, bank: int) -> None:
        """Wait for the end of the run in ``bank``, and check its sums."""
        await self.settle(bank)
        assert await self.drain(bank) == self.expected[bank]
        self.expected[bank] = [0] * self.c.row_depth

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
    for bank in range(2):
        await driver.drain(bank)
    return driver


def least_delta(driver: Driver) -> int:
    """Fewest bits of an entry that can be its delta."""
    return max(1, driver.c.entry_width - driver.c.code_width)


def delta_widths(driver: Driver) -> list[int]:
    """Splits of an entry for two layers."""
    least = least_delta(driver)
    return random.sample([least, least + 1], 2)


def matrix(driver: Driver, delta_width: int, density: float, columns: int) -> list[list[int]]:
    """Codes of each column, no more than the counts and half of the memory hold."""
    c = driver.c
    codes = 1 << min(c.code_width, c.entry_width - delta_width)
    most = min((1 << c.count_width) - 1, c.weight_depth // (2 * columns))

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


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(name=NAMES, density=[0.0, 0.1, 0.5], gaps=[0.0, 0.5])
async def adds_up_columns(dut: Any, name: str, density: float, gaps: float) -> None:
    """Runs in turns of the banks, two at a time; each cycle is counted as what it was."""
    driver = await begin(dut, name)
    c = driver.c
    columns = 8 * c.scan_width
    bases = [(c.codebook_depth >> c.code_width) - 1 << c.code_width, 0]
    layers = [
        Layer(matrix(driver, delta_width, density, columns), delta_width, base)
        for delta_width, base in zip(delta_widths(driver), bases, strict=True)
    ]
    entries = [layer.entries() for layer in layers]
    await driver.load(entries[0] + entries[1])
    await driver.count()
    driver.gaps = gaps
    driver.control["running"] = 1
    driver.cycles = driver.blocked = 0
    products = padding = 0
    for n, (origin, number) in enumerate(random_runs(2, 6, stages=False)):
        sparse = random.choice([0.0, 0.5, 1.0])
        activations = [
            corners(c.activation_width) if random.random() < sparse else 0 for _ in range(columns)
        ]
        driver.tell(origin, n % 2, layers[number], activations)
        for taken, activation in zip(entries[number], activations, strict=True):
            # Where a weight is, and how many escapes are in front of it.
            is_weight = [entry >> layers[number].delta_width != 0 for entry in taken]
            chains = [len(list(chain)) for weight, chain in groupby(is_weight) if not weight]
            products += sum(is_weight) * (activation != 0)
            padding += sum(length - 1 for length in chains) * (activation != 0)
        if n:
            await driver.check((n + 1) % 2)
    await driver.check(n % 2)
    driver.control["running"] = 0
    counted = await driver.count()
    assert counted["busy"] == products
    assert counted["padding"] == padding
    assert counted["busy"] + counted["padding"] <= driver.cycles
    assert counted["blocked"] == driver.blocked


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def multiplies_every_cycle(dut: Any, name: str) -> None:
    """From step to product takes the latencies of the parts, and then there is one a cycle.

    So it is from one run to the next too, each of which is finished soon after its last term.
    """
    driver = await begin(dut, name)
    c = driver.c
    columns = 5 * c.scan_width
    # Long enough to work on while the scan, which was on hold, begins again.
    layers = [
        Layer([[1 + n % 3] * random.randint(6, 9) for n in range(columns)], delta_width, base)
        for delta_width, base in zip(delta_widths(driver), (4, 0), strict=True)
    ]
    await driver.load([column for layer in layers for column in layer.entries()])
    await driver.count()
    driver.control["running"] = 1
    driver.tell(Origin.FIRST, 0, layers[0], [1] * columns)
    driver.tell(Origin.NEXT, 1, layers[1], [-1] * columns)
    products = [sum(map(len, layer.columns)) for layer in layers]
    # The origin comes a cycle before the first step.
    latency = 1 + Element.STEP_LATENCY + Queue.latency(c.queue_depth) + Fetch.LATENCY
    latency += Decode.LATENCY + Decode.END_LATENCY - 2
    ends = [latency + products[0], latency + sum(products)]
    for n in range(ends[1] + 1):
        await driver.cycle()
        assert [driver.under_way(bank) for bank in range(2)] == [n < end for end in ends]
    driver.control["running"] = 0
    counted = await driver.count()
    assert counted["busy"] == sum(products)
    assert counted["padding"] == 0
    for bank in range(2):
        await driver.check(bank)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def drains_a_bank_while_it_works(dut: Any, name: str) -> None:
    """Runs are long enough for one to be drained before the next is finished."""
    driver = await begin(dut, name)
    c = driver.c
    columns = 8 * c.scan_width
    rows = min(c.row_depth, (1 << c.count_width) - 1, c.weight_depth // columns)
    codes = [[random.randint(1, 3) for _ in range(rows)] for _ in range(columns)]
    layer = Layer(codes, least_delta(driver), 0)
    await driver.load(layer.entries())
    for n in range(6):
        activations = [corners(c.activation_width) or 1 for _ in range(columns)]
        driver.tell(Origin.SAME if n else Origin.FIRST, n % 2, layer, activations)
        if n:
            await driver.check((n + 1) % 2)
            assert driver.under_way(n % 2)
    await driver.check(n % 2)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def counts_blocked_cycles_while_running(dut: Any, name: str) -> None:
    """Those in which it holds up the scan, but only with ``running``."""
    driver = await begin(dut, name)
    c = driver.c
    columns = 8 * c.scan_width
    rows = min(c.row_depth, (1 << c.count_width) - 1, c.weight_depth // columns)
    layer = Layer([[1] * rows] * columns, least_delta(driver), 0)
    await driver.load(layer.entries())
    await driver.count()
    driver.tell(Origin.FIRST, 0, layer, [1] * columns)
    holds = driver.blocked = 0
    while driver.under_way(0):
        driver.control["running"] = random.getrandbits(1)
        await driver.cycle()
        holds += int(driver.unit.hold.value)
    driver.control["running"] = 0
    assert 0 < driver.blocked < holds
    assert (await driver.count())["blocked"] == driver.blocked


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def counters_form_a_chain(dut: Any, name: str) -> None:
    """What is shifted in comes out behind the counters; they saturate."""
    driver = await begin(dut, name)
    columns = 2 * driver.c.scan_width
    layer = Layer([[1] * 2] * columns, least_delta(driver), 0)
    await driver.load(layer.entries())
    await driver.count()
    most = (1 << driver.c.counter_width) - 1
    driver.unit.shift.value = 1
    for number in [3, 7, 1, most - 2, 5, 6]:
        driver.unit.counter_in.value = number
        await driver.cycle()
    driver.unit.shift.value = 0
    driver.unit.counter_in.value = 0
    driver.control["running"] = 1
    driver.blocked = 0
    driver.tell(Origin.FIRST, 0, layer, [1] * columns)
    await driver.check(0)
    driver.control["running"] = 0
    expected = {"busy": most, "blocked": 5 + driver.blocked, "padding": 6}
    assert await driver.count() == expected
    assert await driver.count() == dict.fromkeys(COUNTERS, 0)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_stops(dut: Any, name: str) -> None:
    """After a reset in the middle there is no work left, and the next run is right."""
    driver = await begin(dut, name)
    columns = 4 * driver.c.scan_width
    layer = Layer([[1] * 2] * columns, least_delta(driver), 0)
    await driver.load(layer.entries())
    for n in range(2):
        driver.tell(Origin.SAME, n, layer, [1] * columns)
    await driver.settle(0)
    await driver.unit.reset()
    driver.waiting.clear()
    driver.phase = [0, 0]
    driver.held = [0, 0]
    driver.drains, driver.passed = [False] * Element.DRAIN_LATENCY, 0
    for _ in range(3):
        await driver.cycle()
        assert not driver.unit.finished.value
    for bank in range(2):
        await driver.drain(bank)
    driver.expected = [[0] * driver.c.row_depth for _ in range(2)]
    driver.tell(Origin.SAME, 1, layer, [1] * columns)
    await driver.check(1)
