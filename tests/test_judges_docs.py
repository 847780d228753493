"""docs/judges.md is checked against the code: its tables, its YAML, its example judge."""

import inspect
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_core import PydanticUndefined

from gristmill import Record, RunJudge, registry
from gristmill.bench import make_judges
from gristmill.commands.show import first_line
from gristmill.config import validate
from gristmill.llm import Roles
from gristmill.testing import ScriptedModel, judge_scripted
from judges.asking import ModelParams
from judges.bench.command import BenchKeys
from judges.constraints import CONSTRAINTS
from judges.rubric import load_rubric, rubric_names
from schemas import assistant, user
from schemas.run_config import JudgeConfig, RunConfig

PAGE = Path(__file__).parents[1] / "docs/judges.md"
MODELS = {name: {"endpoint": "http://x.invalid/v1", "model": name} for name in ("default", "qwen", "llama", "gpt")}


def judges_table() -> str:
    """One row per judge that is registered: what it does, whom it asks, its parameters with their defaults."""
    rows = ["| judge | looks at | asks a model | parameters |", "|---|---|---|---|"]
    for name in registry.names("judges"):
        kind = registry.load("judges", name)
        scope = "whole runs" if issubclass(kind, RunJudge) else "records"
        fields = kind.params_type.model_fields
        asks = "always" if issubclass(kind.params_type, ModelParams) else "perhaps" if "role" in fields else "never"
        params = ", ".join(f"`{field}`{default_of(info)}" for field, info in fields.items())
        rows.append(f"| `{name}`: {first_line(kind)} | {scope} | {asks} | {params or '-'} |")
    return "\n".join(rows)


def default_of(info: Any) -> str:
    if info.default_factory is not None:
        return " (built in)"
    if info.default is PydanticUndefined:
        return ""
    shown = "none" if info.default is None else info.default
    text = str(shown).replace("'", "").replace("True", "true").replace("False", "false")
    return f" = {text}" if len(text) <= 40 else " (built in)"


def rubrics_table() -> str:
    rows = ["| rubric | dimensions | scale | passes from |", "|---|---|---|---|"]
    for name in rubric_names():
        rubric = load_rubric(name)
        dimensions = ", ".join(dimension.name for dimension in rubric.dimensions)
        rows.append(f"| `{name}` | {dimensions} | {rubric.scale.min}-{rubric.scale.max} | {rubric.min_score:g} |")
    return "\n".join(rows)


@pytest.mark.parametrize("table", [judges_table, rubrics_table])
def test_the_tables_are_those_of_the_code(table: Any) -> None:
    expected = table()
    assert expected in PAGE.read_text(encoding="utf-8"), f"docs/judges.md should contain:\n\n{expected}\n"


def test_every_key_of_a_judge_is_explained() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [key for key in JudgeConfig.model_fields if f"`{key}" not in page] == []


def test_every_yaml_of_the_page_is_a_config() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    judged = [content for block in blocks if "judges" in (content := yaml.safe_load(block))]
    assert len(judged) == 4
    for content in judged:
        keys = {key: content.pop(key) for key in BenchKeys.model_fields if key in content}
        assert not keys or BenchKeys.model_validate(keys)
        config = validate({"models": MODELS, **content, "generator": "judge"}, RunConfig, "docs/judges.md")
        assert make_judges(config, Roles(config.models), generating=False)
    (constraints,) = [content for block in blocks if isinstance(content := yaml.safe_load(block), list)]
    assert len(CONSTRAINTS.validate_python(constraints)) == 4


def test_every_rubric_lies_where_its_name_says() -> None:
    for name in rubric_names():
        rubric = load_rubric(name)
        assert rubric.name == name and rubric.version >= 1
        assert all(set(d.anchors) >= {rubric.scale.min, rubric.scale.max} for d in rubric.dimensions), name
        assert len({d.question for d in rubric.dimensions}) == len(rubric.dimensions)


def test_every_judge_has_a_docstring_with_a_source() -> None:
    for name in registry.names("judges"):
        module = inspect.getmodule(registry.load("judges", name))
        assert module and module.__doc__ and "Source:" in module.__doc__, name


def test_the_example_judge_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "polite.py").write_text(next(block for block in blocks if "class Polite" in block))
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/polite.jinja").write_text("Is this polite? {{ answer }}")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("polite", "polite:Polite", "gristmill.judges")
    monkeypatch.setitem(registry._group("judges"), "polite", entry)
    model = ScriptedModel(lambda role, request: {"reason": "it thanks", "verdict": "thank" in str(request)})
    records = [Record(messages=[user("q"), assistant(text)]) for text in ("thank you", "go away")]
    found = judge_scripted([{"name": "polite"}], records, tmp_path, model)
    assert [one.fault for one in found] == ["", "polite/failed"]


if __name__ == "__main__":  # prints what the page should contain
    print(judges_table(), rubrics_table(), sep="\n\n")
