"""Where the results of a verb go, and what it has to say on the way."""

import contextlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golden.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Output", "check_apart", "check_target", "percent", "to_json"]

Cell = str | int | float | None
# Columns of the widest table.
_WIDEST = 1000
# A number and its unit.
_NUMBER = re.compile(r"-?[\d,.]+ ?\S{0,3}")


class Output:
    """Results on stdout, as tables or one JSON document; messages and progress on stderr.

    Parameters
    ----------
    as_json : bool
        Whether stdout has one JSON document and nothing else.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    @cached_property
    def _stdout(self) -> "Console":
        from rich.console import Console

        return Console(file=sys.stdout, width=_WIDEST)

    @cached_property
    def _stderr(self) -> "Console":
        from rich.console import Console

        return Console(file=sys.stderr)

    def emit(self, document: dict[str, Any]) -> bool:
        """Write the document if there is to be one. Whether it was."""
        if self.as_json:
            print(to_json(document))
        return self.as_json

    def say(self, *lines: str) -> None:
        """Lines of the result, for people."""
        for line in lines:
            print(line)

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Cell]],
        total: Sequence[Cell] | None = None,
    ) -> None:
        """A table of the result, for people. What is a number in it is aligned to the right.

        It is as wide as it needs to be: what is wrapped cannot be copied.
        """
        from rich import box
        from rich.table import Table
        from rich.text import Text

        body = [[*row] for row in rows]
        table = Table(
            title=Text(title, style="bold"),
            title_justify="left",
            box=box.SIMPLE,
            show_edge=False,
            pad_edge=False,
            show_footer=total is not None,
        )
        for index, column in enumerate(columns):
            cells = [_text(row[index]) for row in body if row[index] is not None]
            number = all(map(_NUMBER.fullmatch, cells))
            table.add_column(
                column.replace(" ", "\n") if number else column,
                footer=_text(total[index]) if total else "",
                justify="right" if number else "left",
            )
        for row in body:
            table.add_row(*(Text(_text(cell)) for cell in row))
        with self._stdout.capture() as capture:
            self._stdout.print(table)
        print("\n".join(line.rstrip() for line in capture.get().splitlines()), end="\n\n")

    def log(self, line: str) -> None:
        """A line about what is going on."""
        print(line, file=sys.stderr)

    @contextlib.contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal, or else nothing. Yields what is to be told how much is done."""
        if not self._stderr.is_terminal:
            yield lambda done: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress("{task.description}", *columns, console=self._stderr, transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.update(task, completed=done)

    @contextlib.contextmanager
    def waiting(self, label: str) -> Iterator[None]:
        """Tells that something takes its time, if it does."""
        if self._stderr.is_terminal:
            with self._stderr.status(label):
                yield
            return
        timer = threading.Timer(1.0, self.log, [label])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def percent(share: float) -> str:
    """A share from 0 to 1 for people.

    Examples
    --------
    >>> percent(0.97495)
    '97.5 %'
    """
    return f"{100 * share:.1f} %"


def check_target(path: Path, kind: str = "file") -> Path:
    """``path``, which can become a file as far as can be told before it is written.

    Raises
    ------
    DataError
        If its folder does not exist, or it is something else already.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; the {kind} needs a name in it")
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: must be a file")
    if not path.parent.is_dir():
        reason = "Not a directory" if path.parent.exists() else "No such file or directory"
        raise DataError(f"{path.parent}: {reason}, but the {kind} is to be in it")
    if not os.access(path.parent, os.W_OK):
        raise DataError(f"{path.parent}: permission denied to write the {kind}")
    return path


def check_apart(targets: Iterable[Path | None], sources: Iterable[Path | None] = ()) -> None:
    """Refuse to write the same file twice, or over one that is read.

    Raises
    ------
    DataError
        If two of ``targets``, or one of them and one of ``sources``, are the same.
    """
    seen = {os.path.realpath(path): "is an input as well" for path in sources if path is not None}
    for path in targets:
        if path is not None:
            real = os.path.realpath(path)
            if real in seen:
                raise DataError(f"{path}: cannot be written, it {seen[real]}")
            seen[real] = "is another output as well"


def _text(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case int():
            return f"{cell:,}"
        case float():
            return f"{cell:,.1f}"
    return cell


def to_json(document: dict[str, Any]) -> str:
    """``document`` as text. It may have arrays and numbers of numpy, and paths."""
    return json.dumps(document, indent=2, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} is not for JSON")
