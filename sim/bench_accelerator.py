"""Bench of :class:`hdl.accelerator.Accelerator`. Runs inside the simulator; see
:mod:`sim.runner`."""

import random
from typing import Any

import cocotb
import numpy as np
import torch
from cocotb.task import Task
from cocotb.triggers import RisingEdge

from golden.image import Network
from golden.network import run
from hdl.configuration import Configuration
from hdl.loader import Header, Space
from hdl.result import Result
from hdl.sparse.element import COUNTERS
from hdl.sparse.engine import COMPANIONS
from mapping import Plan, plan
from sim.networks import KINDS, network, vectors
from sim.streams import Stream, Unit, pack, unpack
from sim.units import BENCHES

NAMES = list(BENCHES["accelerator"])


class Device:
    """An accelerator, what is loaded into it, and what it has to say."""

    def __init__(self, unit: Unit, stall: float) -> None:
        self.unit = unit
        self.c: Configuration = unit.component.configuration
        self.load_ = Stream(unit, "load", stall=stall / 2)
        self.i = Stream(unit, "i", stall=stall)
        self.o = Stream(unit, "o", stall=stall)
        self.counters = Stream(unit, "counters", stall=stall)
        self.plan: Plan | None = None
        # Activations of all layers as they came.
        self.taps: list[int] = []

    async def start(self) -> None:
        await self.unit.start()
        for stream in (self.o, self.counters):
            cocotb.start_soon(stream.check_held())
        cocotb.start_soon(self.watch())

    async def watch(self) -> None:
        """Note activations as they come into being."""
        layout = self.unit.component.tap.shape()
        while True:
            await self.unit.cycle()
            if self.unit.tap_valid.value:
                self.taps += unpack(layout, self.unit.tap.value)
            else:
                await RisingEdge(self.unit.tap_valid)

    async def load(self, net: Network) -> None:
        self.plan = plan(net, self.c)
        await self.load_.put_all(self.plan.load.tolist())

    async def send(self, inputs: np.ndarray) -> None:
        layout = self.unit.component.i.payload.shape()
        for block in self.plan.pack(inputs).reshape(-1, self.c.scan_width).tolist():
            await self.i.put(pack(layout, block))

    async def receive(self, count: int) -> np.ndarray:
        """Results, whose last block has to say so."""
        blocks = []
        for _ in range(count):
            for n in range(self.plan.beats_out):
                fields = unpack(Result(self.c), await self.o.get())
                assert fields["last"] == (n == self.plan.beats_out - 1)
                blocks.append(fields["activations"])
        return self.plan.unpack(np.array(blocks).reshape(count, self.plan.beats_out, -1))

    def feed(self, inputs: np.ndarray) -> Task:
        return cocotb.start_soon(self.send(inputs))

    async def run(self, inputs: np.ndarray) -> None:
        """Run vectors, one sent behind the other, and compare all activations of all layers."""
        self.taps.clear()
        sending = self.feed(inputs)
        outputs = await self.receive(len(inputs))
        await sending
        for _ in range(20):
            await self.unit.cycle()
            assert not self.o.valid.value, "more results than vectors"
        self.check(inputs, outputs)

    def check(self, inputs: np.ndarray, outputs: np.ndarray) -> None:
        golden = [layer.numpy() for _, layer in run(self.plan.network, torch.from_numpy(inputs))]
        # Positions that no row has belong to no column with weights, but stay zero too.
        expected = []
        for layer, of_layer in zip(self.plan.layers, golden, strict=True):
            expected.append(np.zeros((len(inputs), layer.positions), np.int64))
            expected[-1][:, layer.outputs] = of_layer
        assert self.in_some_order([list(map(list, of_layer)) for of_layer in expected], 0, 0)
        assert np.array_equal(outputs, golden[-1])

    def in_some_order(self, expected: list[list[list[int]]], vector: int, place: int) -> bool:
        """Whether the taps from ``place`` on are the activations from ``vector`` on.

        A vector goes through all layers by itself, or layer by layer with its companions.
        """
        if vector == len(expected[0]):
            return place == len(self.taps)
        for count in range(1, 2 + COMPANIONS):
            group = [one for of_layer in expected for one in of_layer[vector : vector + count]]
            flat = [value for activations in group for value in activations]
            end = place + len(flat)
            if vector + count <= len(expected[0]) and self.taps[place:end] == flat:
                if self.in_some_order(expected, vector + count, end):
                    return True
        return False

    async def report(self) -> tuple[list[int], np.ndarray]:
        """Cycles of the layers, and counters ``(elements, 3)``."""
        asking = self.ask()
        numbers = await self.counters.get_all(self.c.layer_depth + len(COUNTERS) * self.c.elements)
        await asking
        counters = np.array(numbers[self.c.layer_depth :]).reshape(self.c.elements, -1)
        return numbers[: self.c.layer_depth], counters

    def ask(self) -> Task:
        header = pack(Header, {"count": 0, "element": 0, "space": Space.REPORT})
        return cocotb.start_soon(self.load_.put(header))


def products(device: Device, inputs: np.ndarray) -> np.ndarray:
    """Products of non-zeros that each element has to make."""
    layers = run(device.plan.network, torch.from_numpy(inputs))
    activations = [inputs, *(outputs.numpy() for _, outputs in layers)]
    total = np.zeros(device.c.elements, np.int64)
    for layer, vectors_ in zip(device.plan.layers, activations, strict=False):
        uses = (vectors_ != 0).sum(axis=0)[layer.layer.columns]
        members = device.c.elements // layer.teams
        block = layer.inputs[layer.layer.columns] // device.c.scan_width
        owner = block % layer.teams * members + layer.outputs[layer.layer.rows] % members
        total += np.bincount(owner, uses, device.c.elements).astype(np.int64)
    return total


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(name=NAMES, kind=list(KINDS), stall=[0.0, 0.5])
async def matches_golden(dut: Any, name: str, kind: str, stall: float) -> None:
    """All activations of all layers, and every cycle of every element accounted for."""
    device = Device(Unit(dut, name), stall)
    net = network(kind, device.c)
    inputs = vectors(net, 8 if kind in ("random", "single") else 5)
    await device.start()
    loading = cocotb.start_soon(device.load(net))
    # Offered while loading goes on, inputs wait.
    await device.unit.cycle()
    await device.run(inputs)
    assert loading.done()
    cycles, counters = await device.report()
    busy, blocked, padding = counters.T
    assert busy.tolist() == products(device, inputs).tolist()
    assert (busy + padding <= sum(cycles)).all()
    assert (blocked <= sum(cycles)).all()
    assert not any(cycles[len(device.plan.lines) :])


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(stall=[0.0, 0.5])
async def keeps_vectors_for_tiles(dut: Any, stall: float) -> None:
    """Where most layers are in tiles: the first, the middle and the last one too, odd and even."""
    device = Device(Unit(dut, "accelerator_flat"), stall)
    device.o = Stream(device.unit, "o", stall=0.95 if stall else 0.0)
    await device.start()
    net = network("tiles", device.c)
    for count in 1, 2, 5:
        await device.load(net)
        assert all(layer.tiles > 1 for layer in device.plan.layers)
        await device.run(vectors(net, count))


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(name=NAMES)
async def survives_slow_sink(dut: Any, name: str) -> None:
    """Results wait while the next vectors are run as far as there is room."""
    device = Device(Unit(dut, name), 0.0)
    device.o = Stream(device.unit, "o", stall=0.95)
    net = network("random", device.c)
    await device.start()
    await device.load(net)
    await device.run(vectors(net, 6))


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(name=NAMES)
async def survives_slow_source(dut: Any, name: str) -> None:
    device = Device(Unit(dut, name), 0.0)
    device.i = Stream(device.unit, "i", stall=0.95)
    net = network("empty_columns", device.c)
    await device.start()
    await device.load(net)
    await device.run(vectors(net, 3))


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.5])
async def runs_networks_in_turn(dut: Any, name: str, stall: float) -> None:
    """Networks of different shapes after each other, one twice, and a report after each."""
    device = Device(Unit(dut, name), stall)
    await device.start()
    nets = [network(kind, device.c) for kind in ("random", "tiles", "empty_elements")]
    for net in (*nets, nets[0], nets[0]):
        await device.load(net)
        await device.run(vectors(net, 3))
        cycles, _ = await device.report()
        assert all(cycles[: len(device.plan.lines)])
        again, counters = await device.report()
        assert not any(again)
        assert not counters.any()


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(name=NAMES)
async def reset_in_the_middle(dut: Any, name: str) -> None:
    """Whatever was going on, after a reset, loading and running work as if nothing had been."""
    device = Device(Unit(dut, name), 0.0)
    await device.start()
    for kind in ("dense", "random", "tiles", "empty_columns"):
        net = network(kind, device.c)
        inputs = vectors(net, 4)
        await device.load(net)
        sending = device.feed(inputs)
        await device.unit.cycles(random.randint(5, 80))
        sending.cancel()
        device.i.valid.value = 0
        device.load_.valid.value = 0
        await device.unit.reset()
        await device.unit.cycle()
        assert not device.o.valid.value
        # In the middle of a packet, too.
        loading = cocotb.start_soon(device.load(net))
        await device.unit.cycles(device.c.row_depth * device.c.groups * 2 + random.randint(30, 90))
        loading.cancel()
        device.load_.valid.value = 0
        await device.unit.reset()
        await device.unit.cycle()
        await device.load(net)
        await device.run(inputs)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def clears_after_reset(dut: Any, name: str) -> None:
    """The first packet begins once the banks are cleared, in the time that is promised."""
    device = Device(Unit(dut, name), 0.0)
    c = device.c
    await device.start()
    device.ask()
    promised = c.layer_depth + 2 * c.row_depth * c.groups
    cycles = 0
    while not device.load_.ready.value:
        await device.unit.cycle()
        cycles += 1
    assert promised <= cycles < promised + 40


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def packet_waits_for_vector(dut: Any, name: str) -> None:
    """A vector of which a part has come is done before a packet begins."""
    device = Device(Unit(dut, name), 0.0)
    net = network("empty_columns", device.c)
    inputs = vectors(net, 5)[-1:]
    await device.start()
    await device.load(net)
    layout = device.unit.component.i.payload.shape()
    first, *rest = [pack(layout, block) for block in device.plan.pack(inputs)[0].tolist()]
    await device.i.put(first)
    asking = device.ask()
    await device.unit.cycles(50)
    assert not asking.done()
    sending = cocotb.start_soon(device.i.put_all(rest))
    await device.unit.cycles(2)
    device.check(inputs, await device.receive(1))
    await asking
    await sending
