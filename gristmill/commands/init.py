"""`gristmill init NAME`: a plugin package that passes its own tests, to bend to a task of your own.

    NAME/pyproject.toml           registers the generator NAME and the judge NAME_readable
         NAME/                    generator, judge, prompts/, taxonomy, examples
         recipes/generate/        one recipe for the embedded model, one for a teacher
         tests/

It lies in gristmill/scaffold under the name `new_plugin`, as working code. A new one is a copy with its own name in the
place of that.
"""

import ast
import keyword
import re
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path

from gristmill import registry
from gristmill.commands import Command
from gristmill.errors import ConfigError

SCAFFOLD = Path(__file__).parents[1] / "scaffold"
_PLACEHOLDER = "new_plugin"


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the package and its generator, such as support_tickets")
    parser.add_argument("--dir", type=Path, metavar="PATH", help="the folder to make (default: NAME)")


def _init(arguments: Namespace) -> int:
    name: str = arguments.name
    check_name(name)
    folder: Path = arguments.dir or Path(name)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; name a folder that is empty or new with --dir.")
    for path in make(name, folder):
        print(f"made {path}")
    print(
        f"\nnext: cd {folder}\n"
        "      python -m pip install -e '.[dev]'\n"
        "      python -m pytest\n"
        f"      gristmill generate recipes/generate/{name}.yaml"
    )
    return 0


def check_name(name: str) -> None:
    """ConfigError where `name` can't be the name of a new package and its generator."""
    if not _is_sound(name):
        proposal = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
        hint = f"; {proposal}, say" if _is_sound(proposal) else ""
        raise ConfigError(
            f"{name!r} can't name a Python package: small letters and digits, _ between them, no keyword{hint}."
        )
    if name in registry.names("generators"):
        raise ConfigError(f"a generator is named {name} already (see `gristmill list`); choose another name.")
    if name in _folders() or class_name(name) in _classes():
        raise ConfigError(
            f"a new package has a folder or a class of that name already; choose another name than {name}."
        )
    spec = find_spec(name)
    if spec is not None and spec.origin is not None:
        raise ConfigError(f"{name} would hide the installed module {name} ({spec.origin}); choose another name.")


def _is_sound(name: str) -> bool:
    keywords = keyword.iskeyword(name) or keyword.iskeyword(class_name(name))
    return bool(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)) and not keywords


def class_name(name: str) -> str:
    """`support_tickets` -> `SupportTickets`."""
    return "".join(part.capitalize() for part in name.split("_"))


def make(name: str, folder: Path) -> list[Path]:
    """Writes the package into `folder`; the files."""
    made = []
    for source in _files():
        target = folder / _renamed(source.relative_to(SCAFFOLD).as_posix(), name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_renamed(source.read_text("utf-8"), name), "utf-8")
        made.append(target)
    return made


def _files() -> list[Path]:
    return sorted(path for path in SCAFFOLD.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _renamed(text: str, name: str) -> str:
    text = text.replace(_PLACEHOLDER, name).replace(class_name(_PLACEHOLDER), class_name(name))
    return text.replace(_PLACEHOLDER.replace("_", "-"), name.replace("_", "-"))


def _folders() -> set[str]:
    return {path.name for path in SCAFFOLD.iterdir() if path.is_dir()}


def _classes() -> set[str]:
    """What the generator's module defines or imports."""
    module = ast.parse((SCAFFOLD / _PLACEHOLDER / "__init__.py").read_text("utf-8"))
    return {node.name for node in ast.walk(module) if isinstance(node, ast.ClassDef | ast.alias)}


command = Command(
    "a new plugin package: generator, judge, prompts, taxonomy, tests, recipes",
    _configure,
    _init,
    "gristmill init support_tickets",
)
