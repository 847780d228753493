"""`gristmill factory`: all parts are checked first, nothing is paid twice, and what is missing is nobody else's."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gristmill import Context, Generator, NoParams, Record, Seed, registry
from gristmill.cli import main
from gristmill.commands.generate import run_plan
from gristmill.errors import ConfigError
from gristmill.factory.mix import account, blend_config
from gristmill.factory.parts import load_factory, read_factory
from gristmill.forecast import Interval, forecast
from gristmill.ledger import Ledger
from gristmill.llm import Roles
from gristmill.plan import Plan
from gristmill.runs import RunFolder
from gristmill.testing import FaultServer, ScriptedModel
from schemas import user
from schemas.factory_config import FactoryConfig
from schemas.run_config import RunConfig
from tests.conftest import CLI, ROOT
from tests.factories import TRAINING, digests, factory_config, summary_of
from tests.runs import rows_of


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as opened:
        yield opened


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- before anything is bought

MISTAKES = [
    (["training.stages.heal.trian=mtp"], "unknown key stages.2.trian. Did you mean train?"),
    (["training.out=elsewhere"], "training.out follows"),
    (["blend.totl=5"], "unknown key totl. Did you mean total?"),
    (["blend.total=0"], "blend.total: expected how many rows"),
    (["blend.sources=[]"], "blend.sources follows"),
    (["sources.talk.share=chatter"], "the source talk is of the share 'chatter'"),
    (["sources.talk.run=none.yaml"], "none.yaml: no such config file"),
    (["sources.talk.set={params: {stpes: 1}}"], "source talk (talk.yaml): params: unknown key stpes"),
    (["sources.talk.set={generator: haiku}"], "source talk (talk.yaml): no generator is named 'haiku'"),
    (["sources.talk.set={seeds: gone.jsonl}"], "source talk (talk.yaml): seeds: gone.jsonl doesn't exist"),
    (["sources.talk.set={judges: [{name: rubrik}]}"], "source talk (talk.yaml): no judge is named 'rubrik'"),
    (["sources.talk.path=hf://a/b@main"], "a source is made by `run` or lies at `path`, not both"),
    (["sources.shell.path=hf://a/b"], "hf://NAME@REVISION"),
    (["sources.shell.set={samples: 4}"], "`set` and `like` are for a source with `run`"),
    (["sources.talk.cap=5"], "what a `cap` takes from a source the others would get"),
    (["sources.shell.name=talk"], "two sources have the same name"),
    (["sources.shell.name=blend"], "no source can be named blend"),
    (["sources.talk.set={samples: 20}"], "the blend asks for 24 of its rows, and its run makes 20"),
    (["size=huge"], "size: 'huge' is none of `sizes`"),
    (["sources.talk.wieght=2"], "unknown key sources.1.wieght. Did you mean weight?"),
]


@pytest.mark.parametrize(("overrides", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_in_any_part_is_found_first(
    here: Path, server: FaultServer, capsys: pytest.CaptureFixture[str], overrides: list[str], said: str
) -> None:
    factory_config(here, server.url, training=TRAINING)
    assert main(["factory", "factory.yaml", *overrides]) == 2
    assert said in capsys.readouterr().err
    assert server.requests == 0 and not (here / "out").exists()


def test_a_plan_without_estimate_buys_nothing(
    here: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """An earlier run tells what a record takes; without one nothing is known, and that is said."""
    factory_config(here, server.url)
    assert main(["generate", "code.yaml", "tasks=10", "--run", "earlier", "--quiet"]) == 0
    bought = server.requests
    capsys.readouterr()
    assert main(["factory", "factory.yaml", "--plan", "estimate=0", "sources.code.like=earlier"]) == 0
    said = capsys.readouterr().out
    assert server.requests == bought and not (here / "out/blend").exists()
    (code,) = (line for line in said.splitlines() if line.split()[:1] == ["code"])
    assert " 80 " in code and "like earlier" in code, "40 records of two calls"
    (talk,) = (line for line in said.splitlines() if line.split()[:1] == ["talk"])
    assert "not known" in talk and "not in the sums: talk" in said
    assert "missing   agent: shell (40 rows): no source" in said
    assert main(["factory", "factory.yaml", "--plan", "estimate=0", "shares.law=25"]) == 0
    assert "missing   law: law (20 rows): no source" in capsys.readouterr().out


def test_what_the_forecast_bought_is_not_bought_again(
    here: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    factory_config(here, server.url)
    assert main(["factory", "factory.yaml", "--plan", "estimate=3"]) == 0
    assert server.requests == 2 * 2 * 3 and "3 tasks" in capsys.readouterr().out
    assert main(["factory", "factory.yaml", "estimate=3", "--quiet"]) == 0
    assert server.requests == len(server.answered) == 2 * (40 + 27), "two calls a record, 36 and 24 and a tenth more"


class Fact(Seed):
    number: int


class Prepared(Generator[Fact, NoParams]):
    """One call to prepare, and one for each of fifty tasks."""

    name = "prepared"
    version = "1"

    async def prepare(self, ctx: Context) -> None:
        await ctx.chat("writer", [user("a world of facts, please")])

    def tasks(self) -> Iterator[Fact]:
        return (Fact(number=number) for number in range(50))

    async def run(self, seed: Fact, ctx: Context) -> Record:
        asked = [user(f"What about {seed.number}?")]
        return Record(messages=[*asked, (await ctx.chat("writer", asked)).message], category="")


def test_a_forecast_holds_what_preparing_costs_once(tmp_path: Path) -> None:
    whole = RunConfig.model_validate(
        {"generator": "prepared", "models": {"default": {"endpoint": "http://m/v1", "model": "m"}}}
    )
    few = Plan(whole.model_copy(update={"tasks": 5}), Prepared(NoParams()), [], Roles(whole.models), "f")
    model = ScriptedModel(lambda role, asked: "yes")
    run_plan(few, RunFolder(tmp_path), transport=model, quiet=True)
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        assert forecast(whole, few, ledger).sums["calls"] == Interval(51, 51, 51)


# ---- the mix


def test_shares_are_kept_and_what_is_missing_stays_so(
    here: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    factory_config(here, server.url)
    assert main(["factory", "factory.yaml", "--quiet"]) == 0
    shares = summary_of(here / "out")
    assert {name: share["rows"] for name, share in shares.items()} == {"agent": 0, "reasoning": 36, "chat": 24}
    assert [shares[name]["realised"] for name in ("agent", "reasoning", "chat")] == [0, 0.36, 0.24]
    assert shares["agent"]["missing"] == {"shell": "no source"} and not shares["chat"]["missing"]
    assert "missing   agent: shell: no source" in capsys.readouterr().out
    assert len(rows_of(here / "out/blend/train", "")) + len(rows_of(here / "out/blend/valid", "")) == 60


def test_a_dataset_that_is_there_is_a_source(here: Path, server: FaultServer) -> None:
    talks = [{"prompt": f"List {n} files.", "completion": f"ls | head -{n}"} for n in range(50)]
    (here / "shell.jsonl").write_bytes(b"\n".join(map(orjson.dumps, talks)))
    factory_config(here, server.url)
    assert main(["factory", "factory.yaml", "sources.shell.path=shell.jsonl", "--quiet"]) == 0
    shares = summary_of(here / "out")
    assert {name: share["rows"] for name, share in shares.items()} == {"agent": 40, "reasoning": 36, "chat": 24}
    assert not any(share["missing"] for share in shares.values())


def test_a_source_without_a_record_stops_the_blend_or_is_missing(
    here: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """And with the runs done, leave to do without it costs no call."""
    nothing = "sources.talk.set={params: {keep_if: 'verdict.score > 5'}}"
    factory_config(here, server.url)
    assert main(["factory", "factory.yaml", nothing, "--quiet"]) == 6
    assert "source talk: no record of 40 tasks" in capsys.readouterr().err
    assert not (here / "out/blend").exists()
    bought = server.requests
    assert main(["factory", "factory.yaml", nothing, "sources.talk.optional=true", "--quiet"]) == 0
    shares = summary_of(here / "out")
    assert server.requests == bought and shares["reasoning"]["rows"] == 36, "as many as with it"
    assert shares["chat"]["missing"]["talk"].startswith("no record of 40 tasks")
    capsys.readouterr()
    neither = [
        f"sources.{name}.{key}"
        for name in ("code", "talk")
        for key in ("optional=true", nothing.partition(".talk.")[2])
    ]
    assert main(["factory", "factory.yaml", *neither, "--quiet"]) == 6
    assert "no source gave a record, so there is nothing to blend" in capsys.readouterr().err


def test_a_source_with_too_little_is_refused_unless_the_mix_may_shrink(
    here: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    few = "sources.talk.set={max_tasks: 12}"
    factory_config(here, server.url)
    assert main(["factory", "factory.yaml", few, "--quiet"]) == 2
    captured = capsys.readouterr()
    assert "the tasks ran out at 12 of 27 records" in captured.out
    assert "source talk can give 12 of 24" in captured.err and "short: shrink" in captured.err
    bought = server.requests
    assert main(["factory", "factory.yaml", few, "blend.short=shrink", "--quiet"]) == 0
    shares = summary_of(here / "out")
    assert server.requests == bought
    assert (shares["reasoning"]["rows"], shares["chat"]["rows"]) == (19, 12), "all in proportion"
    assert shares["reasoning"]["missing"] == {"code": "19 of 36"}


@given(
    weights=st.lists(st.integers(1, 50), min_size=2, max_size=6),
    total=st.integers(10, 100_000),
    absent=st.sets(st.integers(0, 5)),
)
def test_no_source_takes_the_part_of_another(weights: list[int], total: int, absent: set[int]) -> None:
    """Whatever is missing, what is asked of the others differs by the rounding of one row."""
    names = [f"s{number}" for number in range(len(weights))]
    config = FactoryConfig.model_validate(
        {
            "out": "out",
            "shares": dict(zip(names, weights, strict=True)),
            "sources": [{"name": name, "share": name, "path": "x.jsonl"} for name in names],
            "blend": {"total": total},
        }
    )
    there = {name for number, name in enumerate(names) if number not in absent} or {names[0]}
    blend = blend_config(config, there)
    whole = sum(source.weight for source in blend.sources)
    for source in blend.sources:
        asked = blend.total * source.weight / whole
        assert asked == pytest.approx(total * config.parts()[source.name], abs=1)


def test_the_account_of_a_blend_that_counts_tokens() -> None:
    config = FactoryConfig.model_validate(
        {
            "out": "out",
            "shares": {"a": 3, "b": 1, "none": 1},
            "sources": [{"name": name, "share": name, "path": "x"} for name in "ab"],
            "blend": {"total": 1000, "unit": "supervised_tokens", "tokenizer": "embedded"},
        }
    )
    given = [
        {"name": "a", "realised": 598, "rows": 7, "supervised_tokens": 598},
        {"name": "b", "realised": 120, "rows": 2, "supervised_tokens": 120},
    ]
    a, b, none = account(config, {}, {"unit": "supervised_tokens", "sources": given}).shares
    assert (a.wanted, a.realised, a.rows) == (0.6, 0.598, 7)
    assert not a.missing, "a row is not cut in two"
    assert b.missing == {"b": "120 of 200"} and none.missing == {"none": "no source"}


# ---- sizes, models, money


def test_a_size_replaces_keys_and_the_command_line_has_the_last_word(here: Path, server: FaultServer) -> None:
    sizes = {
        "large": {"blend.total": 500, "sources.code.set": {"tasks": 7}, "models": {"m": {"endpoint": "http://far/v1"}}}
    }
    path = factory_config(here, server.url, sizes=sizes)
    assert read_factory(path, []).total == 100
    large = load_factory(path, ["size=large", "blend.short=shrink"])
    assert large.config.total == 500
    code, talk = large.jobs
    assert (code.plan.config.tasks, code.plan.config.samples) == (7, None)
    assert talk.plan.config.samples == 132, "as many as the larger blend asks, and a tenth more"
    served = code.plan.config.models["default"]
    assert served.endpoint == "http://far/v1" and served.price.input == 1, "the recipe's other keys stay"
    assert read_factory(path, ["size=large", "blend.total=600"]).total == 600


def test_the_budget_is_of_all_runs_together(
    here: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    factory_config(here, server.url)
    assert main(["factory", "factory.yaml", "budget.tokens=100", "--quiet"]) == 3, "not even the forecast"
    assert main(["factory", "factory.yaml", "budget.tokens=6000", "--quiet"]) == 3
    assert "the budget is used up" in capsys.readouterr().err
    spent = [orjson.loads(path.read_bytes())["tokens"] for path in sorted((here / "out").glob("runs/*/summary.json"))]
    assert len(spent) == 2, "the first run was within it"
    assert 0 < sum(tokens["input"] + tokens["output"] for tokens in spent) <= 6000
    assert main(["factory", "factory.yaml", "budget.tokens=60000", "--quiet"]) == 0
    assert server.requests == len(server.answered), "nothing was paid twice"


def test_a_changed_recipe_runs_anew_and_the_others_stay(
    here: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    factory_config(here, server.url)
    assert main(["factory", "factory.yaml", "--quiet"]) == 0
    before = digests(here / "out")
    capsys.readouterr()
    assert (
        main(["factory", "factory.yaml", "sources.talk.set={params: {category: small}}", "estimate=0", "--quiet"]) == 0
    )
    said = capsys.readouterr().out
    assert "done: gristmill generate out/configs/code.yaml" in said
    assert "like out/runs/talk" in said, "where nothing is measured, what it was before tells"
    assert "$ gristmill generate out/configs/talk.yaml" in said
    after = digests(here / "out")
    assert {name for name in before if before[name] != after[name]} == {
        "runs/talk/records/part-00000.parquet",
        "blend/train/part-00000.parquet",
        "blend/valid/part-00000.parquet",
    }


# ---- the training


def test_several_processes_train(here: Path, server: FaultServer, cli: CLI) -> None:
    factory_config(here, server.url, training=TRAINING)
    done = cli("factory", "factory.yaml", "--quiet", "--nproc", "2", timeout=300)
    assert done.returncode == 0, done.stderr
    mix, trained = done.stdout.split("$ gristmill sft out/configs/training.yaml")
    assert "missing   agent: shell: no source" in mix
    assert "out/training/report.html" in trained and (here / "out/training/stages/heal/config.json").is_file()


def test_a_tiny_model_trains_by_one_thread_whatever_came_before(
    here: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """A part that loaded torch with two would else change the sums, and so the bytes."""

    class Found(BaseException):
        pass

    def training(*_: object) -> None:
        raise Found(torch.get_num_threads())

    torch.set_num_threads(2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # so that it is given back afterwards
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("sft.train.Training", training)
    factory_config(here, server.url, training=TRAINING)
    with pytest.raises(Found, match=r"^1$"):
        main(["factory", "factory.yaml", "--quiet"])


# ---- the recipe

REPORT = {"agent": 36, "reasoning": 31, "chat": 23, "long_context": 8, "other": 2}
YOURS = [f"sources.{name}.set.seeds=prompts.jsonl" for name in ("refresh_reasoning", "refresh_chat", "safety")]


@pytest.mark.parametrize("overrides", [[], ["size=full", *YOURS]], ids=["small", "full"])
def test_the_recipe_holds_all_generators_and_the_reports_shares(here: Path, overrides: list[str]) -> None:
    (here / "prompts.jsonl").write_text('{"prompt": "What is two and two?", "answer": "4"}\n', "utf-8")
    for name in ("recipes", "generators"):
        (here / name).symlink_to(ROOT / name)
    factory = load_factory(here / "recipes/factory.yaml", overrides)
    assert factory.config.shares == REPORT and factory.training is not None
    assert [stage.train for stage in factory.training.stages] == ["all", "all", "mtp"]
    made = {job.plan.config.generator for job in factory.jobs}
    assert set(registry.names("generators")) >= made >= set(registry.names("generators")) - {"template"}
    embedded = [model.endpoint == "embedded" for job in factory.jobs for model in job.plan.config.models.values()]
    assert not any(embedded) if overrides else all(embedded)


def test_the_full_size_says_which_prompts_it_wants(here: Path) -> None:
    for name in ("recipes", "generators"):
        (here / name).symlink_to(ROOT / name)
    with pytest.raises(ConfigError, match=r"source refresh_reasoning .*prompts/reasoning.jsonl doesn't exist"):
        load_factory(here / "recipes/factory.yaml", ["size=full"])


@pytest.mark.embedded
def test_a_small_part_of_it_by_the_embedded_model(here: Path) -> None:
    """What the model makes, if anything, is 1 row of 50; what a grammar makes is exact whatever that is."""
    for name in ("recipes", "generators"):
        (here / name).symlink_to(ROOT / name)
    sources = [
        {"name": "template", "share": "other", "run": "recipes/generate/demo-template.yaml", "set": {"tasks": 1},
         "optional": True},
        {"name": "sql", "share": "reasoning", "run": "recipes/generate/demo-text-to-sql.yaml", "rule_made": 1.0,
         "set": {"params": {"paraphrase_share": 0}}},
    ]  # fmt: skip
    given = [f"sources={orjson.dumps(sources).decode()}", "training=null", "blend.total=50", "estimate=1"]
    assert main(["factory", "recipes/factory.yaml", *given, "--quiet"]) == 0
    shares = summary_of(here / "out/factory")
    assert shares["reasoning"]["rows"] in (15, 16) and shares["other"]["rows"] in (0, 1)
    assert shares["agent"]["missing"] == {"agent": "no source"}
    asked = orjson.loads((here / "out/factory/runs/template/summary.json").read_bytes())
    assert asked["tasks"] == 1 and asked["calls"] > 0
