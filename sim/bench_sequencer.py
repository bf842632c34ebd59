"""Bench of :class:`hdl.sequencer.Sequencer`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from dataclasses import dataclass, field
from typing import Any

import cocotb

from hdl.sparse.drain import Scaling
from hdl.sparse.element import COUNTERS
from hdl.sparse.engine import COMPANIONS, Layer
from hdl.sparse.run import Origin
from sim.streams import Stream, Unit, corners, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["sequencer"])


def random_program(unit: Unit, length: int, *, tiles: bool) -> list[dict[str, Any]]:
    """A program of as many lines, which are layers or, if there are ``tiles``, some of a layer."""
    c = unit.component.configuration
    keeps = [tiles and n < length - 1 and random.random() < 0.5 for n in range(length)]
    if tiles and length > 1:
        keeps[random.randrange(length - 1)] = True
    final = length - 1  # from which line on there is the last layer
    while final and keeps[final - 1]:
        final -= 1
    most = c.activation_depth // c.scan_width
    companions = 0 if tiles else random.randint(0, COMPANIONS)
    return [
        {
            "blocks": random.randint(1, most),
            "delta_width": random.randrange(1, c.entry_width),
            "codebook": random.randrange(c.codebook_depth),
            "scaling": {
                # No more activations than a vector can have.
                "rows": random.randint(1, min(c.row_depth, most // c.groups)),
                "split": random.getrandbits(1),
                "shift": random.randrange(c.accumulator_width),
                "low": corners(c.activation_width),
                "high": corners(c.activation_width),
            },
            "last": int(n >= final),
            "keep": int(keeps[n]),
            "companions": companions,
        }
        for n in range(length)
    ]


def random_stages(unit: Unit, length: int, *, tiles: bool) -> list[list[dict[str, Any]]]:
    """As many lines of programs, one for each stage."""
    stages = []
    while length:
        lines = random.randint(1, length) if unit.component.configuration.stages else length
        stages.append(random_program(unit, lines, tiles=tiles))
        length -= lines
    return stages


@dataclass
class Run:
    """A run as it should be."""

    number: int
    vector: int
    origin: Origin
    bank: int
    companion: int = 0  # which one of its vector's group, the first being 0
    scans: int = 0  # cycles that its scan still takes, at least
    done: bool = False


@dataclass
class Around:
    """Plays engine, input and output; checks in every cycle that they are used as they may be.

    ``slow`` is the probability that something does not go on in a cycle.
    """

    unit: Unit
    slow: float
    program: list[dict[str, Any]] = field(default_factory=list)
    stage: int = 0  # line that the one at hand begins with
    opening: Origin = Origin.FIRST  # of the next vector
    runs: list[Run] = field(default_factory=list)  # started and not finished
    newest: Run | None = None
    vectors: int = 0  # that have begun
    companions: int = 0  # of the vector that began last
    groups: list[int] = field(
        default_factory=lambda: [0] * (1 + COMPANIONS)
    )  # that a companion has joined
    ended: int = 0  # vectors
    cleared: int = 0  # drains that follow a reset
    since: int = 0  # cycle from which on the oldest run counts
    offers: bool = True  # whether there can be input
    spent: list[int] = field(default_factory=list)  # cycles of each layer
    reads: int = 0  # cycles in which rows are still to be read
    drains: int = 0  # cycles that a drain still takes
    drained: Run | None = None
    rooms: list[int] = field(default_factory=lambda: [0, 0])  # that are surely there
    now: int = 0
    shifts: int = 0
    rewinds: int = 0
    kept: bool = False  # whether what was scanned last is yet to be rewound

    async def load(self, program: list[dict[str, Any]]) -> None:
        unit = self.unit
        layout = Layer(unit.component.configuration)
        self.program = program
        self.newest = None
        unit.load__en.value = 1
        for address, layer in enumerate(program):
            unit.load__addr.value = address
            unit.load__data.value = pack(layout, layer)
            await self.cycle()
        unit.load__en.value = 0
        # The memory is read every cycle.
        await self.cycle()

    async def enter(self, stage: int) -> None:
        """Begin a stage, by its first line, if there are any."""
        if not self.unit.component.configuration.stages:
            return
        for told in [self.unit.restart] * (stage == 0) + [self.unit.enter]:
            told.value = 1
            await self.cycle()
            told.value = 0
        # The memory is read every cycle.
        await self.cycle()
        self.newest, self.stage = None, stage
        self.opening = Origin.ENTER if stage else Origin.RESTART

    async def end(self) -> None:
        """Let the vectors that have begun end."""
        self.offers = False
        await self.cycle()
        while not self.unit.idle.value:
            await self.cycle()

    async def cycle(self) -> None:
        unit = self.unit
        running = bool(self.runs)
        scanning = running and self.newest in self.runs and self.newest.scans > 0
        for run in self.runs:
            ended = run is not self.newest or not scanning
            run.done = run.done or (ended and random.random() >= self.slow)
        # What is not under way is done, too.
        done = [all(run.done for run in self.runs if run.bank == bank) for bank in range(2)]
        c = unit.component.configuration
        most = c.activation_depth // c.scan_width
        unit.scanning.value = scanning
        unit.done.value = done[0] | done[1] << 1
        unit.reading.value = self.reads > 0
        unit.draining.value = draining = self.drains > 0
        unit.offered.value = offered = self.offers and random.random() >= self.slow
        rooms = [most if random.random() >= self.slow else random.randint(0, most) for _ in "ob"]
        unit.output_level.value, unit.between_level.value = (most - room for room in rooms)
        unit.drains.value = puts = draining and random.random() >= self.slow
        unit.counter.value = self.shifts
        await unit.cycle()
        self.now += 1
        assert unit.running.value == running
        if self.drained is not None and draining:
            layer = self.program[self.drained.number]
            assert not unit.discard.value
            assert unit.to_output.value == layer["last"]
            assert unit.partial.value == layer["keep"]
        elif draining:
            assert unit.discard.value
        if running:
            assert unit.number.value == self.runs[0].number
        # Once, when the scan is through.
        assert unit.rewind.value == (self.kept and not scanning)
        if self.newest is not None and (scanning or unit.rewind.value):
            keeps = [layer["keep"] for layer in self.program]
            assert unit.keep.value == keeps[self.newest.number]
            assert unit.from_input.value == all(keeps[self.stage : self.newest.number])
        if not scanning:
            self.rewinds += self.kept
            self.kept = False
        if scanning:
            if random.random() >= self.slow:
                self.newest.scans -= 1
        if unit.idle.value:
            assert not running
            assert not draining
        reads = self.reads
        self.reads, self.drains = max(self.reads - 1, 0), max(self.drains - 1, 0)
        starts, finishes = bool(unit.start_.value), bool(unit.finish.value)
        if finishes:
            assert not draining
            self.check_finish(done)
        if starts:
            assert not scanning
            self.check_start(offered, reads > 0, finishes)
        self.shifts += int(unit.shift.value)
        self.rooms = rooms
        self.rooms[not unit.to_output.value] -= puts

    def check_finish(self, done: list[bool]) -> None:
        unit, c = self.unit, self.unit.component.configuration
        scaling = unpack(Scaling(c), unit.scaling.value)
        self.reads = random.randint(0, 6)
        self.drains = self.reads + random.randint(3, 9)
        if not self.runs:
            # Both banks hold what was in them before the reset.
            assert unit.finish_bank.value == self.cleared
            self.cleared += 1
            assert scaling["rows"] == c.row_depth
            self.drained = None
            return
        run = self.runs.pop(0)
        layer = self.program[run.number]
        assert done[run.bank]
        assert scaling == layer["scaling"]
        assert unit.finish_bank.value == run.bank
        assert unit.finish_origin.value == run.origin.value
        split = layer["scaling"]["split"]
        results = layer["scaling"]["rows"] * c.groups // (c.ways if split else 1)
        assert self.rooms[not layer["last"]] >= results
        self.spent[run.number] += self.now - self.since
        self.since = self.now
        self.ended += layer["last"] and not layer["keep"]
        self.drained = run

    def check_start(self, offered: bool, reading: bool, finishes: bool) -> None:
        """A run starts: of a companion, or of the next layer, or of a vector."""
        unit = self.unit
        assert self.cleared == 2
        assert unit.enabled.value
        newest = self.newest
        before = self.program[self.stage if newest is None else newest.number]
        first = newest is None or bool(before["last"] and not before["keep"])
        joins = newest is not None and newest.number == self.stage and offered
        joins = joins and newest.companion < before["companions"]
        if joins:
            self.vectors += 1
            self.companions += 1
            self.groups[self.companions] += 1
        if newest is not None and newest.companion < self.companions:
            vector, companion = newest.vector + 1, newest.companion + 1
            run = Run(newest.number, vector, Origin.SAME, newest.bank ^ 1, companion)
        elif first:
            assert offered
            self.companions = 0
            bank = int(unit.start_bank.value) if newest is None else newest.bank ^ 1
            run = Run(self.stage, self.vectors, self.opening, bank)
            self.opening = Origin.FIRST
            self.vectors += 1
        else:
            vector = newest.vector - newest.companion
            run = Run(newest.number + 1, vector, Origin.NEXT, newest.bank ^ 1)
        layer = self.program[run.number]
        assert unit.start_bank.value == run.bank
        assert unit.start_origin.value == run.origin.value
        assert unpack(Layer(unit.component.configuration), unit.layer.value) == layer
        # The bank is free: none of the runs under way has it, and it is not being read.
        under_way = [*self.runs, *([self.drained] if finishes else [])]
        assert run.bank not in [other.bank for other in under_way]
        assert not (reading and self.drained is not None and self.drained.bank == run.bank)
        if not under_way:
            self.since = self.now
        run.scans = random.choice([1, 1, 2, 7])
        self.kept = bool(layer["keep"])
        self.newest = run
        self.runs.append(run)

    async def reset(self) -> None:
        """Reset, after which both banks are drained before anything else."""
        self.runs, self.newest, self.drained, self.kept = [], None, None, False
        self.stage = 0
        self.cleared = self.drains = self.reads = 0
        self.spent = [0] * self.unit.component.configuration.layer_depth
        self.unit.draining.value = 0
        await self.unit.reset()
        while not self.unit.idle.value:
            assert not self.unit.start_.value
            await self.cycle()
        assert self.cleared == 2

    async def report(self, stall: float) -> None:
        """Ask for a report and check it; the chain of counters is as long as was shifted."""
        unit = self.unit
        c = unit.component.configuration
        unit.report.value = 1
        await self.cycle()
        unit.report.value = 0
        self.shifts = 0
        length = len(COUNTERS) * c.elements
        stream = Stream(unit, "counters", stall=stall)
        holding = cocotb.start_soon(stream.check_held())
        collecting = cocotb.start_soon(stream.get_all(c.layer_depth + length))
        while not collecting.done():
            await self.cycle()
            assert not unit.idle.value or collecting.done()
            assert not unit.start_.value
        mask = (1 << c.counter_width) - 1
        expected = [number & mask for number in self.spent] + list(range(length))
        assert collecting.result() == expected
        assert self.shifts == length
        holding.cancel()
        self.spent = [0] * c.layer_depth


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, slow=[0.0, 0.5, 0.9])
async def runs_programs(dut: Any, name: str, slow: float) -> None:
    """Programs of every length, loaded one after the other, with reports in between.

    By turns without tiles and with some. If there are stages, they are gone through twice.
    """
    unit = Unit(dut, name)
    around = Around(unit, slow)
    c = unit.component.configuration
    await unit.start()
    await around.reset()
    for turn in range(2 * c.layer_depth):
        stages = random_stages(unit, turn // 2 + 1, tiles=bool(turn % 2))
        if turn == 0:
            # The only layer waits for them.
            stages[0][0]["companions"] = COMPANIONS
        await around.load([line for program in stages for line in program])
        unit.enabled.value = 1
        around.vectors = around.ended = 0
        for _ in range(1 + c.stages):
            line = 0
            for program in stages:
                around.offers = False
                await around.enter(line)
                around.offers = True
                enough = around.vectors + (random.choice([1, 2, 7]) if c.stages and turn else 7)
                while around.vectors < enough:
                    await around.cycle()
                await around.end()
                line += len(program)
        unit.enabled.value = 0
        await around.cycle()
        around.offers = True
        assert around.vectors == around.ended
        for _ in range(2):
            await around.report(slow)
    assert all(around.groups[1:])
    assert around.rewinds


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_clears(dut: Any, name: str) -> None:
    """After a reset in the middle of a layer all cycles are zero and the first layer is next."""
    unit = Unit(dut, name)
    around = Around(unit, 0.5)
    await unit.start()
    for _ in range(3):
        unit.enabled.value = 0
        await around.reset()
        await around.report(0.0)
        depth = unit.component.configuration.layer_depth
        await around.load(random_program(unit, depth, tiles=bool(random.getrandbits(1))))
        unit.enabled.value = 1
        around.offers = False
        await around.enter(0)
        around.offers = True
        around.vectors = 0
        while around.vectors < 2:
            await around.cycle()
