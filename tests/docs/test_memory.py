"""``docs/memory.md`` is complete, and right about what happens when something is wrong."""

import dataclasses
import re
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from amaranth.hdl import ResetInserter, Signal
from amaranth.lib import data
from amaranth.sim import Simulator

from docs.beats import text
from docs.timing import PICTURES
from docs.tiny import DEVICE, INPUT, network
from golden.nets.random import random_network
from golden.network import run
from hdl.accelerator import Accelerator
from hdl.configuration import PRESETS
from hdl.loader import Space, spaces
from hdl.maps.conductor import Stage, Work
from hdl.maps.fold import Operation
from mapping import plan
from mapping.cycles import companions

WEIGHTS, COUNTS, CODEBOOK, BIASES, LAYERS, RUN, REPORT, STAGES = range(1, 9)


def take(number, width, signed=False):
    """The lowest bits of a number, and the rest."""
    value, rest = number & ((1 << width) - 1), number >> width
    return value - ((value >> (width - 1)) << width if signed else 0), rest


class Machine:
    """A device, written from the page alone. It knows the parameters and nothing else."""

    def __init__(self, parameters):
        self.__dict__.update(parameters)
        self.fields = {
            "blocks": self.ways * self.column_depth // self.scan_width,
            "delta_width": self.entry_width - 1,
            "codebook": self.codebook_depth - 1,
            "rows": self.row_depth,
            "split": 1,
            "shift": self.accumulator_width - 1,
        }
        self.widths = {
            WEIGHTS: 2 * self.entry_width,
            COUNTS: self.scan_width * self.count_width,
            CODEBOOK: self.weight_width,
            BIASES: self.scan_width * 32,
            LAYERS: sum(n.bit_length() for n in self.fields.values())
            + 2 * self.activation_width
            + 3,
        }
        self.items = {}

    def load(self, beats):
        beats = iter(beats)
        for header in beats:
            count, rest = take(header, 20)
            element, space = take(rest, 8)
            if space == RUN:
                continue
            parts = -(-self.widths[space] // 32)
            self.items[space, element] = [
                take(sum(next(beats) << (32 * part) for part in range(parts)), self.widths[space])[
                    0
                ]
                for _ in range(count)
            ]

    def parts(self, space, element, width, signed=False):
        """Numbers of ``width`` bits that the items of a memory consist of."""
        for item in self.items[space, element]:
            for _ in range(self.widths[space] // width):
                value, item = take(item, width, signed)
                yield value

    def program(self):
        for item in self.items[LAYERS, 0]:
            layer = {}
            for name, most in self.fields.items():
                layer[name], item = take(item, most.bit_length())
            for name in ("low", "high"):
                layer[name], item = take(item, self.activation_width, signed=True)
            for name, width in ("last", 1), ("keep", 1), ("companions", 2):
                layer[name], item = take(item, width)
            assert item == 0
            yield layer

    def run(self, vector):
        """Activations of each layer, by position."""
        entries = [self.parts(WEIGHTS, e, self.entry_width) for e in range(self.elements)]
        counts = [self.parts(COUNTS, e, self.count_width) for e in range(self.elements)]
        values = list(self.parts(CODEBOOK, 0, self.weight_width, signed=True))
        biases = self.parts(BIASES, 0, 32, signed=True)
        results, parts = [], []
        program = list(self.program())
        for number, layer in enumerate(program):
            assert len(vector) == layer["blocks"] * self.scan_width
            teams = self.ways if layer["split"] else 1
            members = self.elements // teams
            sums = [0] * (layer["rows"] * members)
            for element in range(self.elements):
                team, member = divmod(element, members)
                for position, activation in enumerate(vector):
                    if position // self.scan_width % teams != team:
                        continue
                    row = -1
                    for _ in range(next(counts[element])):
                        delta, code = take(next(entries[element]), layer["delta_width"])
                        if code == 0:
                            row += (delta + 1) << layer["delta_width"]
                            continue
                        row += delta + 1
                        weight = values[layer["codebook"] + code]
                        sums[row * members + member] += weight * activation
            parts += [self.activation(total + next(biases), layer) for total in sums]
            assert not (layer["companions"] and layer["keep"])
            assert program[0]["companions"] == layer["companions"]
            if not layer["keep"]:
                vector, parts = parts, []
                results.append(vector)
                assert layer["last"] == (number == len(program) - 1)
        return results

    @staticmethod
    def activation(total, layer):
        # Python's division of integers rounds down; the remainder decides.
        quotient, rest = divmod(total, 1 << layer["shift"])
        double = 2 * rest - (1 << layer["shift"])
        quotient += double > 0 or (double == 0 and quotient & 1)
        return min(max(quotient, layer["low"]), layer["high"])


def answers(network, inputs):
    return [outputs.tolist() for _, outputs in run(network, torch.from_numpy(inputs))]


CASES = {
    "tiny": (DEVICE, network()),
    "one element": (PRESETS["pe1"], random_network(np.random.default_rng(1), (20, 15, 5))),
    "many": (PRESETS["pe64"], random_network(np.random.default_rng(2), (70, 90, 130, 3))),
    # Most weights need an escape, the highest steps of one and more than one of them.
    "escapes": (
        dataclasses.replace(PRESETS["pe1"], entry_width=7, count_width=8),
        random_network(np.random.default_rng(3), (30, 300), density=0.01, code_width=6),
    ),
    "split": (
        dataclasses.replace(PRESETS["pe16"], ways=2),
        random_network(np.random.default_rng(5), (90, 60, 30, 3), density=0.05),
    ),
    # The first layer in two tiles, the second one split, the third in three tiles.
    "tiles": (
        dataclasses.replace(PRESETS["pe16"], elements=8, scan_width=2, row_depth=2),
        random_network(np.random.default_rng(0), (60, 30, 8, 40)),
    ),
    "8 bits": (
        dataclasses.replace(DEVICE, scan_width=1, weight_width=16, accumulator_width=36),
        random_network(np.random.default_rng(4), (9, 7, 5), code_width=2, activation_width=8),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_machine_of_the_page(case):
    device, network = CASES[case]
    rng = np.random.default_rng(0)
    high = 1 << (network.activation_width - 1)
    inputs = rng.integers(-high, high, (3, network.inputs))
    laid = plan(network, device)
    machine = Machine(dataclasses.asdict(device))
    machine.load(laid.load.tolist())
    expected = answers(network, inputs)
    for n, vector in enumerate(laid.pack(inputs)):
        results = machine.run(vector.ravel().tolist())
        for layer, found, right in zip(laid.layers, results, expected, strict=True):
            assert [found[p] for p in layer.outputs] == right[n]
            unused = set(range(len(found))) - set(layer.outputs.tolist())
            assert {found[p] for p in unused} <= {0}


def test_beats_on_the_page():
    assert text() in (PICTURES.parent / "memory.md").read_text()


LAID = plan(network(), DEVICE)
LOAD = LAID.load.tolist()
BLOCKS = LAID.pack(INPUT[None])[0].tolist()
ANSWER = answers(network(), INPUT[None])[-1][0]
REPORT_LENGTH = DEVICE.layer_depth + 3 * DEVICE.elements
# More cycles than anything takes that is not waiting for something.
LONG = 150


def header(space, count=0, element=0):
    return count | element << 20 | space << 28


class Host:
    """Whoever drives the device. What the device does not take within a long time is given up."""

    def __init__(self, ctx, top, reset):
        self.ctx, self.top, self.reset_signal = ctx, top, reset

    async def put(self, stream, payloads):
        """How many payloads were taken."""
        for taken, payload in enumerate(payloads):
            if await self.cycles_to_put(stream, payload) is None:
                return taken
        return len(payloads)

    async def cycles_to_put(self, stream, payload):
        """Cycles that the payload had to wait, or None if it was not taken."""
        self.ctx.set(stream.payload, payload)
        self.ctx.set(stream.valid, 1)
        for waited in range(LONG):
            *_, ready = await self.ctx.tick().sample(stream.ready)
            if ready:
                self.ctx.set(stream.valid, 0)
                return waited
        self.ctx.set(stream.valid, 0)
        return None

    async def get(self, stream, count):
        """Up to ``count`` payloads."""
        self.ctx.set(stream.ready, 1)
        payloads = []
        for _ in range(LONG):
            if len(payloads) == count:
                break
            *_, valid, payload = await self.ctx.tick().sample(stream.valid, stream.payload)
            payloads += [payload] if valid else []
        self.ctx.set(stream.ready, 0)
        return payloads

    async def load(self, beats):
        return await self.put(self.top.load, beats)

    async def send(self, blocks=BLOCKS):
        return await self.put(self.top.i, blocks)

    async def answer(self):
        blocks = await self.get(self.top.o, LAID.beats_out)
        assert [block.last for block in blocks] == [0, 1][: len(blocks)]
        vector = list(chain.from_iterable(block.activations for block in blocks))
        return [vector[p] for p in LAID.layers[-1].outputs] if vector else None

    async def report(self):
        return await self.get(self.top.counters, REPORT_LENGTH)

    async def reset(self):
        self.ctx.set(self.reset_signal, 1)
        await self.ctx.tick()
        self.ctx.set(self.reset_signal, 0)


def simulate(scenario):
    top = Accelerator(DEVICE)
    reset = Signal()
    sim = Simulator(ResetInserter(reset)(top))
    sim.add_clock(1e-6)
    passed = []

    async def testbench(ctx):
        await scenario(Host(ctx, top, reset))
        passed.append(True)

    sim.add_testbench(testbench)
    sim.run()
    assert passed


def test_descriptor_of_the_example():
    page = Path("docs/memory.md").read_text()
    said = re.search(r"has (\d+) bits here: ([\d, ]+) and (\d)\. .*?`(\w+)_(\w{8})`", page, re.S)
    total, widths, last, high, low = said.groups()
    fields = Machine(dataclasses.asdict(DEVICE)).fields.values()
    fields = [*(most.bit_length() for most in fields), *[DEVICE.activation_width] * 2, 1, 1, 2]
    assert [*map(int, widths.split(",")), int(last)] == fields
    assert int(total) == sum(fields)
    at = LOAD.index(header(LAYERS, 2))
    assert LOAD[at + 1 : at + 3] == [int(low, 16), int(high, 16)]


def test_reset():
    async def scenario(host):
        cleared = DEVICE.layer_depth + 2 * (DEVICE.row_depth * DEVICE.groups + 10) + 1
        assert await host.cycles_to_put(host.top.load, LOAD[0]) == cleared
        assert await host.load(LOAD[1:-1]) == len(LOAD) - 2
        assert await host.send() == 0
        await host.load([header(RUN)])
        # In the midst of a vector, then in the midst of a packet.
        assert await host.send(BLOCKS[:3]) == 3
        await host.reset()
        assert await host.cycles_to_put(host.top.load, LOAD[0]) == cleared
        await host.load(LOAD[1:4])
        await host.reset()
        assert await host.load([header(RUN)]) == 1
        assert await host.send() == 4
        assert await host.answer() == ANSWER
        await host.load([header(REPORT)])
        assert (await host.report())[:2] == [22, 33]

    simulate(scenario)


_AT = LOAD.index(header(CODEBOOK, 8)) + 1
VALUES = LOAD[_AT : _AT + 8]
DROPPED = {
    "unknown space": [header(9, 3), 1, 2, 3, header(0, 1), 4, header(15)],
    "zeros": [0, 0, 0],
    "unknown element": [header(WEIGHTS, 2, 2), 0, 0, header(COUNTS, 1, 255), 0],
    "unknown element of what all have": [header(CODEBOOK, 1, 2), 0, header(LAYERS, 1, 2), 0, 0],
    "more than there is room for": [header(CODEBOOK, 12), *VALUES, 1, 2, 3, 4],
    "less than before": [header(CODEBOOK, 2), *VALUES[:2]],
    "run with a count": [header(RUN, 5, 3)],
}


@pytest.mark.parametrize("case", DROPPED)
def test_items_that_are_dropped(case):
    async def scenario(host):
        await host.load(LOAD)
        assert await host.load(DROPPED[case]) == len(DROPPED[case])
        if DROPPED[case][0] >> 28 != RUN:
            assert await host.send() == 0
            await host.load([header(RUN)])
        await host.send()
        assert await host.answer() == ANSWER

    simulate(scenario)


def test_count_that_is_too_high():
    async def scenario(host):
        await host.load(LOAD)
        await host.load([header(BIASES, 2), 5, 6])
        # Taken for an item.
        assert await host.load([header(RUN)]) == 1
        assert await host.send() == 0
        await host.reset()
        await host.load(LOAD)
        await host.send()
        assert await host.answer() == ANSWER

    simulate(scenario)


def test_header_waits():
    async def scenario(host):
        await host.load(LOAD)
        await host.send(BLOCKS[:2])
        assert await host.load([header(REPORT)]) == 0
        await host.send(BLOCKS[2:])
        assert await host.load([header(REPORT)]) == 0
        assert await host.answer() == ANSWER
        assert await host.load([header(REPORT)]) == 1
        # So does a vector, and another header, until the report was taken.
        assert await host.send() == 4
        assert await host.load([header(RUN)]) == 0
        assert await host.answer() is None
        assert len(await host.report()) == REPORT_LENGTH
        assert await host.answer() == ANSWER

    simulate(scenario)


def test_results_nobody_takes():
    async def scenario(host):
        await host.load(LOAD)
        # Results, vectors that are being computed, and what the queue has room for.
        results = DEVICE.activation_depth // LAID.layers[-1].positions
        waiting = DEVICE.activation_depth // len(INPUT)
        held = results + 1 + companions(LAID.layers, DEVICE) + waiting
        assert await host.send(BLOCKS * (held + 1)) == 4 * held
        for _ in range(held):
            assert await host.answer() == ANSWER
        assert await host.answer() is None

    simulate(scenario)


def test_report():
    async def scenario(host):
        await host.load(LOAD)
        for _ in range(2):
            await host.send()
            await host.answer()
        await host.load([header(REPORT, 7, 1)])
        # Two vectors of what docs/pictures/layers.svg shows: 22 and 33 cycles.
        expected = [2 * 22, 2 * 33, 24, 0, 0, 22, 0, 0]
        assert await host.report() == expected
        await host.load([header(REPORT)])
        assert await host.report() == [0] * REPORT_LENGTH

    simulate(scenario)


def test_tap():
    async def scenario(host):
        await host.load(LOAD)
        tapped = []

        async def watch():
            *_, valid, block = await host.ctx.tick().sample(host.top.tap_valid, host.top.tap)
            tapped.extend(block if valid else [])

        for block in BLOCKS:
            host.ctx.set(host.top.i.payload, block)
            host.ctx.set(host.top.i.valid, 1)
            await watch()
        host.ctx.set(host.top.i.valid, 0)
        for _ in range(LONG):
            await watch()
        expected = answers(network(), INPUT[None])
        at = 0
        for layer, right in zip(LAID.layers, expected, strict=True):
            found = tapped[at : at + layer.positions]
            assert [found[p] for p in layer.outputs] == right[0]
            at += layer.positions
        assert at == len(tapped)

    simulate(scenario)


def _table(text, names):
    """Names and bits of the fields of a table on the page, in their order."""
    rows = re.findall(r"^\| ([a-z][\w, ]*) \| ([^|]+) \|", text, re.M)
    return [
        (name, _bits(bits.replace("`", ""), names))
        for first, bits in rows
        for name in first.split(", ")
    ]


def _bits(said, names):
    """``6a`` is six times ``a``; as many bits as a number has are those of the number."""
    total = 0
    for term in re.sub("as many as|has|, signed|each", "", said).split("+"):
        times, name = re.fullmatch(r"\s*(\d*)(\w*)\s*", term).groups()
        total += int(times or 1) * (names[name] if name else 1)
    return total.bit_length() if "as many as" in said else total


@pytest.mark.parametrize("name", ["cnn16", "cnn64"])
def test_stages_on_the_page(name):
    """Fields and bits of a stage, in the order in which they are sent."""
    c = PRESETS[name]
    page = Path("docs/memory.md").read_text().partition("\n## Stages\n")[2]
    page, _, routes = page.partition("\nFor `cnn16`")[0].partition("\nA route is five levels")
    names = dataclasses.asdict(c) | {"a": (c.map_depth - 1).bit_length()}
    level, rest = (_table(routes, names)[k] for k in (slice(0, 4), slice(4, None)))
    assert [field for field, _ in level] == ["count", "row", "column", "address"]
    route = 5 * level + rest
    fields = _table(page, names)
    expected = []
    for field, bits in fields:
        if field in ("read", "write"):
            assert bits == sum(size for _, size in route)
            expected += [(f"{field}.{own}", size) for own, size in route]
        else:
            expected.append((field, bits))
    assert _flat(Stage(c)) == expected
    assert spaces(c)[Space(STAGES)] == (32, -(-Stage(c).size // 32) * c.stage_depth)
    assert [work.value for work in (Work.COPY, Work.SPARSE, Work.FOLD, Work.WINOGRAD)] == [
        0,
        1,
        2,
        3,
    ]
    operations = Operation.GREATEST, Operation.SUM, Operation.ADD
    assert [operation.value for operation in operations] == [0, 1, 2]


def _flat(layout, prefix=""):
    """Name and bits of each field, the lowest first."""
    found = []
    for key, field in layout:
        inner = field.shape
        own = key if isinstance(key, str) and key not in ("levels", "folding") else None
        name = ".".join(filter(None, [prefix, own]))
        if isinstance(inner, data.StructLayout | data.ArrayLayout):
            found += _flat(inner, name)
        else:
            found.append((name, field.width))
    return found
