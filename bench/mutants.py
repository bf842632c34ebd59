"""Small faults put into the hardware, and the share of them that its tests find.

    python -m bench.mutants [--unit fetch,decode] [--sample 40] [--seed 1] [--only fetch:12,...]
        [--list] [--json]

Each fault is one of :func:`bench.mutation.mutants_of`, in a file of the sparse engine,
``hdl/sparse``, or of what feature maps pass through, ``hdl/maps``. It is put into a copy of the
project, and the checks of that file are run there, the quickest first, until one of them fails:
benches on Icarus Verilog, proofs, and the model of cycles against the compiled RTL. A mutant is

``stillborn``
    if it cannot be elaborated, or the Verilog of none of its benches differs: there is nothing to
    find;
``killed``
    if a check fails;
``timed out``
    if a check takes far longer than without the fault. This is as good;
``survived``
    if no check fails. ``bench/mutants.toml`` explains those that are known.

The rate is that of the killed and timed out among all that are not stillborn. The run ends with
status 1 if it is below 95 % or a survivor is not explained. Benches draw their random numbers from
``--seed``, so a run can be repeated.
"""

import argparse
import compileall
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.mutation import Mutant, mutants_of
from golden.errors import PrunusError

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (Path("hdl/sparse"), Path("hdl/maps"))
EXPLANATIONS = Path(__file__).with_suffix(".toml")
REQUIRED = 0.95

# What to run for a file: names of benches, of which a colon names a single unit, and tests.
_ELEMENT = ("element:element_split", "element")
_WHOLE = (
    "accelerator:accelerator_split",
    # Has the cycles of a layer in figures.
    "tests/docs/test_pages.py::test_cycles_of_a_layer",
    "accelerator",
    "tests/mapping/test_cycles.py",
)
CHECKS = {
    "accumulate": ("accumulate", "tests/formal/test_accumulate.py", *_ELEMENT, *_WHOLE),
    "counts": ("counts", *_ELEMENT, *_WHOLE),
    "decode": ("decode", *_ELEMENT, "tests/formal/test_decode.py", *_WHOLE),
    "drain": ("drain:drain_split", "drain", *_WHOLE),
    "element": (*_ELEMENT, *_WHOLE),
    "engine": _WHOLE,
    "fetch": ("fetch", "tests/formal/test_fetch.py", *_ELEMENT, *_WHOLE),
    "queue": ("segment_queue", "tests/formal/test_queues.py", *_ELEMENT, *_WHOLE),
    "run": ("counts", "drain:drain_split", "drain", *_ELEMENT, *_WHOLE),
    "scan": ("scan", *_WHOLE),
    "conductor": ("staged:staged_chip", "staged"),
    "convolve": ("staged:staged_chip", "staged"),
    "feed": ("feed", "staged:staged_chip", "staged"),
    "fold": ("fold", "maps", "tests/formal/test_maps.py::test_fold_has_room"),
    "maps": ("staged:staged_chip", "staged"),
    "transpose": ("transpose", "staged:staged_chip", "staged"),
    "memory": ("memory", "external", "maps", "tests/formal/test_maps.py::test_external_has_room"),
    "walk": ("walk", "maps", "tests/formal/test_maps.py::test_walk_is_loops"),
}
OUTCOMES = ("stillborn", "killed", "timed out", "survived")

# Statuses of the process that runs a bench. Others are those of crashes.
_PASSED, _FAILED, _SAME, _STILLBORN = 0, 13, 14, 15
_DIFFERS = "differs"
# Seconds that a check may take, and how many times those that it takes without a fault.
_GRACE, _FACTOR = 20, 4


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    outcome: str
    """One of :data:`OUTCOMES`."""
    check: str
    """The one that found it, or that could not be started; empty if there is none."""
    seconds: float


@dataclass(frozen=True)
class _Original:
    """A check without a fault."""

    digest: str
    limit: float


class Sandbox:
    """A copy of the project in which faults can be put. A context manager.

    Parameters
    ----------
    seed : int
        Of the benches' random numbers.
    """

    def __init__(self, seed: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="prunus-mutants-")
        self.root = Path(self._folder.name)
        self._originals: dict[str, _Original] = {}
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(self.root),
            # Files that change within a second can have the same time stamp.
            "PYTHONDONTWRITEBYTECODE": "1",
            "PRUNUS_CACHE_DIR": str(self.root / "cache"),
            "COCOTB_MAX_FAILURES": "1",
            "COCOTB_RANDOM_SEED": str(seed),
            "OMP_NUM_THREADS": "1",
            "SIM": "icarus",
        }

    def __enter__(self) -> "Sandbox":
        try:
            skip = shutil.ignore_patterns("__pycache__")
            for name in ("bench", "cli", "docs", "golden", "hdl", "mapping", "sim", "tests"):
                shutil.copytree(ROOT / name, self.root / name, ignore=skip)
            shutil.copy(ROOT / "pyproject.toml", self.root)
            folders = "|".join(map(str, FOLDERS))
            compileall.compile_dir(self.root, rx=re.compile(folders), quiet=2)
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def judge(self, mutant: Mutant, checks: Sequence[str]) -> Verdict:
        """Run ``checks`` on a mutant until one fails.

        Raises
        ------
        PrunusError
            If a check fails without the fault.
        """
        begin = time.monotonic()

        def verdict(outcome: str, check: str = "") -> Verdict:
            return Verdict(mutant, outcome, check, time.monotonic() - begin)

        differs = False
        for check in checks:
            original = self._original(check)
            is_bench = not _is_test(check)
            # Where the hardware is the same there is nothing that a proof could find.
            if not is_bench and not differs:
                continue
            file = self.root / source_of(mutant.unit)
            text = file.read_text()
            file.write_text(mutant.source)
            try:
                status = self._run(check, original.digest, original.limit)
            finally:
                file.write_text(text)
            if status is None:
                return verdict("timed out", check)
            if status == _STILLBORN and not differs:
                return verdict("stillborn", check)
            if status not in (_PASSED, _SAME):
                return verdict("killed", check)
            differs = differs or (is_bench and status != _SAME)
        return verdict("survived" if differs else "stillborn")

    def _original(self, check: str) -> _Original:
        """A check without a fault, run when it is needed for the first time."""
        if check not in self._originals:
            begin = time.monotonic()
            if self._run(check, "", None) != _PASSED:
                output = (self.root / "log").read_text(errors="replace")
                raise PrunusError(f"{check} fails without a fault:\n{output[-3000:]}")
            digest = self.root / _DIFFERS
            self._originals[check] = _Original(
                digest.read_text() if digest.exists() else "",
                _GRACE + _FACTOR * (time.monotonic() - begin),
            )
        return self._originals[check]

    def _run(self, check: str, digest: str, limit: float | None) -> int | None:
        """Status of a check, or None if it takes more than ``limit`` seconds."""
        (self.root / _DIFFERS).unlink(missing_ok=True)
        run = self.root / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        if _is_test(check):
            options = ["-x", "-q", "-p", "no:cacheprovider", "--basetemp", str(run)]
            command = ["-m", "pytest", *options, check]
        else:
            script = "import sys; from bench.mutants import bench; sys.exit(bench(*sys.argv[1:]))"
            command = ["-c", script, check, digest]
        with (self.root / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.root,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                _end(process)
                for one in (self.root / "cache").glob("bench-*"):
                    shutil.rmtree(one) if one.is_dir() else one.unlink()


def _is_test(check: str) -> bool:
    return check.startswith("tests/")


def _end(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    for one in signal.SIGINT, signal.SIGKILL:
        try:
            os.killpg(process.pid, one)
            # Time to end what has a session of its own.
            process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


def bench(check: str, digest: str) -> int:
    """Run a bench in the sandbox that is the current directory.

    Returns a status; that for hardware which is the same if its Verilog has the ``digest``.
    """
    # They elaborate units, which is what a fault can make impossible.
    try:
        from sim.runner import run_bench, verilog
        from sim.units import BENCHES

        name, _, unit = check.partition(":")
        if unit:
            # cocotb names a test by the places of its texts.
            place = list(BENCHES[name]).index(unit)
            os.environ["COCOTB_TEST_FILTER"] = rf"/name={place}(/|$)"
            BENCHES[name] = {unit: BENCHES[name][unit]}
        text = verilog((name,))
    except Exception as error:
        print(repr(error))
        return _STILLBORN
    actual = hashlib.sha256(text.encode()).hexdigest()
    Path(_DIFFERS).write_text(actual)
    if actual == digest:
        return _SAME
    try:
        run_bench(name, "icarus", Path("run"))
    except AssertionError as error:
        print(error)
        return _FAILED
    return _PASSED


def source_of(unit: str) -> Path:
    """Where the file of a unit is in the project."""
    paths = (folder / f"{unit}.py" for folder in FOLDERS)
    return next(path for path in paths if (ROOT / path).exists())


def explanations(path: Path = EXPLANATIONS) -> dict[tuple[str, str, str, str], str]:
    """Why known survivors are harmless, by the keys of their mutants."""
    entries = tomllib.loads(path.read_text())["survivor"]
    return {
        (one["unit"], one["function"], one["before"], one["after"]): one["why"] for one in entries
    }


def all_mutants(units: Iterable[str]) -> list[Mutant]:
    return [
        mutant
        for unit in units
        for mutant in mutants_of(unit, (ROOT / source_of(unit)).read_text())
    ]


def document(
    verdicts: list[Verdict], why: dict[tuple[str, str, str, str], str], **about: Any
) -> dict[str, Any]:
    """All that was found, fit for JSON."""
    rows = {}
    for unit in [*dict.fromkeys(one.mutant.unit for one in verdicts), "all"]:
        chosen = [one for one in verdicts if unit in (one.mutant.unit, "all")]
        counts = Counter(one.outcome for one in chosen)
        explained = sum(one.outcome == "survived" and one.mutant.key in why for one in chosen)
        alive = len(chosen) - counts["stillborn"]
        rows[unit] = {
            "mutants": len(chosen),
            **{outcome: counts[outcome] for outcome in OUTCOMES},
            "explained": explained,
            "unexplained": counts["survived"] - explained,
            "rate": (alive - counts["survived"]) / alive if alive else None,
            "found_by": dict(
                Counter(one.check for one in chosen if one.outcome in ("killed", "timed out"))
            ),
        }
    survivors = [one.mutant for one in verdicts if one.outcome == "survived"]
    return {
        **about,
        "units": rows,
        "survivors": [
            {
                **dict(zip(("unit", "function", "before", "after"), one.key, strict=True)),
                "number": one.number,
                "kind": one.kind,
                "line": one.line,
                "why": why.get(one.key),
            }
            for one in survivors
        ],
        # An explanation that is wrong by now.
        "killed_though_explained": [
            str(one.mutant)
            for one in verdicts
            if one.outcome != "survived" and one.mutant.key in why
        ],
    }


def table(found: dict[str, Any]) -> str:
    """What was found, to read."""
    of = f"{found['sampled']} of {found['all']} mutants"
    lines = [
        f"{of}, seed {found['seed']}; {found['seconds']:.0f} s",
        "",
        "           |         |           |        |       |      survived       |",
        "file       | mutants | stillborn | killed | timed | explained | not so  |   rate",
        "           |         |           |        |   out |           |         |",
    ]
    for unit, row in found["units"].items():
        rate = "-" if row["rate"] is None else f"{100 * row['rate']:.1f} %"
        lines.append(
            f"{unit:10} |{row['mutants']:8} |{row['stillborn']:10} |{row['killed']:7} |"
            f"{row['timed out']:6} |{row['explained']:10} |{row['unexplained']:8} |{rate:>8}"
        )
    checks = found["units"]["all"]["found_by"]
    if checks:
        lines += ["", "found by " + ", ".join(f"{name} {n}" for name, n in checks.items())]
    for one in found["survivors"]:
        if one["why"] is None:
            lines += ["", f"not explained: {one['unit']}:{one['number']}, line {one['line']}"]
            lines += [f"{name} = {json.dumps(one[name])}" for name in _KEY]
    lines += [f"explained, but found: {text}" for text in found["killed_though_explained"]]
    return "\n".join(lines)


_KEY = ("unit", "function", "before", "after")


def judge_all(
    mutants: list[Mutant], *, seed: int, report: Callable[[Verdict], None]
) -> list[Verdict]:
    """Judge ``mutants`` one after the other."""
    verdicts = []
    with Sandbox(seed) as sandbox:
        for mutant in mutants:
            verdict = sandbox.judge(mutant, CHECKS[mutant.unit])
            verdicts.append(verdict)
            report(verdict)
    return verdicts


def choose(
    mutants: list[Mutant], *, only: str | None, sample: int | None, seed: int
) -> list[Mutant]:
    """Those named in ``only``, or ``sample`` of them at random, in their order."""
    if only is not None:
        names = only.split(",")
        by_name = {f"{one.unit}:{one.number}": one for one in mutants}
        if unknown := [name for name in names if name not in by_name]:
            raise ValueError(f"--only must be of those that --list shows, not {unknown[0]!r}")
        return [by_name[name] for name in names]
    if sample is None or sample >= len(mutants):
        return mutants
    chosen = random.Random(seed).sample(range(len(mutants)), sample)
    return [mutants[index] for index in sorted(chosen)]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.mutants", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--unit", default=",".join(CHECKS), help="files, with commas (default: all)"
    )
    parser.add_argument("--sample", type=int, help="judge so many, chosen at random (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="judge these, as fetch:12,fetch:13")
    parser.add_argument("--list", action="store_true", help="print mutants and judge none")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    units = options.unit.split(",")
    if unknown := [unit for unit in units if unit not in CHECKS]:
        parser.error(f"--unit must be of {', '.join(CHECKS)}, not {unknown[0]}")
    mutants = all_mutants(units)
    try:
        chosen = choose(mutants, only=options.only, sample=options.sample, seed=options.seed)
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        print("\n".join(map(str, chosen)))
        return

    # A process in the background would ignore the one, and leave things behind with the other.
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, signal.default_int_handler)
    why = explanations()
    begin = time.monotonic()
    done = 0

    def report(verdict: Verdict) -> None:
        nonlocal done
        done += 1
        found = f"{verdict.outcome} {verdict.check}".strip()
        line = f"{done}/{len(chosen)} {found}, {verdict.seconds:.1f} s: {verdict.mutant}"
        print(line, file=sys.stderr, flush=True)

    try:
        verdicts = judge_all(chosen, seed=options.seed, report=report)
    except PrunusError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    about = {"all": len(mutants), "sampled": len(chosen), "seed": options.seed}
    found = document(verdicts, why, **about, seconds=time.monotonic() - begin)
    print(json.dumps(found, indent=2) if options.json else table(found))
    total = found["units"]["all"]
    if total["unexplained"] or (total["rate"] is not None and total["rate"] < REQUIRED):
        sys.exit(1)


if __name__ == "__main__":
    main()
