"""The command line: `gristmill COMMAND ...`. Commands are entry points; this starts them and ends them cleanly."""

import errno
import os
import sqlite3
import sys
from argparse import ArgumentParser
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from gristmill import registry
from gristmill.commands import INTERRUPTED, Command
from gristmill.errors import GristmillError
from gristmill.ledger import ledger_error

_OURS = ("schemas", "judges", "generators", "blends", "sft")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; its exit status (see the README's table)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _check_packages()
        parser = _parser(arguments)
        parsed, rest = parser.parse_known_args(arguments)
        if not hasattr(parsed, "overrides") or any(argument.startswith("-") for argument in rest):
            parser.parse_args(arguments)  # refuses what is left over
        else:
            parsed.overrides += rest  # argparse takes overrides only before options; people write them anywhere
        if not hasattr(parsed, "command"):
            parser.print_help()
            return 0
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
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EDQUOT):
            raise
        where = f": {error.filename}" if error.filename else ""
        return _say(
            f"{os.strerror(error.errno).lower()}{where}. Nothing that was paid for is lost; mend that and repeat.", 1
        )


def _parser(arguments: list[str]) -> ArgumentParser:
    """With arguments for the one command that is named, so that no other command's module is imported."""
    parser = ArgumentParser(prog="gristmill", description="From seeds to verified records, to blends, to a checkpoint.")
    parser.add_argument("--version", action="version", version=f"gristmill {version('gristmill')}")
    names = registry.names("commands")
    wanted = arguments[:1] if arguments and arguments[0] in names else names
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name in wanted:
        command: Command = registry.load("commands", name)
        sub = commands.add_parser(name, help=command.help, description=command.help)
        command.configure(sub)
        sub.set_defaults(command=command)
    return parser


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
    print(f"gristmill: {sentence}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
