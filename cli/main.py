"""The command ``prunus``: its verbs, and what becomes of an error."""

import difflib
import io
import os
import sys
from importlib import import_module
from pathlib import Path

import click

from cli.failure import Failure, as_failure, silence_stdout

__all__ = ["VERBS", "main", "prunus"]

# A verb is imported when it is used, so that the help of the others does not wait for it.
VERBS = {
    "doctor": "Say what is installed, and how to get what is not.",
    "demo": "Train, compress and simulate a small network, all in one.",
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

    def invoke(self, ctx: click.Context) -> None:
        """Runs the verb. Whatever it raises becomes a line on stderr and an exit code."""
        # Before a verb has begun, only its arguments tell what it would have been.
        as_json = "--json" in ctx.args
        if sys.stdout is None:
            # Nobody reads: whoever called has closed it.
            sys.stdout = Path(os.devnull).open("w")
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except click.exceptions.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            silence_stdout()
            raise as_failure(error, as_json=as_json) from error


@click.group(
    cls=Prunus,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="VERB ...",
    options_metavar="",
    epilog="'prunus VERB --help' says more, with examples. Begin with 'prunus demo'.",
)
@click.version_option(None, "-V", "--version", package_name="prunus", message="prunus %(version)s")
def prunus() -> None:
    """From a trained network to a sparse accelerator, with the same bits at every step.

    Results go to stdout, or with --json as one JSON document. Progress goes to stderr. If
    PRUNUS_DEBUG is set, an error comes with the place in the source where it was raised.
    """


def main() -> None:
    """Entry point of the command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name may have letters that the terminal does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        prunus(prog_name="prunus")
    except KeyboardInterrupt:
        # In the moments before a verb has begun.
        Failure("interrupted", 130).show()
        sys.exit(130)
