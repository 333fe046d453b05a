"""The command line: one verb a file, found by name, so that `segkit --help` waits for nothing that it does not need."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

from segkit import __version__
from segkit.errors import SegkitError

VERBS = {
    "demo": "Segment a photograph that comes with scikit-image, to see that all works.",
    "check": "Find what is wrong with pictures and masks before training.",
    "finetune": "Turn a folder of pictures and masks into a model, with settings derived from them.",
    "report": "Write the page about a run: scores, cases, and where the model fails.",
    "train": "Train a network on pictures and masks.",
    "predict": "Segment a picture, a volume, or a folder of them.",
    "merge": "Put the parts of a divided run together.",
    "evaluate": "Score masks against the truth.",
    "models": "List the parts that a network can be made of, and what each costs.",
    "summary": "Show a network's layers, and the work and the memory that it takes.",
    "export": "Write a model as an ONNX file, with a script that predicts by it.",
    "compare": "Train with several settings, and see what each is worth on these data.",
}
"""Name -> its line in the help; the command lies in the module of that name."""


class Verbs(click.Group):
    """A group that imports a verb only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command = getattr(importlib.import_module(f"segkit.cli.{name}"), name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="segkit")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
def cli(debug: bool) -> None:
    """Segmentation of medical pictures in 2D: train, predict, evaluate.

    Exit codes: 0 done, 1 failed, 2 usage or settings, 3 done but some files failed, 130 and 143 on signals.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. An error of segkit is one line on stderr, without a traceback unless --debug."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments[:1]
    try:
        result: Any = cli.main(arguments, prog_name="segkit", standalone_mode=False, obj=tuple(arguments))
    except click.exceptions.Abort:
        print("segkit: interrupted", file=sys.stderr)
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except SegkitError as error:
        if debug:
            raise
        print(f"segkit: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("segkit: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away (head, less)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


def console() -> None:
    """Entry point of the installed command; SIGTERM unwinds as Ctrl-C does, so that tables are complete and no half-written file stays."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main())


def _terminate(number: int, frame: object) -> None:
    sys.exit(128 + number)
