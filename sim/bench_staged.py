"""Bench of :class:`hdl.accelerator.Accelerator` with feature maps. Runs inside the simulator; see
:mod:`sim.runner`."""

import random
from typing import Any

import cocotb
import numpy as np
import torch

from golden.errors import FitError
from golden.image import Network
from golden.network import run
from hdl.maps.conductor import Work
from hdl.sparse.element import COUNTERS
from mapping import plan
from sim.bench_accelerator import Device
from sim.graphs import convolutions, fitting
from sim.networks import network, vectors
from sim.streams import Stream, Unit, pack
from sim.units import BENCHES

NAMES = list(BENCHES["staged"])


class Staged(Device):
    """A device whose networks can go stage by stage."""

    def check(self, inputs: np.ndarray, outputs: np.ndarray) -> None:
        if not self.plan.stages:
            super().check(inputs, outputs)
            return
        golden = [layer.numpy() for _, layer in run(self.plan.network, torch.from_numpy(inputs))]
        taps = np.array(self.taps).reshape(len(inputs), -1)
        place = 0
        for number, parts in self.plan.shown.items():
            for part in parts:
                found = taps[:, place + part.positions]
                name = self.plan.network.layers[number].name
                wrong = (found != golden[number][:, part.outputs]).any(axis=1)
                assert not wrong.any(), f"layer {name}, vectors {np.flatnonzero(wrong)}"
                place += part.blocks * self.c.scan_width
        assert place == taps.shape[1]
        assert np.array_equal(outputs, golden[-1])

    async def report_stages(self) -> tuple[list[int], list[int], np.ndarray]:
        """Cycles of the stages and of the layers, and counters ``(elements, 3)``."""
        asking = self.ask()
        c = self.c
        count = c.stage_depth + c.layer_depth + len(COUNTERS) * c.elements
        numbers = await self.counters.get_all(count)
        await asking
        stages, layers = numbers[: c.stage_depth], numbers[c.stage_depth :][: c.layer_depth]
        counters = np.array(numbers[c.stage_depth + c.layer_depth :])
        return stages, layers, counters.reshape(c.elements, -1)

    async def check_report(self) -> None:
        """Exactly what there is takes cycles, and a report clears them."""
        laid = self.plan
        stages, layers, _ = await self.report_stages()
        assert all(layers[: len(laid.lines)])
        assert not any(layers[len(laid.lines) :])
        assert all(stages[: len(laid.stages)])
        assert not any(stages[len(laid.stages) :])
        again, layers, counters = await self.report_stages()
        assert not any(again)
        assert not any(layers)
        assert not counters.any()


def graph(device: Staged) -> Network:
    """A random network that fits the device, through feature maps."""
    while True:
        found = fitting(device.c, random.Random(random.getrandbits(32)), side=4, layers=12)
        if found.stages:
            return found.network


def convolving(device: Staged) -> Network:
    """One of which two layers are on the unit for convolutions."""
    while True:
        found = fitting(device.c, random.Random(random.getrandbits(32)), convolutions, side=5)
        if sum(one.work is Work.WINOGRAD for one in found.stages) > 1:
            return found.network


def chain(kind: str, device: Staged) -> Network:
    """A network of fully connected layers that fits the device."""
    while True:
        try:
            return plan(network(kind, device.c), device.c).network
        except FitError:
            pass


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.5])
async def matches_golden(dut: Any, name: str, stall: float) -> None:
    """All activations of all layers, of one network after another."""
    device = Staged(Unit(dut, name), stall)
    await device.start()
    for n in range(4):
        net = graph(device)
        loading = cocotb.start_soon(device.load(net))
        # Offered while loading goes on, inputs wait; but the network before would take them until
        # the device is idle.
        await device.unit.cycle()
        if n:
            await loading
        await device.run(vectors(net, 3))
        assert loading.done()
        await device.check_report()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.5])
async def convolves(dut: Any, name: str, stall: float) -> None:
    """All activations, with the unit for 3x3 convolutions."""
    device = Staged(Unit(dut, name), stall)
    await device.start()
    for _ in range(2):
        net = convolving(device)
        await device.load(net)
        await device.run(vectors(net, 2))
        await device.check_report()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, slow=["i", "o"])
async def survives_slow_stream(dut: Any, name: str, slow: str) -> None:
    """One side has something to give, or takes it, in a cycle of twenty."""
    device = Staged(Unit(dut, name), 0.0)
    setattr(device, slow, Stream(device.unit, slow, stall=0.95))
    await device.start()
    for _ in range(2):
        net = graph(device)
        await device.load(net)
        await device.run(vectors(net, 2))


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, stall=[0.0, 0.5])
async def runs_chains_too(dut: Any, name: str, stall: float) -> None:
    """Chains of fully connected layers go straight through, before and after others."""
    device = Staged(Unit(dut, name), stall)
    await device.start()
    nets = [chain("single", device), graph(device), chain("random", device), graph(device)]
    for net in (*nets, nets[0]):
        await device.load(net)
        await device.run(vectors(net, 5))
        await device.check_report()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reset_in_the_middle(dut: Any, name: str) -> None:
    """Whatever stage was under way, after a reset it is as if nothing had been."""
    device = Staged(Unit(dut, name), 0.0)
    await device.start()
    for make in graph, convolving, graph:
        net = make(device)
        inputs = vectors(net, 2)
        await device.load(net)
        sending = device.feed(inputs)
        await device.unit.cycles(random.randint(1, 900))
        sending.cancel()
        device.i.valid.value = 0
        device.load_.valid.value = 0
        await device.unit.reset()
        await device.unit.cycle()
        assert not device.o.valid.value
        await device.load(net)
        await device.run(inputs)


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reports_after_reset(dut: Any, name: str) -> None:
    """A report that is asked for at once comes when all that it tells of is cleared."""
    device = Staged(Unit(dut, name), 0.0)
    await device.start()
    stages, layers, counters = await device.report_stages()
    assert not any(stages)
    assert not any(layers)
    assert not counters.any()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, kind=["graph", "chain"])
async def report_between_tensors(dut: Any, name: str, kind: str) -> None:
    """A report waits for a tensor of which a part has come, and the next tensor for the report."""
    device = Staged(Unit(dut, name), 0.0)
    device.counters = Stream(device.unit, "counters", stall=0.8)
    await device.start()
    layout = device.unit.component.i.payload.shape()
    for _ in range(2):
        net = graph(device) if kind == "graph" else chain("random", device)
        await device.load(net)
        if device.plan.beats_in < 2:
            continue
        inputs = vectors(net, 3)
        blocks = device.plan.pack(inputs).reshape(-1, device.c.scan_width).tolist()
        first, *rest = [pack(layout, block) for block in blocks]
        await device.i.put(first)
        asking = cocotb.start_soon(device.report_stages())
        await device.unit.cycles(50)
        device.taps.clear()
        sending = cocotb.start_soon(device.i.put_all(rest))
        outputs = await device.receive(len(inputs))
        await sending
        await device.unit.cycle()
        stages, layers, _ = await asking
        if kind == "graph":
            device.check(inputs, outputs)
        else:
            golden = run(net, torch.from_numpy(inputs))[-1][1].numpy()
            assert np.array_equal(outputs, golden)
        # What has come before the report is not in the one after it.
        used = len(device.plan.stages)
        later, more, _ = await device.report_stages()
        assert all(stages[:used])
        assert all(later[:used])
        assert not any(stages[used:])
        assert all(layers[: len(device.plan.lines)])
        assert not any(later[used:])
        assert not any(more[len(device.plan.lines) :])
