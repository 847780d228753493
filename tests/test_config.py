"""Configs: every mistake is one sentence with its key; prompts take exactly their variables."""

from pathlib import Path

import pytest

from gristmill.config import load_config, read_yaml, require_file
from gristmill.errors import ConfigError
from gristmill.prompts import Prompt
from schemas.run_config import RunConfig

GOOD = """
generator: template
models: {default: {endpoint: "http://127.0.0.1:1/v1", model: m, temperature: 0.5}}
judges: [{name: rubric, min_score: 3}]
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(GOOD)
    return path


def test_overrides_reach_mappings_and_named_list_items(good: Path) -> None:
    overrides = ["models.default.temperature=0", "judges.rubric.mode=shadow", "budget.usd=2.5", "seed=7"]
    config = load_config(good, overrides, RunConfig)
    assert config.models["default"].temperature == 0
    assert config.judges[0].mode == "shadow" and config.judges[0].params == {"min_score": 3}
    assert config.budget.usd == 2.5 and config.seed == 7


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("executor={kind: ray, worker: 2}", "unknown key executor.worker. Did you mean workers?"),
        ("executor={workers: 2}", "executor: `address` and `workers` are for `kind: ray`"),
        ("executor={kind: ray, address: 'ray://host:10001'}", "executor.address: "),
        ("sample=3", "unknown key sample. Did you mean samples?"),
        ("models.default.temprature=1", "unknown key models.default.temprature. Did you mean temperature?"),
        ("models.default.temperature=hot", "models.default.temperature: .* number.*not 'hot'"),
        ("models.default.endpoint=localhost:8000", "`embedded` or a URL"),
        ("samples=0", "samples: .*greater than 0"),
        ("generator=null", "generator: .*string"),
        ("tasks=3 ", "tasks"),
        ("seed", "has the form key.subkey=value"),
        ("judges.5.mode=gate", "has no item '5'"),
    ],
)
def test_mistakes_name_their_key(good: Path, override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config(good, [override, "samples=5"] if override.startswith("tasks") else [override], RunConfig)


@pytest.mark.parametrize(("content", "sentence"), [("a: [", "not valid YAML"), ("- 1", "mapping"), ("", "mapping")])
def test_broken_files(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        read_yaml(path, [])
    with pytest.raises(ConfigError, match="no such config file"):
        read_yaml(tmp_path / "absent.yaml", [])


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("generator: !!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_yaml(path, [])


def test_prompt_values_are_data() -> None:
    prompt = Prompt.compile("p", "Say {{ text }}")
    assert prompt.render({"text": "{{ 7 * 7 }} {% raw %}"}) == "Say {{ 7 * 7 }} {% raw %}"


@pytest.mark.parametrize("variables", [{}, {"text": "a", "more": "b"}])
def test_missing_and_unused_variables_are_errors(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="the prompt p and its variables differ"):
        Prompt.compile("p", "Say {{ text }}").render(variables)


@pytest.mark.parametrize("source", ["{{ ''.__class__.__mro__ }}", "{{ cycler.__init__.__globals__ }}"])
def test_prompts_run_in_a_sandbox(source: str) -> None:
    with pytest.raises(ConfigError, match="p"):
        Prompt.compile("p", source).render({})


def test_a_broken_template_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="not a valid template"):
        Prompt.compile("p", "{% if %}")


def test_a_file_that_is_not_there_names_the_nearest_one(good: Path) -> None:
    with pytest.raises(ConfigError, match=r"rnu\.yaml: no such config file\. Did you mean run\.yaml\?"):
        load_config(good.with_name("rnu.yaml"), [], RunConfig)
    with pytest.raises(ConfigError, match=r"seeds: .*absent doesn't exist \(paths .*\)\.$"):
        require_file(good.parent / "nowhere" / "absent", "seeds")
