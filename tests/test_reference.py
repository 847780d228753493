"""docs/cli.md and docs/config.md are made from the code; `python tests/test_reference.py` writes both anew.

What a key means is said where it is declared: the class's docstring, and the comment at the end of the key's line.
"""

import ast
import inspect
import json
import os
import re
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from io import StringIO
from pathlib import Path
from tokenize import COMMENT, generate_tokens
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import BaseModel

from gristmill.cli import main
from gristmill.commands import Command, complete
from judges.bench.command import BenchKeys
from schemas.blend_config import BlendConfig
from schemas.decontamination import CalibrateConfig
from schemas.factory_config import FactoryConfig
from schemas.run_config import RunConfig
from schemas.sft_config import SFTConfig

ROOT = Path(__file__).parents[1]
CLI_PAGE, CONFIG_PAGE = ROOT / "docs/cli.md", ROOT / "docs/config.md"
WIDTH = "100"
CONFIGS: dict[str, type[BaseModel]] = {
    "run": RunConfig,
    "blend": BlendConfig,
    "sft": SFTConfig,
    "factory": FactoryConfig,
    "calibrate": CalibrateConfig,
    "bench": BenchKeys,
}


def registered(kind: str) -> dict[str, Any]:
    """What pyproject.toml registers, whatever is installed here."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    return {name: EntryPoint(name, where, kind).load() for name, where in groups[f"gristmill.{kind}"].items()}


# The command line


def help_of(name: str, command: Command) -> str:
    parser = ArgumentParser(prog=f"gristmill {name}", description=command.help)
    complete(parser, command)
    with patch.dict(os.environ, COLUMNS=WIDTH):
        return parser.format_help().strip()


def commands() -> str:
    return "\n\n".join(f"## {name}\n\n```text\n{help_of(name, c)}\n```" for name, c in registered("commands").items())


# Configs


def comments(model: type[BaseModel]) -> dict[str, str]:
    """The comment at the end of each key's declaration, in the model and what it inherits from."""
    found: dict[str, str] = {}
    for parent in reversed(model.__mro__):
        if not issubclass(parent, BaseModel) or parent.__module__.startswith("pydantic"):
            continue
        source = inspect.getsource(parent)
        said = {
            t.start[0]: t.string.lstrip("# ") for t in generate_tokens(StringIO(source).readline) if t.type == COMMENT
        }
        (body,) = (node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
        keys = {
            n.target.id: n.end_lineno for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
        }
        found |= {key: said[line] for key, line in keys.items() if line in said}
    return found


BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
PLAIN = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "object": "mapping"}


def in_words(schema: dict[str, Any], where: dict[str, str]) -> str:
    """A JSON schema for people, such as `list of text, at least 1`; models are links to `where` they are described."""
    match schema:
        case {"$ref": ref}:
            name = ref.rsplit("/", 1)[1]
            return "anything" if name == "JsonValue" else f"[{name}](#{where[name]}-{name.lower()})"
        case {"anyOf": parts}:
            return " or ".join(dict.fromkeys(in_words(part, where) for part in parts if part.get("type") != "null"))
        case {"enum": values}:
            return ", ".join('`""`' if value == "" else f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"type": "array"}:
            least = f", at least {schema['minItems']}" if "minItems" in schema else ""
            return f"list of {in_words(schema.get('items', {}), where)}{least}"
        case {"additionalProperties": dict(inner)} if inner:
            return f"mapping of names to {in_words(inner, where)}"
        case {"format": "path"}:
            return "path"
        case {"pattern": pattern}:
            return f"text like `{pattern}`"
    bounds = " and ".join(f"{sign} {schema[key]:g}" for key, sign in BOUNDS.items() if key in schema)
    return f"{PLAIN.get(schema.get('type', ''), 'anything')} {bounds}".strip()


def default_of(key: str, schema: dict[str, Any], required: list[str]) -> str:
    if key in required:
        return "**needed**"
    value = schema.get("default")
    if value is None or value == "":
        return ""
    return "as below" if isinstance(value, dict) and value else f"`{json.dumps(value, ensure_ascii=False)}`"


def nested(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models inside a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from nested(part)


def models_of(root: type[BaseModel]) -> list[type[BaseModel]]:
    """The model and those that its keys hold, each once, in the order in which they are met."""
    met = [root]
    for model in met:  # grows as we go
        for field in model.model_fields.values():
            met += [one for one in dict.fromkeys(nested(field.annotation)) if one not in met]
    return met


def homes(root: type[BaseModel], page: str) -> dict[str, str]:
    """Where each model is described: what a run's config holds too is described there, once for all."""
    return {model.__name__: "run" if model in models_of(RunConfig) else page for model in models_of(root)}


def section(model: type[BaseModel], where: dict[str, str], title: str = "") -> str:
    schema = model.model_json_schema()
    schema = schema["$defs"][model.__name__] if "$ref" in schema else schema  # one that holds itself
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, part in schema.get("properties", {}).items():
        meaning = part.get("description") or comments(model).get(key, "")
        cells = (f"`{key}`", in_words(part, where), default_of(key, part, schema.get("required", [])), meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    doc = inspect.cleandoc(model.__doc__ or "")
    return "\n\n".join(part for part in (title, doc, "\n".join(rows) if rows[2:] else "No keys.") if part)


def reference(root: type[BaseModel], page: str) -> str:
    """The model, then those that it holds and that aren't described elsewhere."""
    where = homes(root, page)
    inner = [model for model in models_of(root)[1:] if where[model.__name__] == page]
    return "\n\n".join([section(root, where), *(section(m, where, f"### {page}: {m.__name__}") for m in inner)])


def params() -> str:
    """The `params` of each generator."""
    kinds = registered("generators").items()
    return "\n\n".join(f"### params: {name}\n\n{reference(kind.params_type, name)}" for name, kind in kinds)


# The pages


def blocks(page: Path) -> dict[str, str]:
    if page == CLI_PAGE:
        return {"commands": commands()}
    return {"params": params()} | {name: reference(root, name) for name, root in CONFIGS.items()}


def written(page: Path) -> str:
    """The page with its marked blocks made anew."""
    text = page.read_text("utf-8")
    for name, content in blocks(page).items():
        before, begin, rest = text.partition(f"<!-- made: {name} -->\n")
        _, end, after = rest.partition("\n<!-- end -->")
        assert begin and end, f"{page} has no place for {name}"
        text = before + begin + content + end + after
    return text


@pytest.mark.parametrize("page", [CLI_PAGE, CONFIG_PAGE], ids=lambda page: page.name)
def test_the_page_is_current(page: Path) -> None:
    assert written(page) == page.read_text("utf-8"), "run `python tests/test_reference.py`"


def test_the_page_says_what_the_command_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", WIDTH)
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    assert f"```text\n{capsys.readouterr().out.strip()}\n```" in CLI_PAGE.read_text("utf-8")


def test_every_link_has_its_section() -> None:
    page = CONFIG_PAGE.read_text("utf-8")
    slugs = {
        title.lower().replace(": ", "-").replace(" ", "-") for title in re.findall(r"^#+ (.*)", page, re.MULTILINE)
    }
    links = set(re.findall(r"\(#([^)]*)\)", page))
    assert len(links) > 20 and links <= slugs, links - slugs


@pytest.mark.parametrize("model", models_of(RunConfig), ids=lambda model: model.__name__)
def test_every_key_of_a_run_is_explained(model: type[BaseModel]) -> None:
    said = comments(model)
    assert [key for key in model.model_fields if key not in said and f"`{key}" not in (model.__doc__ or "")] == []


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}]}, "integer > 0"),
        ({"type": "array", "items": {"$ref": "#/$defs/Source"}}, "list of [Source](#blend-source)"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, "list of text, at least 1"),
        ({"$ref": "#/$defs/ModelConfig"}, "[ModelConfig](#run-modelconfig)"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "number ≥ 0 and ≤ 1"),
        ({"additionalProperties": {"type": "string"}}, "mapping of names to text"),
        ({"type": "object", "additionalProperties": True}, "mapping"),
        ({"enum": ["a", ""], "type": "string"}, '`a`, `""`'),
    ],
)  # fmt: skip
def test_types_in_words(schema: dict[str, Any], words: str) -> None:
    assert in_words(schema, homes(BlendConfig, "blend")) == words


def write() -> None:
    for page in (CLI_PAGE, CONFIG_PAGE):
        page.write_text(written(page), "utf-8")


if __name__ == "__main__":
    write()
