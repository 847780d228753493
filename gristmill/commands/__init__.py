"""The commands of the CLI. Each module holds one or two `Command`s, registered as `gristmill.commands` entry points."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

INTERRUPTED = 130
"""The exit status of a command that was asked to stop."""

PLAIN_SECONDS = 10.0
"""How often long work says where it is, where there is no terminal to show it on all the time."""


class Command(NamedTuple):
    """`help` is its one line, `configure` adds its arguments, `run` does the work and returns the exit status."""

    help: str
    configure: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def add_config(parser: ArgumentParser, help: str) -> None:
    """The arguments of every command that reads a config."""
    parser.add_argument("config", type=Path, help=help)
    parser.add_argument("overrides", nargs="*", metavar="a.b=v", help="keys of the config with another value")
