"""The command ``prunus``: its verbs, and what becomes of an error."""

import contextlib
import difflib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from cli.failure import INTERRUPTED, Failure, as_failure, silence_stdout
from cli.interrupts import between_imports
from golden.errors import ToolError

__all__ = ["VERBS", "main", "prunus"]

# A verb is imported when it is used, so that the help of the others does not wait for it.
VERBS = {
    "doctor": "Say what is installed, and how to get what is not.",
    "demo": "Train, compress and simulate two small networks, all in one.",
    "compress": "Make a compressed network from a recipe.",
    "info": "Say what a compressed network consists of.",
    "explain": "Say how a compressed network lies on a device.",
    "golden": "Run a compressed network on the golden model.",
    "simulate": "Run a compressed network on the simulated hardware.",
    "compare": "Hold machines against each other, bit by bit.",
    "verilog": "Write a device as Verilog.",
}

_CODES = (
    ("0", "all is well"),
    ("1", "machines differ that must give the same bits"),
    ("2", "wrong usage, a wrong file, or one that cannot be read or written"),
    ("3", "a tool or package is missing, or failed"),
    ("4", "the network does not fit the device"),
    ("5", "the device does not answer"),
    ("130", "interrupted"),
)


class Prunus(click.Group):
    """All verbs, imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            near = difflib.get_close_matches(name, VERBS, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(VERBS)}."
            raise click.UsageError(f"No such verb '{name}'. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))
        with formatter.section("Exit codes"):
            formatter.write_dl(list(_CODES))

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parses what comes before the verb, such as ``--help``."""
        with _reported(args):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> None:
        """Runs the verb."""
        with _reported(ctx.args):
            super().invoke(ctx)
            sys.stdout.flush()


@contextlib.contextmanager
def _reported(arguments: list[str]) -> Iterator[None]:
    """Makes of whatever is raised a line on stderr and an exit code."""
    # Before a verb has begun, only its arguments tell what it would have been.
    as_json = "--json" in arguments
    try:
        yield
    except click.exceptions.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        silence_stdout()
        # Of what was left half done, such as hardware that is described but not used.
        warnings.simplefilter("ignore")
        raise as_failure(error, as_json=as_json) from error


def _show_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    from importlib import metadata

    if not value:
        return
    try:
        number = metadata.version("prunus")
    except metadata.PackageNotFoundError:
        raise ToolError(
            "prunus has no version as it is not installed; to install it: pip install -e ."
        ) from None
    click.echo(f"prunus {number}")
    ctx.exit()


@click.group(
    cls=Prunus,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="VERB ...",
    options_metavar="",
    epilog="'prunus VERB --help' says more, with examples. Begin with 'prunus demo'.",
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def prunus() -> None:
    """From a trained network to a sparse accelerator, with the same bits at every step.

    Results go to stdout, or with --json as one JSON document. Progress goes to stderr. If
    PRUNUS_DEBUG is set, an error comes with the place in the source where it was raised.
    """


def main() -> None:
    """Entry point of the command."""
    if sys.stdout is None:
        # Nobody reads: whoever called has closed it.
        sys.stdout = Path(os.devnull).open("w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name may have letters that the terminal does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    with between_imports():
        try:
            prunus(prog_name="prunus")
        except KeyboardInterrupt:
            # In the moments before a verb has begun.
            Failure("interrupted", INTERRUPTED).show()
            sys.exit(INTERRUPTED)
