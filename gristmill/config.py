"""From a YAML file and dotted overrides to a validated config, or to a ConfigError that names the key."""

import os
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from gristmill.errors import ConfigError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)

_MERGE = "tag:yaml.org,2002:merge"
_CLEARER = {  # than what the parser says
    "found unhashable key": "a text that begins with {{ has to stand in quotes",
    "but found another document": "a second document begins, where one is a config",
}


def load_config(path: str | Path, overrides: list[str], model: type[Model]) -> Model:
    """Reads `path`, applies overrides such as `models.default.temperature=0.2`, and validates against `model`."""
    return validate(read_yaml(path, overrides), model, str(path))


def read_yaml(path: str | Path, overrides: list[str]) -> dict[str, Any]:
    """The file's mapping with the overrides applied; their values are read as YAML."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file.{_beside(path)}") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {os.strerror(error.errno or 0).lower()}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: a config is UTF-8 text, and this file is not.") from None
    content = parse(text, str(path))
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a config is a mapping of keys to values.")
    for text in overrides:
        apply(content, text)
    return content


class _Loader(yaml.SafeLoader):
    """YAML without its traps: a key that comes twice, of which it takes the last, and numbers that nothing can hold."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag != _MERGE and isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(problem=f"the key {key.value} comes twice", problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value: int = super().construct_yaml_int(node)
        if not -(2**63) <= value < 2**63:
            raise yaml.MarkedYAMLError(problem=f"{node.value} is too large", problem_mark=node.start_mark)
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def parse(text: str, where: str) -> Any:
    """What YAML means; ConfigError, which begins with `where`, for what is none."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = _CLEARER.get(error.problem or "") or error.problem or error.context
        raise ConfigError(f"{where}: not valid YAML: {line}{problem}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise ConfigError(f"{where}: not valid YAML: nested too deeply.") from None


def apply(content: dict[str, Any], text: str) -> None:
    """An override as it is written on the command line."""
    key, separator, given = text.partition("=")
    if not separator or not all(key.split(".")):
        raise ConfigError(f"{text}: an override has the form key.subkey=value.")
    override(content, key, parse(given, text), text)


def override(content: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Gives the dotted `key` another value; `where` is said first where that can't be."""
    *parents, last = key.split(".")
    node: Any = content
    for parent in parents:
        node = _child(node, parent, where)
    if isinstance(node, list):
        node[_index(node, last, where)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError(f"{where}: there is nothing below this key to set.")


def laid_over(base: Any, over: Any) -> Any:
    """`base` with the keys of `over`: mappings are merged, everything else is replaced."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {key: laid_over(base.get(key), value) for key, value in over.items()}


def _child(node: Any, key: str, where: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, key, where)]
    if isinstance(node, dict):
        if not isinstance(node.get(key), dict | list):
            node[key] = {}
        return node[key]
    raise ConfigError(f"{where}: there is nothing below {key} to set.")


def _index(items: list[Any], key: str, where: str) -> int:
    """Lists of named things (judges, sources, stages) are addressed by name as well as by position."""
    for position, item in enumerate(items):
        if isinstance(item, dict) and item.get("name") == key:
            return position
    if key.isdigit() and int(key) < len(items):
        return int(key)
    raise ConfigError(f"{where}: the list has no item {key!r}.")


def validate(content: Any, model: type[Model], where: str) -> Model:
    """`content` as a `model`; every problem in one ConfigError, each with its dotted key."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = [_explain(problem, model) for problem in error.errors()]
        raise ConfigError(f"{where}: " + " ".join(problems)) from None


def first_fault(error: ValueError) -> str:
    """What is wrong with a row that is no record, or no other thing of ours."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
    return str(error)


def require_file(path: Path, key: str) -> None:
    """ConfigError where the file that `key` names isn't there, or is none."""
    if path.is_file():
        return
    if path.exists():
        raise ConfigError(f"{key}: {path} is {'a folder' if path.is_dir() else 'no regular file'}; name a file.")
    raise ConfigError(f"{key}: {path} doesn't exist (paths are relative to the working directory).{_beside(path)}")


def _beside(path: Path) -> str:
    """The file that may have been meant."""
    folder = path.parent
    return did_you_mean(path.name, (file.name for file in folder.iterdir() if file.exists()) if folder.is_dir() else ())


def _explain(problem: Any, model: type[BaseModel]) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "the config"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}." + did_you_mean(location[-1], _known_keys(model, location[:-1]))
    if problem["type"] == "missing":
        return f"the key {key} is missing."
    expected = problem["msg"].removeprefix("Value error, ").replace("Input should be ", "expected ")
    expected = re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping of keys to values", expected)
    shown = repr(problem["input"])
    got = f", not {shown}" if problem["type"] != "value_error" and len(shown) <= 80 else ""
    return f"{key}: {expected}{got}."


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys of the sub-model that `path` leads to; every key of every model below where the path is ambiguous."""
    models: list[type[BaseModel]] = [model]
    for part in path:
        deeper = [m for current in models for m in _models_in(_annotation(current, part))]
        models = deeper or models
    return [name for m in models for name in m.model_fields]


def _annotation(model: type[BaseModel], field: str) -> Any:
    info = model.model_fields.get(field)
    return info.annotation if info else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in getattr(annotation, "__args__", ()) for m in _models_in(argument)]
