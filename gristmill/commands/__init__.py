"""The commands of the CLI. Each module holds one or two `Command`s, registered as `gristmill.commands` entry points."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import NamedTuple


class Command(NamedTuple):
    """`help` is its one line, `configure` adds its arguments, `run` does the work and returns the exit status."""

    help: str
    configure: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
