"""Bench of :class:`hdl.sequencer.Sequencer`. Runs inside the simulator; see :mod:`sim.runner`."""

import random
from typing import Any

import cocotb

from hdl.sparse.drain import Scaling
from hdl.sparse.element import COUNTERS
from hdl.sparse.engine import Layer
from sim.streams import Stream, Unit, corners, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["sequencer"])


def random_program(unit: Unit, length: int) -> list[dict[str, Any]]:
    c = unit.component.configuration
    return [
        {
            "blocks": random.randint(1, c.activation_depth // c.scan_width),
            "delta_width": random.randrange(1, c.entry_width),
            "codebook": random.randrange(c.codebook_depth),
            "scaling": {
                "rows": random.randint(1, c.row_depth),
                "split": random.getrandbits(1),
                "shift": random.randrange(c.accumulator_width),
                "low": corners(c.activation_width),
                "high": corners(c.activation_width),
            },
            "last": int(n == length - 1),
        }
        for n in range(length)
    ]


class Around:
    """Plays engine, input and output; checks in every cycle that they are used as they may be.

    ``slow`` is the probability that something does not go on in a cycle.
    """

    def __init__(self, unit: Unit, slow: float) -> None:
        self.unit = unit
        self.slow = slow
        self.program: list[dict[str, Any]] = []
        self.started = 0  # layers since the reset
        self.finished = 0
        self.cleared = 0  # drains that follow a reset
        self.begun = 0  # cycle in which the layer at hand began
        self.spent: list[int] = []  # cycles of each layer
        self.drains = 0  # cycles that a drain still takes
        self.to_output = False
        self.now = 0
        self.shifts = 0

    async def load(self, program: list[dict[str, Any]]) -> None:
        unit = self.unit
        layout = Layer(unit.component.configuration)
        self.program = program
        self.started = self.finished = 0
        unit.load__en.value = 1
        for address, layer in enumerate(program):
            unit.load__addr.value = address
            unit.load__data.value = pack(layout, layer)
            await self.cycle()
        unit.load__en.value = 0
        # The memory is read every cycle.
        await self.cycle()

    def at_hand(self) -> int:
        return (self.started - 1) % len(self.program)

    async def cycle(self) -> None:
        unit, running = self.unit, self.started > self.finished
        # The next layer of the program is there two cycles after a start.
        quiet = not running or (self.now > self.begun and random.random() >= self.slow)
        unit.quiet.value = quiet
        unit.draining.value = draining = self.drains > 0
        unit.offered.value = offered = random.random() >= self.slow
        unit.room.value = room = random.random() >= self.slow
        unit.counter.value = self.shifts
        await unit.cycle()
        self.now += 1
        assert unit.running.value == running
        if self.drains:
            self.drains -= 1
            assert unit.discard.value == (self.finished == 0)
            assert not self.finished or unit.to_output.value == self.to_output
        if running:
            number = self.at_hand()
            assert unit.number.value == number
            assert unit.from_input.value == (number == 0)
        if unit.finish.value:
            assert quiet
            assert not draining
            self.check_finish(running, room)
        if unit.start_.value:
            self.check_start(running, offered)
        if unit.idle.value:
            assert not running
            assert not draining
        self.shifts += int(unit.shift.value)

    def check_finish(self, running: bool, room: bool) -> None:
        unit = self.unit
        scaling = unpack(Scaling(unit.component.configuration), unit.scaling.value)
        self.drains = random.randint(1, 9)
        if not running:
            # Both banks hold what was in them before the reset.
            self.cleared += 1
            assert scaling["rows"] == unit.component.configuration.row_depth
            return
        number = self.at_hand()
        layer = self.program[number]
        assert scaling == layer["scaling"]
        assert unit.rebias.value == (number == 0)
        assert room or not layer["last"]
        self.to_output = bool(layer["last"])
        self.spent[number] += self.now - self.begun
        self.finished += 1

    def check_start(self, running: bool, offered: bool) -> None:
        unit = self.unit
        assert self.cleared == 2
        assert unit.enabled.value
        assert not running or unit.finish.value
        number = self.started % len(self.program)
        assert unit.first.value == (number == 0)
        assert offered or number
        assert unpack(Layer(unit.component.configuration), unit.layer.value) == self.program[number]
        self.started += 1
        self.begun = self.now

    async def reset(self) -> None:
        """Reset, after which both banks are drained before anything else."""
        self.started = self.finished = self.cleared = self.drains = 0
        self.spent = [0] * self.unit.component.configuration.layer_depth
        self.unit.quiet.value = 1
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
    """Programs of every length, loaded one after the other, with reports in between."""
    unit = Unit(dut, name)
    around = Around(unit, slow)
    c = unit.component.configuration
    await unit.start()
    await around.reset()
    for length in range(1, c.layer_depth + 1):
        await around.load(random_program(unit, length))
        unit.enabled.value = 1
        while around.started < 3 * length:
            await around.cycle()
        # A vector that has begun ends.
        unit.enabled.value = 0
        await around.cycle()
        while not unit.idle.value:
            await around.cycle()
        assert around.started == around.finished
        assert around.started % length == 0
        for _ in range(2):
            await around.report(slow)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def goes_on_at_once(dut: Any, name: str) -> None:
    """The next layer starts in the cycle in which the one before is quiet, vector after vector."""
    unit = Unit(dut, name)
    around = Around(unit, 0.0)
    await unit.start()
    await around.reset()
    await around.load(random_program(unit, 3))
    unit.enabled.value = 1
    await around.cycle()
    for n in range(24):
        around.drains = 0
        await around.cycle()
        assert unit.finish.value == n % 2
        assert unit.start_.value == n % 2


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
        await around.load(random_program(unit, unit.component.configuration.layer_depth))
        unit.enabled.value = 1
        while around.started < 2:
            await around.cycle()
