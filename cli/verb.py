"""What all verbs have in common: their help, ``--json``, and the arguments they share."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cli.output import Output

__all__ = ["DEVICE", "FILE", "IMAGE", "Real", "verb"]

FILE = click.Path(path_type=Path)

IMAGE = click.argument("image", type=FILE)
DEVICE = click.option(
    "--device",
    metavar="NAME|FILE",
    default="pe16",
    show_default=True,
    help="Device: a preset (pe1, pe4, pe16, pe32, pe64) or a TOML file.",
)

Function = Callable[..., None]


class Real(click.FloatRange):
    """A real number in a range, which NaN is not: :class:`click.FloatRange` takes it for one."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


class Verb(click.Command):
    """A command whose help ends with examples and exit codes."""

    def __init__(
        self, *args: Any, examples: Sequence[str], codes: Mapping[int, str], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.examples = examples
        self.codes = codes

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"  {example}\n")
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in self.codes.items()])


def verb(*, examples: Sequence[str], codes: Mapping[int, str]) -> Callable[[Function], Verb]:
    """Make a function a verb. Its first argument is the :class:`Output`.

    Parameters
    ----------
    examples : sequence of str
        Commands worth trying.
    codes : mapping of int to str
        Exit codes beside 0, 2 and 130, which every verb has, and what they mean here.
    """
    everywhere = {0: "all is well", 2: "wrong usage, or a wrong file", 130: "interrupted"}

    def decorate(function: Function) -> Verb:
        def call(as_json: bool, **values: Any) -> None:
            function(Output(as_json), **values)

        json = click.Option(
            ["--json", "as_json"], is_flag=True, help="Write one JSON document to stdout."
        )
        # Decorators are applied from the last to the first.
        parameters = [*reversed(getattr(function, "__click_params__", [])), json]
        return Verb(
            function.__module__.rpartition(".")[2],
            params=parameters,
            callback=call,
            help=inspect.cleandoc(function.__doc__ or ""),
            examples=examples,
            codes=dict(sorted({**everywhere, **codes}.items())),
        )

    return decorate
