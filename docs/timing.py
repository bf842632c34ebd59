"""Timing diagrams, drawn from a simulation of the accelerator: ``python -m docs.timing``.

The network, the device and the input are those of :mod:`docs.tiny`. What the pictures show are
signals of the units, cycle by cycle.
"""

from collections import defaultdict
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from xml.sax.saxutils import escape

from amaranth.sim import Simulator

from docs.tiny import DEVICE, INPUT, network
from hdl.accelerator import Accelerator
from hdl.sparse.accumulate import Accumulate
from hdl.sparse.run import Origin
from mapping import Plan, plan

__all__ = ["draw"]

PICTURES = Path(__file__).parent / "pictures"

_ELEMENT = {"counts": {}, "fetch": {}, "decode": {}, "accumulate": {"bank_0": {}, "bank_1": {}}}
_SEQUENCER = ("start", "start_bank", "start_origin", "finish", "finish_bank")
_UNITS = {
    "sequencer": {},
    "engine": {"scan_0": {}, "element_0": _ELEMENT, "element_1": _ELEMENT},
}


def draw(folder: Path) -> None:
    """Write ``timing.svg`` and ``layers.svg`` to ``folder``."""
    laid = plan(network(), DEVICE)
    for name, picture, vectors in ("timing", _pipeline, 1), ("layers", _layers, 2):
        text = picture(laid, _simulate(laid, vectors))
        (folder / f"{name}.svg").write_text(text, encoding="utf-8")


def _reveal(component, units):
    """Let ``component.units`` be the ``units`` inside it, as soon as it is elaborated."""
    elaborate = component.elaborate

    def wrapped(platform):
        m = elaborate(platform)
        found = {name: getattr(m.submodules, name) for name in units}
        for name, below in units.items():
            if below:
                _reveal(found[name], below)
        component.units = SimpleNamespace(**found)
        return m

    component.elaborate = wrapped


def _simulate(laid: Plan, vectors: int) -> list[SimpleNamespace]:
    """What the signals are in each cycle, from the first block of input to the last of output."""
    top = Accelerator(DEVICE)
    _reveal(top, _UNITS)
    sim = Simulator(top)
    sim.add_clock(1e-8)
    signals = _signals(top)
    blocks = laid.pack(INPUT[None])[0].tolist()
    cycles = []

    async def put(ctx, stream, payloads):
        for payload in payloads:
            ctx.set(stream.payload, payload)
            ctx.set(stream.valid, 1)
            await ctx.tick().until(stream.ready)
        ctx.set(stream.valid, 0)

    async def host(ctx):
        await put(ctx, top.load, laid.load.tolist())
        await put(ctx, top.i, blocks * vectors)

    async def watch(ctx):
        ctx.set(top.o.ready, 1)
        answers = 0
        async for _, _, *values in ctx.tick().sample(*signals.values()):
            now = SimpleNamespace(**dict(zip(signals, values, strict=True)))
            if cycles or now.i_taken:
                cycles.append(now)
            answers += now.o_valid and now.o_last
            if answers == vectors:
                return

    sim.add_testbench(host, background=True)
    sim.add_testbench(watch)
    sim.run()
    return cycles


def _signals(top):
    """Signals to watch, by name."""
    engine = top.units.engine.units
    signals = {
        "i_taken": top.i.valid & top.i.ready,
        "o_valid": top.o.valid,
        "o_last": top.o.p.last,
        "tap_valid": top.tap_valid,
        "running": top.running,
        **{name: getattr(top.units.sequencer, name) for name in _SEQUENCER},
        "step": engine.scan_0.step,
        "step_valid": engine.scan_0.valid,
    }
    for n in range(2):
        element = getattr(engine, f"element_{n}").units
        banks = element.accumulate.units
        signals |= {
            f"segment_{n}": element.counts.segment,
            f"segment_valid_{n}": element.counts.segment_valid,
            f"word_{n}": element.fetch.o.payload,
            f"word_taken_{n}": element.fetch.o.valid & element.fetch.o.ready,
            f"term_{n}": element.decode.term,
            f"term_valid_{n}": element.decode.valid,
        }
        for row in range(DEVICE.row_depth):
            for bank in range(2):
                memory = getattr(banks, f"bank_{bank}")
                signals[f"sum_{n}_{bank}_{row}"] = memory.data[row]
    return signals


class _Picture:
    """An SVG of boxes and text, whose colours are seen on white and on black."""

    GREY = "#768390"
    COLOURS = ("#2f81c7", "#c9702c", "#3f9a56", "#a45fc0")

    def __init__(self, width: int, height: int) -> None:
        size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        font = 'font-family="monospace" font-size="10"'
        self.lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>']

    def text(self, x, y, text, *, anchor="start"):
        self.lines.append(
            f'<text x="{x:g}" y="{y:g}" fill="{self.GREY}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def box(self, x, y, width, height, colour, *, text=""):
        self.lines.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" '
            f'fill="{colour}" fill-opacity="0.25" stroke="{colour}"/>'
        )
        if text:
            self.text(x + width / 2, y + height / 2 + 4, text, anchor="middle")

    def line(self, x1, y1, x2, y2):
        self.lines.append(
            f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" stroke="{self.GREY}" stroke-opacity="0.3"/>'
        )

    def __str__(self):
        return "\n".join([*self.lines, "</svg>", ""])


def _pipeline(laid: Plan, cycles: list[SimpleNamespace]) -> str:
    """The first layer, unit by unit, until its last sum is written."""
    first = next(n for n, now in enumerate(cycles) if now.running)
    end = next(n for n, now in enumerate(cycles) if now.finish)
    shown = cycles[first : end + 4]
    codebook = laid.layers[0].layer.codebook
    colours = dict(zip(INPUT[INPUT != 0].tolist(), _Picture.COLOURS, strict=True))

    rows = [
        "step",
        *(f"{name}_{n}" for n in range(2) for name in ("segment", "word", "term", "sum")),
    ]
    left, pitch, top, height = 78, 46, 24, 22
    place = {row: top + 26 * n + 10 * (n > 0) + 10 * (n > 4) for n, row in enumerate(rows)}
    bottom = max(place.values()) + height + 2
    picture = _Picture(left + pitch * len(shown) + 2, bottom)
    for row, y in place.items():
        picture.text(4, y + 15, row if row == "step" else f"{row[-1]}: {row[:-2]}")
    for n in range(len(shown)):
        x = left + pitch * n
        picture.line(x, top - 6, x, bottom)
        picture.text(x + pitch / 2, 12, str(n), anchor="middle")

    def cell(n, row, text, activation):
        colour = colours.get(activation, _Picture.GREY)
        text = text.replace("-", "\u2212")
        picture.box(left + pitch * n + 1, place[row], pitch - 2, height, colour, text=text)

    column = 0
    for n, now in enumerate(shown):
        if now.step_valid:
            step = now.step
            activation = shown[n + 1].step.activation if step.nonzero else None
            name = f"x{column + step.lane}={activation}" if step.nonzero else "zeros"
            cell(n, "step", name, activation)
            column += step.done * DEVICE.scan_width
        for e in range(2):
            segment, word, term = (getattr(now, f"{x}_{e}") for x in ("segment", "word", "term"))
            if getattr(now, f"segment_valid_{e}"):
                cell(n, f"segment_{e}", f"{segment.count} at {segment.start}", segment.activation)
            if getattr(now, f"word_taken_{e}"):
                halves = [
                    f"{'esc' if entry.escape else '+'}{entry.skips + (not entry.escape)}"
                    for entry in [*word.entries][: 1 + word.both]
                ]
                cell(n, f"word_{e}", " ".join(halves), word.activation)
            if getattr(now, f"term_valid_{e}"):
                product = f"{codebook[term.code]}\u00b7{term.activation}"
                cell(n, f"term_{e}", f"{term.row}:{product}", term.activation)
            for row, total in _written(shown, n, e):
                term = getattr(shown[n - Accumulate.LATENCY], f"term_{e}")
                assert term.row == row
                cell(n, f"sum_{e}", f"{row}:{total}", term.activation)
    cell(end - first, "step", "finish", None)
    return str(picture)


def _written(cycles, n, element):
    """Rows of an element whose sums are new in cycle ``n``, and the sums."""
    if n == 0:
        return
    for row in range(DEVICE.row_depth):
        for bank in range(2):
            name = f"sum_{element}_{bank}_{row}"
            before, now = getattr(cycles[n - 1], name), getattr(cycles[n], name)
            if before != now:
                yield row, now


def _layers(laid: Plan, cycles: list[SimpleNamespace]) -> str:
    """All layers of two vectors, which go through them together."""
    left, pitch, top, height = 78, 8, 24, 18
    rows = ["bank 0", "bank 1", "input", "scan", "0: term", "1: term", "drain", "output"]
    bottom = top + 22 * len(rows) + 2
    picture = _Picture(left + pitch * len(cycles) + 10, bottom)
    for n in range(0, len(cycles), 10):
        picture.line(left + pitch * n, top - 6, left + pitch * n, bottom)
        picture.text(left + pitch * n, 12, str(n), anchor="middle")
    doings = _doings(laid, cycles)
    for index, name in enumerate(rows):
        y = top + 22 * index
        picture.text(4, y + 13, name)
        for (layer, vector), begin, length in _stretches(doings[name]):
            text = f"{laid.layers[layer].name} {'AB'[vector]}" if "bank" in name else ""
            colour = _Picture.COLOURS[2 * layer + vector]
            picture.box(left + pitch * begin, y, pitch * length, height, colour, text=text)
    return str(picture)


def _doings(laid: Plan, cycles: list[SimpleNamespace]) -> dict[str, list]:
    """For each row of the picture, the layer and vector that it is busy with in each cycle."""
    doings = defaultdict(list)
    runs, newest, drained, taken, given = [None, None], None, None, 0, 0
    last = len(laid.layers) - 1
    for now in cycles:
        for bank in range(2):
            doings[f"bank {bank}"].append(runs[bank])
        doings["input"].append((0, taken // laid.beats_in) if now.i_taken else None)
        doings["scan"].append(runs[now.step.bank] if now.step_valid else None)
        for n in range(2):
            term, valid = getattr(now, f"term_{n}"), getattr(now, f"term_valid_{n}")
            doings[f"{n}: term"].append(runs[term.bank] if valid else None)
        doings["drain"].append(drained if now.tap_valid else None)
        doings["output"].append((last, given) if now.o_valid else None)
        taken, given = taken + now.i_taken, given + (now.o_valid and now.o_last)
        if now.finish:
            drained, runs[now.finish_bank] = runs[now.finish_bank], None
        if now.start:
            origin = Origin(now.start_origin)
            layer = 0 if newest is None else newest[0] + (origin is Origin.NEXT)
            newest = runs[now.start_bank] = layer, int(origin is Origin.SAME)
    return doings


def _stretches(values):
    """Runs of equal values that are not None: the value, where it begins, how long it is."""
    begin = 0
    for value, run in groupby(values):
        length = len(list(run))
        if value is not None:
            yield value, begin, length
        begin += length


if __name__ == "__main__":
    draw(PICTURES)
