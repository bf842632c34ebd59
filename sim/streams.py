"""Cocotb side of a unit: its ports, its streams, and numbers to feed it."""

import random
from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotb.types import LogicArray

from sim.units import BENCHES

__all__ = ["Stream", "Unit", "corners", "pack", "signed", "unpack"]


class Unit:
    """A unit of a build, by the name that it has in :data:`sim.units.BENCHES`.

    Its ports are attributes, by the names that they have in generated Verilog; with a trailing
    underscore where the name is also that of a method.
    """

    def __init__(self, dut: Any, name: str) -> None:
        self._dut = dut
        self._name = name
        self.component = next(units[name] for units in BENCHES.values() if name in units)()

    def __getattr__(self, port: str) -> Any:
        handle = self._dut[f"{self._name}__{port.rstrip('_')}"]
        setattr(self, port, handle)
        return handle

    async def start(self) -> None:
        """Start the clock and reset, with all inputs at zero."""
        for path, member, _ in self.component.signature.flatten(self.component):
            if member.flow == wiring.In:
                self._dut["__".join([self._name, *map(str, path)])].value = 0
        Clock(self.clk, 10, unit="ns").start()
        await self.reset()

    async def reset(self) -> None:
        """Reset in the middle of what is going on."""
        self.rst.value = 1
        await self.cycles(2)
        self.rst.value = 0

    async def cycle(self) -> None:
        """Wait for a clock edge: what is read then is what the edge has seen."""
        await RisingEdge(self.clk)

    async def fill(self, words: Iterable[int]) -> None:
        """Write ``words`` through the port ``load``, one a cycle, from address 0 on."""
        self.load__en.value = 1
        for address, word in enumerate(words):
            self.load__addr.value = address
            self.load__data.value = word
            await self.cycle()
        self.load__en.value = 0
        # What is not enabled is arbitrary.
        self.load__addr.value = random.randrange(address + 1)
        self.load__data.value = random.getrandbits(len(self.load__data))

    async def cycles(self, count: int) -> None:
        for _ in range(count):
            await RisingEdge(self.clk)


class Stream:
    """The ports ``{name}__payload``, ``{name}__valid`` and ``{name}__ready`` of ``unit``.

    ``stall`` is the probability that the bench holds off for a cycle when it could go ahead.
    cocotb seeds :mod:`random` for each test, so a failing run repeats with its printed seed.
    """

    def __init__(self, unit: Unit, name: str, *, stall: float = 0.0) -> None:
        self.name = name
        self.clk = unit.clk
        self.rst = unit.rst
        self.payload = getattr(unit, f"{name}__payload")
        self.valid = getattr(unit, f"{name}__valid")
        self.ready = getattr(unit, f"{name}__ready")
        self._stall = stall

    async def put(self, payload: int) -> None:
        """Offer ``payload`` until it is taken."""
        await self._hold_off()
        self.payload.value = payload
        self.valid.value = 1
        await self._edge_with(self.ready)
        self.valid.value = 0

    async def put_all(self, payloads: Iterable[int]) -> None:
        for payload in payloads:
            await self.put(payload)

    async def get(self) -> LogicArray:
        """Take one payload."""
        await self._hold_off()
        self.ready.value = 1
        await self._edge_with(self.valid)
        self.ready.value = 0
        return self.payload.value

    async def get_all(self, count: int) -> list[int]:
        return [int(await self.get()) for _ in range(count)]

    async def check_held(self) -> None:
        """Check forever that nothing but a reset changes or withdraws a payload on offer."""
        offered = None
        while True:
            if offered is None:
                await self._edge_with(self.valid)
            else:
                await RisingEdge(self.clk)
                assert self.valid.value, f"{self.name}: payload withdrawn before it was taken"
                assert self.payload.value == offered, f"{self.name}: payload changed on offer"
            waiting = not self.ready.value and not self.rst.value
            offered = self.payload.value if waiting else None

    async def _edge_with(self, signal: Any) -> None:
        """Wait for the first clock edge that sees ``signal`` set."""
        await RisingEdge(self.clk)
        while not signal.value:
            # Python is not called in the cycles between.
            await RisingEdge(signal)
            await RisingEdge(self.clk)

    async def _hold_off(self) -> None:
        while random.random() < self._stall:
            await RisingEdge(self.clk)


def signed(value: Any, width: int) -> int:
    """The number that the lowest ``width`` bits of ``value`` are in two's complement."""
    bits = int(value) & ((1 << width) - 1)
    return bits - (bits >> (width - 1) << width)


def corners(width: int) -> int:
    """A random number of ``width`` bits in two's complement, often one at an edge."""
    lowest = -(1 << (width - 1))
    few = [lowest, lowest + 1, -2, -1, 0, 1, 2, -lowest - 2, -lowest - 1]
    if random.random() < 0.4:
        return max(lowest, min(random.choice(few), -lowest - 1))
    return random.randrange(lowest, -lowest) >> random.randrange(width)


def pack(layout: data.Layout, fields: Any) -> int:
    """Bits of a payload."""
    return layout.const(fields).as_bits()


def unpack(layout: Any, bits: Any) -> Any:
    """Fields of a payload as plain numbers: a dictionary for a structure, a list for an array."""
    bits = int(bits)
    if isinstance(layout, data.StructLayout | data.ArrayLayout):
        fields = {
            key: unpack(field.shape, bits >> field.offset & ((1 << field.width) - 1))
            for key, field in layout
        }
        return list(fields.values()) if isinstance(layout, data.ArrayLayout) else fields
    shape = Shape.cast(layout)
    return signed(bits, shape.width) if shape.signed else bits
