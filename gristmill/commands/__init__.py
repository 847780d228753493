"""The commands of the CLI. Each module holds one or two `Command`s, registered as `gristmill.commands` entry points."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from gristmill.errors import ConfigError

INTERRUPTED = 130
"""The exit status of a command that was asked to stop."""

_NEEDED = {"blend": ("numpy", "rensa"), "sft": ("numpy", "tokenizers", "torch", "transformers")}

PLAIN_SECONDS = 10.0
"""How often long work says where it is, where there is no terminal to show it on all the time."""


class Command(NamedTuple):
    """`help` is its one line, `configure` adds its arguments, `run` does the work and returns the exit status.

    `example` is a command line that one may type, shown below the arguments.
    """

    help: str
    configure: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
    example: str = ""


def complete(parser: ArgumentParser, command: Command) -> None:
    """Gives an empty parser all that a command takes and shows."""
    command.configure(parser)
    if command.example:
        parser.add_argument_group("example", command.example)


def calm_threads() -> None:
    """To be called before numpy and torch are imported. Threads that wait spin for milliseconds by default, on a busy
    machine on the very core that the late one needs; those of numpy's OpenBLAS also where nothing is multiplied."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")  # 2^16 cycles


def check_extra(extra: str) -> None:
    """ConfigError where the packages of `extra` aren't there: better at once than after hours of another's work."""
    missing = [name for name in _NEEDED[extra] if find_spec(name) is None]
    if missing:
        raise ConfigError(f"this needs {', '.join(missing)}: pip install 'gristmill[{extra}]'.")


def run_command(name: str, *arguments: str | Path) -> int:
    """Runs the command `name` within this process, its arguments read as from the command line; its exit status."""
    from gristmill import registry

    command: Command = registry.load("commands", name)
    parser = ArgumentParser(prog=f"gristmill {name}")
    command.configure(parser)
    return command.run(parser.parse_args([*map(str, arguments)]))


def port(text: str) -> int:
    """What `--port` is given."""
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"{text!r} is no port; a number from 0 to 65535 is expected")
    return int(text)


def add_config(parser: ArgumentParser, help: str, *, optional: bool = False) -> None:
    """The arguments of every command that reads a config."""
    parser.add_argument("config", type=Path, nargs="?" if optional else None, help=help)
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="a.b=v", help="keys of the config with another value"
    )
