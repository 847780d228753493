"""Benchmarks as they are published, read into items that can be looked for.

    {"task_id": "HumanEval/0", "prompt": "def has_close_elements(...", "canonical_solution": "    for idx, ...", ...}
    {"question": "Natalia sold clips to 48 of her friends ...", "answer": "Natalia sold 48/2 = ..."}
    {"question": "Which gas ...?", "choices": ["oxygen", "argon", "neon", "helium"], "answer": 3}

Fields are found by name, so a benchmark needs no adapter of its own: HumanEval(+), MBPP, CRUXEval, LiveCodeBench,
GSM8K, MATH, MMLU, ARC, HellaSwag, MedMCQA and what looks like them. Tests and expected outputs are not compared.
A row in which nothing is found is an error: an item that is silently left out would be a hole.
"""

import ast
import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from gristmill.config import require_file
from gristmill.decontamination.texts import parse
from gristmill.errors import ConfigError, EndpointError
from gristmill.seeds import BadSeed, read_rows

HUB = "hf://"
_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet", ".csv")

_IDS = ("task_id", "question_id", "id", "_id", "uuid", "name", "title")
_QUESTIONS = (
    "question", "prompt", "problem", "question_content", "problem_statement", "text", "question_text", "query",
    "instruction", "goal", "ctx", "premise",
)  # fmt: skip
_CODE = ("canonical_solution", "code", "reference_solution", "solution", "solutions", "answer", "completion")
_ANSWERS = ("answer", "solution", "rationale", "explanation", "response", "target")
_CHOICES = ("choices", "options", "endings", "mc1_targets")
_LETTERED = (("A", "B", "C", "D", "E", "F", "G", "H", "I", "J"), ("opa", "opb", "opc", "opd"))


class Item(NamedTuple):
    """One item: what is asked, the choices of a multiple-choice item, an answer in words, a solution in Python."""

    id: str
    question: str = ""
    choices: tuple[str, ...] = ()
    answer: str = ""
    code: str = ""


class Benchmark(NamedTuple):
    """`name` is the file's name without endings, or the hub's; `version` is the file's SHA-256, or the hub's commit."""

    name: str
    location: str
    version: str
    items: list[Item]


def read_benchmark(location: str) -> Benchmark:
    """The items at a path (.jsonl, .json, both also .gz, .parquet, .csv) or at `hf://NAME@REVISION` (without its
    training split).

    ConfigError where there is no such file, or a row in which nothing is found; EndpointError where the hub fails.
    """
    if location.startswith(HUB):
        return _from_hub(location)
    path = Path(location)
    if not path.name.endswith(_SUFFIXES):
        raise ConfigError(f"decontaminate.against: {location} is no {', '.join(_SUFFIXES)} file and no {HUB}NAME.")
    require_file(path, "decontaminate.against")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Benchmark(path.name.partition(".")[0], location, digest, _items(location, _rows(path)))


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(where, row) of a file."""
    if path.suffix in (".parquet", ".csv"):
        yield from read_rows(str(path))
        return
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ConfigError(f"decontaminate.against: {path} can't be read: {error}.") from None
    if ".jsonl" in path.name:
        rows = ((f"line {number}", line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip())
        yield from ((where, _parsed(line, f"{path}, {where}")) for where, line in rows)
        return
    yield from ((f"row {number}", row) for number, row in enumerate(_listed(_parsed(content, str(path))), 1))


def _parsed(content: bytes, where: str) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"decontaminate.against: {where} is not valid JSON: {error}.") from None


def _listed(content: Any) -> list[Any]:
    """The rows of a .json file: a list, the only list in an object, or an object's values."""
    if isinstance(content, list):
        return content
    values = list(content.values()) if isinstance(content, dict) else []
    lists = [value for value in values if isinstance(value, list)]
    return lists[0] if len(lists) == 1 else values


def _from_hub(location: str) -> Benchmark:
    try:
        from datasets import get_dataset_config_names, load_dataset
        from huggingface_hub import HfApi
    except ImportError:
        raise ConfigError("a benchmark from the hub needs the extra: pip install 'gristmill[hub]'.") from None
    name, _, revision = location.removeprefix(HUB).partition("@")

    def rows(commit: str) -> Iterator[tuple[str, Any]]:
        for config in get_dataset_config_names(name, revision=commit):
            splits = load_dataset(name, config, revision=commit)
            for split in [split for split in splits if split != "train"] or list(splits):
                yield from ((f"{config}/{split}/{number}", dict(row)) for number, row in enumerate(splits[split]))

    try:
        commit = str(HfApi().dataset_info(name, revision=revision or None).sha)
        return Benchmark(name, location, commit, _items(location, rows(commit)))
    except ConfigError:
        raise
    except Exception as error:  # whatever the HTTP library of this version of the client raises
        said = str(error).strip().partition("\n")[0]
        raise EndpointError(f"decontaminate.against: {location} can't be read from the hub: {said}") from error


def _items(location: str, rows: Iterator[tuple[str, Any]]) -> list[Item]:
    items = []
    for where, row in rows:
        item = item_of(row, where) if isinstance(row, dict) else None
        if item is None:
            fault = row.detail if isinstance(row, BadSeed) else f"it has none of {', '.join(_QUESTIONS[:6])}, code"
            raise ConfigError(f"decontaminate.against: {location}, {where} is no item of a benchmark: {fault}.")
        items.append(item)
    if not items:
        raise ConfigError(f"decontaminate.against: {location} holds no items.")
    return items


def item_of(row: dict[str, Any], where: str) -> Item | None:
    """What a row asks and answers, by the names of its fields; None where nothing is found."""
    found = next((row[name] for name in _IDS if isinstance(row.get(name), str | int)), where)
    question = _first_text(row, _QUESTIONS) or _first_message(row)
    code = next((code for name in _CODE if (code := _python(row.get(name), question))), "")
    answer = next((text for name in _ANSWERS if isinstance(text := row.get(name), str) and text not in code), "")
    item = Item(str(found), question, tuple(_choices(row)), answer, code)
    return item if item.question or item.code else None


def _first_text(row: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((row[name] for name in names if isinstance(row.get(name), str) and row[name].strip()), "")


def _first_message(row: dict[str, Any]) -> str:
    """Of a benchmark of conversations, what the user asks."""
    turns = row.get("messages")
    texts = [turn.get("content") for turn in turns if turn.get("role") == "user"] if isinstance(turns, list) else []
    return next((text for text in texts if isinstance(text, str)), "")


def _python(value: Any, question: str) -> str:
    """A solution where it is a program; of HumanEval, whose prompt begins the function, both together."""
    if isinstance(value, list):
        value = next((one for one in value if isinstance(one, str)), None)
    if not isinstance(value, str) or not value.strip():
        return ""
    for code in (question + value, value):
        tree = parse(code) if "\n" in code else None
        if tree is not None and not all(isinstance(statement, ast.Expr) for statement in tree.body):
            return code
    return ""


def _choices(row: dict[str, Any]) -> list[str]:
    value = next((row[name] for name in _CHOICES if row.get(name)), None)
    if isinstance(value, dict):  # {"text": [...], "label": [...]} or {"A": "...", "B": "..."}
        value = value.get("text") or value.get("choices") or list(value.values())
    if value is None:
        value = next((texts for names in _LETTERED if len(texts := [row[n] for n in names if n in row]) > 1), [])
    return [str(text) for text in value] if isinstance(value, list) else []
