"""The recipes, the examples, and the teacher's words."""

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from generators.search_riddles import Params, SearchRiddles
from generators.search_riddles.agent import final_answer, matches
from generators.search_riddles.making import Made
from generators.search_riddles.names import mentions
from generators.search_riddles.pages import url_of
from generators.search_riddles.riddles import FIRST, Riddle, leaked
from generators.search_riddles.vocabulary import known_kinds, known_relations, meta_relations
from gristmill.config import load_config
from gristmill.errors import ConfigError
from gristmill.plan import make_plan
from gristmill.testing import ScriptedModel, run_scripted
from gristmill.tools.checks import check_conversation
from schemas import Record
from schemas.run_config import RunConfig
from tests.conftest import CLI, ROOT
from tests.riddle_oracle import Oracle
from tests.riddle_world import WANTED, World
from tests.runs import rows_of

RECIPES = ROOT / "recipes/generate"


@pytest.mark.riddles
@pytest.mark.embedded
@pytest.mark.slow
def test_the_recipe_runs_offline_and_leaves_riddles_with_one_answer(
    cli: CLI, tmp_path: Path, riddle_world: World
) -> None:
    settings = ["tasks=1", "params.agent.calls=1", "params.closed_book=0", "models.assistant.max_tokens=40"]
    done = cli("generate", RECIPES / "search_riddles.yaml", *settings, "--run", "run", timeout=580)
    assert done.returncode == 0, done.stderr
    summary = orjson.loads((tmp_path / "run/summary.json").read_bytes())
    assert summary["tasks"] == 1 and summary["failed"] == 0
    lines = (tmp_path / "run/artifacts/riddles.jsonl").read_bytes().splitlines()
    riddles = [Riddle.model_validate_json(line) for line in lines]
    assert len(riddles) == WANTED >= 100 and len({one.answer.kind for one in riddles}) >= 15
    hops = Counter(one.hops for one in riddles)
    assert set(hops) == {4, 5, 6, 7, 8} and min(hops.values()) >= 0.1 * len(riddles)
    for riddle in riddles:
        rows = asyncio.run(riddle_world.endpoint.select(riddle.sparql))
        assert [row["answer"] for row in rows] == [riddle.answer.iri]
    account = orjson.loads((tmp_path / "run/artifacts/walks.json").read_bytes())
    assert account["drawn"] == account["riddles"] + sum(account["lost"].values())


@pytest.mark.parametrize("name", ["search_riddles", "search_riddles_teacher"])
def test_the_recipes_load(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(load_config(RECIPES / f"{name}.yaml", [], RunConfig))
    assert isinstance(plan.generator, SearchRiddles)


def test_the_same_recipe_takes_wikidata() -> None:
    changed = ["params.endpoint=wikidata", "params.contact=you@example.org"]
    plan = make_plan(load_config(RECIPES / "search_riddles.yaml", changed, RunConfig))
    assert plan.generator.params.endpoint == "wikidata"


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"endpoint": "wikidata"}, "contact"),
        ({"endpoint": "ftp://x"}, "endpoint must be"),
        ({"endpoint": "https://x/sparql", "contact": "me", "graph": "a.tsv"}, "files are served"),
        ({"walks": {"hops": []}}, "at least 1 item"),
        ({"riddle": {"answers": 0}}, "greater than or equal to 1"),
    ],
)
def test_params_that_make_no_sense_are_refused(params: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Params.model_validate(params)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.tsv"):
        SearchRiddles(Params(graph=[tmp_path / "nowhere.tsv"]))
    assert Params.model_validate({"graph": "a.tsv"}).graph == [Path("a.tsv")]


def test_riddles_of_a_public_graph_need_a_search(tmp_path: Path) -> None:
    params = {"endpoint": "wikidata", "contact": "you@example.org"}
    with pytest.raises(ConfigError, match=r"`mcp` server, or the pages\.jsonl\.gz"):
        SearchRiddles(Params.model_validate(params), seeds="riddles.jsonl")
    SearchRiddles(Params.model_validate(params))


def test_the_examples_pass_what_a_record_passes() -> None:
    lines = (SearchRiddles.folder() / "examples.jsonl").read_bytes().splitlines()
    records = [Record.model_validate_json(line) for line in lines]
    assert len(records) == 3
    for record in records:
        told: Any = record.metadata
        assert check_conversation(record.messages, record.tools) == []
        assert matches(final_answer(record.messages[-1].content), [told["answer"], *told["aliases"]])
        assert told["calls"] == sum(len(message.tool_calls) for message in record.messages)
        results = "".join(message.content for message in record.messages if message.role == "tool")
        assert len(told["supported"]) == told["riddle"]["hops"]
        assert all(url in results for url in told["supporting_urls"])
        assert all(message.reasoning_content for message in record.messages if message.role == "assistant")
        assert told["trace"] == "authored" and told["riddle"]["question"] == record.messages[1].content


def teacher(riddles: list[Riddle], words: dict[int, str], drafts: dict[int, str]) -> ScriptedModel:
    """The writer says these questions, else what the template says; the agent is the oracle."""

    def script(role: str, request: Any) -> Any:
        text = "\n".join(message["content"] for message in request["messages"])
        if role != "writer":
            number = next(n for n, one in enumerate(riddles) if (words.get(n) or one.question) in text)
            fitting = [one.model_copy(update={"question": words.get(n, one.question)}) for n, one in enumerate(riddles)]
            return Oracle(fitting)(role, request) if number >= 0 else ""
        number = next(n for n, one in enumerate(riddles) if one.facts[0].text in text and one.facts[-1].text in text)
        if "Rewrite a question" in text:
            assert all(f"- {one.label} (" in text for one in riddles[number].hidden)
            return {"question": words.get(number, riddles[number].question)}
        return {"question": drafts.get(number, riddles[number].draft)}

    return ScriptedModel(script)


def telling(world: World, riddles: list[Riddle]) -> tuple[Riddle, str]:
    """A riddle, and names on its answer's page that are no leak, for which a search finds that page."""
    for riddle in riddles:
        hidden = {name for one in riddle.hidden for name in (one.label, *one.aliases)}
        others = [world.graph.entity(step.other).label for step in world.graph.around[riddle.answer.iri]]
        names = [name for name in others if len(name) > 8 and not any(mentions(name, one) for one in hidden)][:5]
        question = f"Begin with {' and '.join(riddle.anchors)}, and with {', '.join(names)}: what is it?"
        found = [page.url for page in world.index.find(question, FIRST)]
        if url_of(riddle.answer.iri) in found and leaked(riddle, question) is None:
            return riddle, question
    raise AssertionError("no page is found by what is on it")


@pytest.mark.riddles
def test_a_teacher_words_riddles_and_loses_those_that_it_spoils(
    riddle_world: World, riddles_made: Made, tmp_path: Path
) -> None:
    found, question = telling(riddle_world, riddles_made.riddles[7:])
    riddles = [*riddles_made.riddles[:7], found]
    anchors = [" and ".join(one.anchors) for one in riddles]
    words = {
        0: f"Starting from {anchors[0]}, who or what is it in the end?",
        1: f"With {anchors[1]} in mind, is it {riddles[1].answer.label}?",
        2: f"From {anchors[2]} by way of {riddles[2].entities[2].label}: what is it?",
        3: "Which one is it, after all that?",
        4: f"Think of {anchors[4]}. Go on. And on. Which one is it?",
        7: question,
    }
    drafts = {5: "INVALID_PATH", 6: f"Is it {riddles[6].answer.label}?"}
    seeds = tmp_path / "riddles.jsonl"
    seeds.write_text("".join(f"{one.model_dump_json()}\n" for one in riddles), encoding="utf-8")
    config = {
        "generator": "search_riddles", "tasks": 8, "seeds": str(seeds),
        "params": {"phrasing": "teacher", "closed_book": 0, "agent": {"rollouts": 1}},
    }  # fmt: skip
    summary = run_scripted(config, tmp_path / "run", teacher(riddles, words, drafts))
    assert summary["by_reason"] == {
        "draft/answer_leak": 1, "draft/invalid_path": 1, "obfuscate/answer_leak": 1, "obfuscate/intermediate_leak": 1,
        "obfuscate/lost_anchor": 1, "obfuscate/too_many_sentences": 1, "riddle/one_search": 1,
    }  # fmt: skip
    (row,) = rows_of(tmp_path / "run")
    told = orjson.loads(row["metadata"])
    assert told["riddle"]["question"] == words[0] == row["messages"][1]["content"] and told["phrasing"] == "teacher"


def test_relations_and_classes_are_complete() -> None:
    """Each wording takes one entity; each side has one that a long description can end; no Q id is in two classes."""
    for prop, sorts in known_relations().items():
        assert prop not in meta_relations() and "" in sorts
        for side in (side for relation in sorts.values() for side in (relation.out, relation.into)):
            for wording in side.wordings:
                assert wording.count("{}") == 1 and wording == wording.strip(), wording
            assert any(wording.endswith("{}") for wording in side.verbs), prop
            assert all(re.match(r"(?:an?|the) \w", name) for name in side.names), side.names
            assert all(
                question.count("{noun}") == 1 or question.startswith("what is the") for question in side.questions
            )
    assert {sort for sorts in known_relations().values() for sort in sorts} <= {kind.sort for kind in known_kinds()}
    ids = Counter(one for kind in known_kinds() for one in (*kind.ids, kind.occupation) if one)
    assert not [one for one, times in ids.items() if times > 1]
    hubs = [kind for kind in known_kinds() if kind.role == "entity"]
    assert len(hubs) >= 25 and all(kind.ids or kind.occupation for kind in hubs)


def test_the_docs_name_every_reason_and_parameter() -> None:
    text = (ROOT / "docs/search_riddles.md").read_text("utf-8")
    folder = ROOT / "generators/search_riddles"
    reasons = {"meta_relation", "description", "stop_node", "unlabelled", "unclassed", "cycle", "there_and_back",
               "fan_out", "too_short", "generic_answer", "class_full", "same_answer", "same_fact", "same_question",
               "no_anchor", "shortcut", "ambiguous", "unanswerable", "answer_leak", "intermediate_leak", "name_hint",
               "one_search", "endpoint_timeout", "uniqueness_timeout", "invalid_path", "lost_anchor",
               "too_many_sentences",
               "no_final_answer", "wrong", "no_search", "guessed", "unsupported", "tool_error", "server_lost",
               "other_answer", "unknown_url"}  # fmt: skip
    assert not [reason for reason in reasons if f"`{reason}`" not in text]
    for model in (Params, *(field.annotation for field in Params.model_fields.values())):
        for name in getattr(model, "model_fields", {}):
            assert f"`{name}`" in text or f".{name}`" in text, name
    assert yaml.safe_load((folder / "relations.yaml").read_text("utf-8"))["meta"]
