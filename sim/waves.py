"""A save file for GTKWave: which signals of a trace to look at, and how."""

from collections.abc import Iterator
from pathlib import Path

from vcd.gtkw import GTKWSave

from hdl.configuration import Configuration

__all__ = ["ELEMENTS", "groups", "save"]

ELEMENTS = 4
"""Elements that are shown, the first ones."""

_ROOT = "TOP.harness.prunus"


def groups(configuration: Configuration) -> Iterator[tuple[str, list[tuple[str, int, str]]]]:
    """Name of each group, with name, width and format of its signals.

    Names begin inside the accelerator; formats are those of :class:`vcd.gtkw.GTKWSave`.
    """
    for name, signals in _groups(configuration):
        # What has no bits is not there.
        yield name, [signal for signal in signals if signal[1]]


def _groups(configuration: Configuration) -> Iterator[tuple[str, list[tuple[str, int, str]]]]:
    c = configuration
    activation, lanes = c.activation_width, range(c.scan_width)
    lane, row = (c.scan_width - 1).bit_length(), (c.row_depth - 1).bit_length()
    number, blocks = (c.layer_depth - 1).bit_length(), c.activation_depth // c.scan_width
    level = blocks.bit_length()

    def stream(name: str) -> list[tuple[str, int, str]]:
        return [(f"{name}__valid", 1, "bin"), (f"{name}__ready", 1, "bin")]

    yield "clock", [("clk", 1, "bin"), ("rst", 1, "bin")]
    yield "load", [*stream("load"), ("load__payload", 32, "hex")]
    yield (
        "i",
        [
            *stream("i"),
            *((f"inputs.i__payload.activations[{n}]", activation, "signed") for n in lanes),
        ],
    )
    results = [(f"outputs.o__payload.activations[{n}]", activation, "signed") for n in lanes]
    yield "o", [*stream("o"), *results, ("outputs.o__payload.last", 1, "bin")]
    yield "counters", [*stream("counters"), ("counters__payload", c.counter_width, "dec")]
    yield (
        "sequencer",
        [
            ("running", 1, "bin"),
            ("layer", number, "dec"),
            ("sequencer.start", 1, "bin"),
            ("sequencer.start_bank", 1, "bin"),
            ("sequencer.scanning", 1, "bin"),
            ("sequencer.done", 2, "bin"),
            ("sequencer.finish", 1, "bin"),
            ("sequencer.finish_bank", 1, "bin"),
            ("sequencer.reading", 1, "bin"),
            ("sequencer.draining", 1, "bin"),
            ("sequencer.elapsed", c.counter_width, "dec"),
            ("inputs.level", level, "dec"),
            ("between.level", level, "dec"),
            ("outputs.level", level, "dec"),
        ],
    )
    for way in range(c.ways):
        scan = f"engine.scan_{way}"
        yield (
            f"scan {way}",
            [
                (f"{scan}.busy", 1, "bin"),
                (f"{scan}.remaining", c.scan_width, "bin"),
                (f"{scan}.hold", 1, "bin"),
                (f"{scan}.valid", 1, "bin"),
                (f"{scan}.step.nonzero", 1, "bin"),
                (f"{scan}.step.activation", activation, "signed"),
                (f"{scan}.step.lane", lane, "dec"),
                (f"{scan}.step.done", 1, "bin"),
            ],
        )
    yield "drain", [("tap_valid", 1, "bin"), *((f"tap[{n}]", activation, "signed") for n in lanes)]
    for n in range(min(ELEMENTS, c.elements)):
        element = f"engine.element_{n}"
        start = (c.weight_depth - 1).bit_length()
        yield (
            f"element {n}: queue",
            [
                (f"{element}.queue.level", c.queue_depth.bit_length(), "dec"),
                (f"{element}.queue.hold", 1, "bin"),
                *stream(f"{element}.queue.o"),
                (f"{element}.queue.o__payload.activation", activation, "signed"),
                (f"{element}.queue.o__payload.start", start, "dec"),
                (f"{element}.queue.o__payload.count", c.count_width, "dec"),
            ],
        )
        yield (
            f"element {n}: fetch",
            [
                (f"{element}.fetch.go", 1, "bin"),
                (f"{element}.fetch.read__addr", max(1, start - 1), "dec"),
                *stream(f"{element}.fetch.o"),
                (f"{element}.fetch.o__payload.both", 1, "bin"),
                (f"{element}.fetch.o__payload.last", 1, "bin"),
            ],
        )
        yield (
            f"element {n}: decode",
            [
                (f"{element}.decode.works", 1, "bin"),
                (f"{element}.decode.valid", 1, "bin"),
                (f"{element}.decode.term.row", row, "dec"),
                (f"{element}.decode.term.code", c.code_width, "dec"),
                (f"{element}.decode.term.activation", activation, "signed"),
            ],
        )
        yield (
            f"element {n}: accumulate",
            [
                (f"{element}.decode.finished", 2, "bin"),
                (f"{element}.accumulate.multiplier.a_register", c.weight_width, "signed"),
                (f"{element}.accumulate.multiplier.product", c.weight_width + activation, "signed"),
                (f"{element}.accumulate.total", c.accumulator_width, "signed"),
                (f"{element}.accumulate.drained", c.accumulator_width, "signed"),
            ],
        )


def save(path: Path, trace: Path, configuration: Configuration, *, start: int) -> None:
    """Write a save file for ``trace`` to ``path``, which opens at the time ``start``, in ns."""
    with path.open("w", encoding="utf-8") as file:
        writer = GTKWSave(file)
        writer.dumpfile(str(trace))
        writer.timestart(start)
        writer.zoom_markers(-5)
        writer.size(1600, 1000)
        for name, signals in groups(configuration):
            with writer.group(name, closed=name.startswith("element")):
                for signal, width, datafmt in signals:
                    suffix = f"[{width - 1}:0]" if width > 1 else ""
                    writer.trace(f"{_ROOT}.{signal}{suffix}", datafmt=datafmt)
