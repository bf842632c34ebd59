"""Pictures of what a run measured: PNG and SVG, for light and dark pages alike.

Backgrounds are transparent and text is of a grey that white and black are equally far from. The
colours are those of M. Okabe and K. Ito, "Color universal design", 2008, which people with any
kind of colour vision can tell apart.
"""

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cli.compress import stage_rows
from golden.files import write_whole

__all__ = ["draw"]

_GREY = "#7b7b7b"
_BLUE = "#0072b2"
_SKY = "#56b4e9"
_ORANGE = "#e69f00"
_GREEN = "#009e73"
_STYLE: Any = {
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _GREY,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "legend.frameon": False,
    "legend.labelcolor": _GREY,
    # The same picture gives the same file.
    "svg.hashsalt": "prunus",
    "text.color": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
}


def draw(compression: dict[str, Any], simulation: dict[str, Any], folder: Path) -> list[Path]:
    """Draw all pictures.

    Parameters
    ----------
    compression : dict
        What :func:`cli.compress.stages_document` says.
    simulation : dict
        What :func:`cli.simulate.simulate` says.
    folder : Path
        Where the files are to be.

    Returns
    -------
    list of Path
        What was written: a PNG and an SVG of each picture.
    """
    contents: dict[Path, bytes | str] = {}
    with mpl.rc_context(_STYLE):
        for name, figure in (
            ("bytes", _bytes(compression)),
            ("accuracy", _accuracy(compression)),
            ("cycles", _cycles(simulation)),
            ("load", _load(simulation)),
        ):
            for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
                buffer = io.BytesIO()
                figure.savefig(buffer, format=suffix, dpi=200, transparent=True, metadata=metadata)
                contents[folder / f"{name}.{suffix}"] = buffer.getvalue()
    write_whole(contents)
    return list(contents)


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.6))
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _bytes(compression: dict[str, Any]) -> Figure:
    figure, axes = _figure(f"Size of {compression['recipe']} after each stage")
    rows = stage_rows(compression)
    names = [name for name, _ in rows]
    sizes = [measure["bytes"] / 1000 for _, measure in rows]
    bars = axes.barh(names, sizes, color=_BLUE)
    labels = [f"{measure['bytes']:,} B  ({measure['compression']:.1f}x)" for _, measure in rows]
    axes.bar_label(bars, labels, padding=4)
    axes.set_xlim(0, 1.25 * max(sizes))
    axes.invert_yaxis()
    axes.set_xlabel("size in kB")
    return figure


def _accuracy(compression: dict[str, Any]) -> Figure:
    figure, axes = _figure(f"Accuracy of {compression['recipe']} after each stage")
    rows = stage_rows(compression)
    values = [100 * measure["accuracy"] for _, measure in rows]
    axes.plot([name for name, _ in rows], values, "o-", color=_GREEN)
    for place, value in enumerate(values):
        # On the side that the line does not go to.
        around = values[max(0, place - 1) : place + 2]
        below = value < sum(around) / len(around)
        axes.annotate(
            f"{value:.1f}",
            (place, value),
            (0, -8 if below else 8),
            textcoords="offset points",
            ha="center",
            va="top" if below else "bottom",
        )
    # Not from zero, so a line and no bars.
    room = max(1.0, max(values) - min(values))
    axes.set_ylim(min(values) - room / 2, max(values) + room / 2)
    axes.margins(x=0.1)
    axes.set_ylabel("test accuracy in %")
    return figure


def _cycles(simulation: dict[str, Any]) -> Figure:
    device = simulation["device"]
    figure, axes = _figure(f"Cycles per vector on {device['elements']} processing elements")
    layers = simulation["layers"]
    # Room for the names of many layers.
    figure.set_figwidth(max(figure.get_figwidth(), 2 + 1.4 * len(layers)))
    kinds = (
        ("ideal", "ideal_cycles", _SKY),
        ("predicted", "predicted_cycles", _ORANGE),
        ("measured", "cycles", _BLUE),
    )
    width = 0.8 / len(kinds)
    for place, (label, key, colour) in enumerate(kinds):
        at = [index + (place - 1) * width for index in range(len(layers))]
        heights = [layer[key] for layer in layers]
        bars = axes.bar(at, heights, 0.9 * width, label=label, color=colour)
        axes.bar_label(bars, [f"{height:.0f}" for height in heights], padding=2)
    axes.set_xticks(range(len(layers)), [layer["name"] for layer in layers])
    axes.set_ylabel("cycles")
    axes.margins(y=0.12)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _load(simulation: dict[str, Any]) -> Figure:
    figure, axes = _figure("What the processing elements do, mean of all vectors")
    vectors = simulation["inputs"]["vectors"]
    counters = simulation["elements"]
    places = range(simulation["device"]["elements"])
    base = [0.0 for _ in places]
    for label, key, colour in (
        ("multiply", "busy", _BLUE),
        ("padding", "padding", _ORANGE),
        ("wait for work", "starved", "#b0b0b0"),
    ):
        heights = [float(count) / vectors for count in counters[key]]
        axes.bar(places, heights, 0.8, bottom=base, label=label, color=colour)
        base = [low + height for low, height in zip(base, heights, strict=True)]
    axes.set_xlabel("processing element")
    axes.set_ylabel("cycles per vector")
    if len(places) <= 32:
        axes.set_xticks(places)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
