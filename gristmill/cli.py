"""The command line: `gristmill COMMAND ...`. Commands are entry points; this starts them and ends them cleanly."""

import gc
import io
import os
import platform
import re
import sqlite3
import sys
from argparse import ArgumentParser, Namespace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from gristmill import registry
from gristmill.commands import INTERRUPTED, Command, calm_threads, complete
from gristmill.errors import ConfigError, GristmillError, did_you_mean
from gristmill.ledger_file import ledger_error
from gristmill.terminal import warn

_OURS = ("schemas", "judges", "generators", "blends", "sft")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; its exit status (see the README's table)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _ready_streams()
    calm_threads()
    gc.set_threshold(20_000, 20, 20)  # modules, rows, a run's state: a command keeps most of what it makes
    try:
        _check_packages()
        parser = _parser(arguments)
        parsed, rest = parser.parse_known_args(arguments)
        if parsed.version:
            print(_version())
            return 0
        if not hasattr(parsed, "command"):
            _take(rest, parsed, parser)
            parser.print_help()
            return 0
        _take(rest, parsed, parsed.parser)
        status: int = parsed.command.run(parsed)
        return status
    except GristmillError as error:
        return _say(str(error), error.exit_status)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from here.", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has gone
        return 0
    except sqlite3.OperationalError as error:
        sentence = ledger_error(error, Path("the run's ledger.sqlite"))
        return _say(str(sentence), sentence.exit_status)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("gristmill", *_OURS):
            raise
        return _say(registry.not_installed(error), ConfigError.exit_status)
    except OSError as error:
        if error.errno is None:  # not the system's: a library's own, or a fault of ours
            raise
        where = f": {error.filename}" if error.filename else ""
        return _say(
            f"{os.strerror(error.errno).lower()}{where}. Nothing that was paid for is lost; mend that and repeat.", 1
        )


def _ready_streams() -> None:
    """Streams that were closed lead nowhere, lest their numbers go to files that we open; and no locale is too small
    for what is printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is


class _Parser(ArgumentParser):
    """Its complaints are sentences like all others."""

    def error(self, message: str) -> NoReturn:
        sentence = message if message.endswith(("?", ".")) else f"{message}."
        raise ConfigError(f"{sentence} See `{self.prog} --help`.")


def _parser(arguments: list[str]) -> ArgumentParser:
    """With arguments for the one command that is named, so that no other command's module is imported."""
    parser = _Parser(prog="gristmill", description="From seeds to verified records, to blends, to a checkpoint.")
    parser.add_argument("--version", action="store_true", help="version, Python, and where they are installed")
    named = arguments[:1] if arguments and not arguments[0].startswith("-") else []
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name in named or registry.names("commands"):
        command: Command = registry.load("commands", name)
        sub = commands.add_parser(name, help=command.help, description=command.help)
        complete(sub, command)
        sub.set_defaults(command=command, parser=sub)
    return parser


def _take(rest: list[str], parsed: Namespace, parser: ArgumentParser) -> None:
    """What argparse left over: overrides, which it takes only before options, and people write anywhere."""
    takes_overrides = hasattr(parsed, "overrides")
    for argument in rest:
        if argument.startswith("-") or not takes_overrides:
            known = re.findall(r"--[a-z-]+", parser.format_help())
            parser.error(f"unknown argument {argument}." + did_you_mean(argument.partition("=")[0], known))
    if takes_overrides:
        parsed.overrides = [*parsed.overrides, *rest]


def _version() -> str:
    home = Path(__file__).resolve().parents[1]
    return f"gristmill {version('gristmill')} in {home}\nPython {platform.python_version()} in {sys.prefix}"


def _check_packages() -> None:
    """Our folders have everyday names; another package of such a name in front of ours would be imported instead."""
    home = Path(__file__).resolve().parents[1]
    for name in _OURS:
        spec = find_spec(name)
        places = spec.submodule_search_locations if spec else None
        found = Path(next(iter(places))).resolve() if places else None
        if found is None or found.parent != home:
            raise GristmillError(
                f"the package {name!r} found here is not Gristmill's ({found or 'none'}): another package or folder of "
                "that name comes first; use an environment of its own, or another working directory."
            )


def _say(sentence: str, status: int) -> int:
    warn(sentence)
    return status


if __name__ == "__main__":
    sys.exit(main())
