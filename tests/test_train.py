"""The trainer end to end on a small blend: stages, resume, healing, what is measured and what is refused."""

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import AutoModelForCausalLM, AutoTokenizer

from gristmill.cli import main
from gristmill.config import validate
from gristmill.errors import ConfigError, GristmillError
from gristmill.render import Renderer
from schemas import Record, assistant, user
from schemas.arrow import records_to_table
from schemas.sft_config import Rollouts, SFTConfig, Stage
from sft import step as step_module
from sft import train as train_module
from sft.batches import PackFiles
from sft.documents import Document
from sft.heldout import held_out, prompt_of, unigram_entropy
from sft.metrics import StepMetrics, read_metrics
from sft.model import Vocabulary, load_model, vocabulary_of
from sft.prep import prepare
from sft.rollouts import cut_trace, read_rollouts, write_rollouts
from sft.stages import Cursor, Plan, new_optimizer, trained_parameters
from sft.state import load_progress
from sft.train import Training
from sft.train_command import SilentDisplay
from sft.world import World

WORLD = World(0, 1, torch.device("cpu"))
Listen = Callable[[StepMetrics], None]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_module, "ACCEPTANCE_PROMPTS", 3)
    monkeypatch.setattr(train_module, "ACCEPTANCE_TOKENS", 6)


def records(count: int, first: int = 0) -> list[Record]:
    return [
        Record(
            uuid=f"{n:032x}",
            generator="test",
            version="1",
            category="sums",
            task_id=str(n),
            messages=[
                user(f"What is {n} plus {n + 1}? " + "Take your time. " * (n % 5)),
                assistant(f"It is {2 * n + 1}." * (1 + n % 3), reasoning=f"{n} and {n} is {2 * n}, and one more."),
            ],
            tools=[],
            reasoning="on",
            license="CC0-1.0",
        )
        for n in range(first, first + count)
    ]


def learn(folder: Path, made: list[Record], steps: int) -> Path:
    """The folder of a tiny model after so many steps on these records."""
    content = {
        "out": str(folder / "run"),
        "data": {"blend": str(write_blend(folder / "blend", train=made)), "tokenizer": "train:300", "pack_tokens": 256},
        "precision": "fp32",
        "stages": [{"name": "learn", "global_batch": 3, "lr": 3e-3, "steps": steps}],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "ACCEPTANCE_PROMPTS", 1)
        run(validate(content, SFTConfig, "test"))
    return folder / "run/stages/learn"


def write_blend(folder: Path, **splits: list[Record]) -> Path:
    for split, made in splits.items():
        (folder / split).mkdir(parents=True)
        pq.write_table(records_to_table(made), folder / split / "part-0.parquet")
    return folder


@pytest.fixture(scope="session")
def blend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blend(tmp_path_factory.mktemp("blend"), train=records(30), valid=records(7, first=100))


def config(blend: Path, out: Path, **changes: Any) -> SFTConfig:
    stages = [
        {"name": "token", "global_batch": 3, "lr": 1e-3, "warmup": {"count": 6}, "steps": 5},
        {"name": "sample", "loss": "sample", "global_batch": 4, "lr": 5e-4, "schedule": "cosine", "epochs": 1},
        {
            "name": "heal",
            "train": "mtp",
            "global_batch": 2,
            "lr": 1e-3,
            "steps": 4,
            "data": {"rollouts": {"prompts": str(blend), "max_tokens": 12}},
        },
    ]
    whole = {
        "out": str(out),
        "data": {"blend": str(blend), "tokenizer": "train:300", "pack_tokens": 256},
        "precision": "fp32",
        "stages": stages,
    }
    return validate({**whole, **changes}, SFTConfig, "test")


class Watching(SilentDisplay):
    """Calls `listen` after each step."""

    def __init__(self, listen: Listen) -> None:
        self.listen = listen

    def step(self, metrics: StepMetrics, done: int, total: int) -> None:
        self.listen(metrics)


def run(made: SFTConfig, listen: Listen = lambda _: None, reset_optimizer: bool = False) -> Training:
    renderer, data = prepare(made)
    training = Training(made, renderer, data, WORLD, Watching(listen), reset_optimizer)
    training.run()
    return training


@pytest.fixture(scope="session")
def finished(blend: Path, tmp_path_factory: pytest.TempPathFactory) -> SFTConfig:
    """A whole run, undisturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "ACCEPTANCE_PROMPTS", 3)
        patch.setattr(train_module, "ACCEPTANCE_TOKENS", 6)
        made = config(blend, tmp_path_factory.mktemp("finished"))
        torch.set_num_threads(1)
        run(made)
    return made


def weights(made: SFTConfig, stage: str) -> dict[str, torch.Tensor]:
    return load_file(made.out / "stages" / stage / "model.safetensors")


def test_a_run_leaves_what_the_contract_says(finished: SFTConfig) -> None:
    lines = [json.loads(line) for line in (finished.out / "metrics.jsonl").read_text().splitlines()]
    measured = ["loss", "loss_by_source", "mtp_loss", "tokens", "conversations", "lr", "grad_norm", "tokens_per_s"]
    keys = ["step", "stage", *measured]
    assert all(sorted(line) == sorted(keys) for line in lines)
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    by_stage = {name: [line for line in lines if line["stage"] == name] for name in ("token", "sample", "heal")}
    assert [len(by_stage[name]) for name in by_stage] == [5, by_stage["sample"][-1]["step"] - 5, 4]
    assert all(line["loss"] is None and line["mtp_loss"] > 0 for line in by_stage["heal"])
    assert all(line["loss"] > 0 and line["mtp_loss"] > 0 for name in ("token", "sample") for line in by_stage[name])
    assert sum(line["conversations"] for line in by_stage["sample"]) == 30  # one epoch
    packs = PackFiles(finished.out / "data" / "sample")
    documents = [document for number in range(len(packs)) for document in packs.documents(number)]
    assert sum(line["tokens"] for line in by_stage["sample"]) == sum(len(d.input_ids) for d in documents)
    summary = json.loads((finished.out / "summary.json").read_text())
    assert [stage["name"] for stage in summary["stages"]] == ["token", "sample", "heal"]
    assert summary["unigram_entropy"] > 0
    page = (finished.out / "report.html").read_text()
    assert page.count("<svg") == 6 and "<script" not in page and 'src="' not in page and "<link" not in page


@torch.no_grad()
def test_a_stage_is_a_hugging_face_folder(finished: SFTConfig) -> None:
    folder = finished.out / "stages" / "heal"
    assert any(name.startswith("mtp.") for name in weights(finished, "heal"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert str(prompt).startswith("<|im_start|>") and tokenizer.eos_token == "<|im_end|>"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer) and model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_healing_changes_only_the_head(finished: SFTConfig) -> None:
    before, after = weights(finished, "sample"), weights(finished, "heal")
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name].numpy().tobytes() != after[name].numpy().tobytes()}
    assert changed and all(name.startswith("mtp.") for name in changed)
    assert "mtp.layers.1.mixer.gate.e_score_correction_bias" in changed
    everything = weights(finished, "token")
    assert all(not torch.equal(everything[name], before[name]) for name in before if name.endswith("proj.weight"))


def test_a_change_outside_the_head_is_found(blend: Path, tmp_path: Path) -> None:
    made = config(blend, tmp_path / "out")
    stages = [stage.model_copy(update={"steps": 2, "epochs": None}) for stage in made.stages]
    made = made.model_copy(update={"stages": [stages[0], stages[2]]})
    renderer, data = prepare(made)

    def disturb(metrics: StepMetrics) -> None:
        if metrics.stage == "heal":
            with torch.no_grad():
                training.model.lm_head.weight[0, 0] += 1e-6

    training = Training(made, renderer, data, WORLD, Watching(disturb))
    with pytest.raises(GristmillError, match="that isn't trained has changed"):
        training.run()


def comparable(made: SFTConfig) -> list[dict[str, Any]]:
    return [line.model_dump(exclude={"tokens_per_s"}) for line in read_metrics(made.out / "metrics.jsonl")]


def assert_same(made: SFTConfig, finished: SFTConfig) -> None:
    assert comparable(made) == comparable(finished)
    for stage in finished.stages:
        left, right = ((m.out / "stages" / stage.name / "model.safetensors").read_bytes() for m in (made, finished))
        assert left == right, stage.name
    assert (made.out / "summary.json").read_text() == (finished.out / "summary.json").read_text()


def test_stopped_and_resumed_is_uninterrupted(finished: SFTConfig, tmp_path: Path) -> None:
    """Asked to stop in mid-stage, after a stage's last step, in its first, and while healing."""
    made = finished.model_copy(update={"out": tmp_path / "out"})
    last = len(comparable(finished))
    for stop_after in (2, 5, 6, last - 3, last):

        def stop(metrics: StepMetrics, at: int = stop_after) -> None:
            if metrics.step == at:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            run(made, stop)
        progress = load_progress(made.out / "state")
        assert progress is not None and progress.step == stop_after
    run(made)
    assert_same(made, finished)


@pytest.mark.parametrize("save_seconds", [0.0, 1e9])
def test_killed_and_resumed_is_uninterrupted(
    finished: SFTConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_seconds: float
) -> None:
    """Dies between a step and its state, at three steps; the state is a step old, or as old as the stage."""
    monkeypatch.setattr(train_module, "SAVE_SECONDS", save_seconds)
    made = finished.model_copy(update={"out": tmp_path / "out"})
    died: set[int] = set()

    def die(metrics: StepMetrics) -> None:
        if metrics.step in {2, 7, 12} - died:
            died.add(metrics.step)
            raise MemoryError

    for _ in range(3):
        with pytest.raises(MemoryError):
            run(made, die)
    run(made, die)
    assert_same(made, finished)


def test_a_run_prepares_its_data_once(blend: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the rank that leads tells the others (tests/test_sft_ranks.py)."""
    prepared: list[SFTConfig] = []

    def counted(made: SFTConfig, *watch: Any) -> Any:
        prepared.append(made)
        return prepare(made, *watch)

    monkeypatch.setattr("sft.prep.prepare", counted)
    short = Stage(name="short", global_batch=4, lr=1e-3, steps=1)
    made = config(blend, tmp_path / "out", stages=[short.model_dump()])
    (tmp_path / "sft.yaml").write_text(made.model_dump_json(exclude_none=True))
    assert main(["sft", str(tmp_path / "sft.yaml")]) == 0
    assert prepared == [made]


def test_a_finished_run_repeats_nothing(finished: SFTConfig, tmp_path: Path) -> None:
    shutil.copytree(finished.out, tmp_path / "out")
    made = finished.model_copy(update={"out": tmp_path / "out"})
    steps: list[int] = []
    run(made, lambda metrics: steps.append(metrics.step))
    assert steps == []
    assert_same(made, finished)


def test_what_a_run_has_used_must_not_change(finished: SFTConfig, blend: Path, tmp_path: Path) -> None:
    shutil.copytree(finished.out, tmp_path / "out")
    made = finished.model_copy(update={"out": tmp_path / "out"})
    with pytest.raises(ConfigError, match="was begun with seed: 0, not 1"):
        run(made.model_copy(update={"seed": 1}))
    slower = made.stages[0].model_copy(update={"lr": 1e-5})
    with pytest.raises(
        ConfigError, match=r"was begun with stages\.token\.lr: 0\.001, not 1e-05; change it back, or give"
    ):
        run(made.model_copy(update={"stages": [slower, *made.stages[1:]]}))


def stopped_in_a_later_stage(finished: SFTConfig, folder: Path) -> SFTConfig:
    """After the first of its two steps."""
    shutil.copytree(finished.out, folder / "out")
    more = Stage(name="more", global_batch=4, lr=1e-4, steps=2)
    made = finished.model_copy(update={"out": folder / "out", "stages": [*finished.stages, more]})

    def stop(metrics: StepMetrics) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        run(made, stop)
    return made


def with_last_stage(made: SFTConfig, **changes: Any) -> SFTConfig:
    return made.model_copy(update={"stages": [*made.stages[:-1], made.stages[-1].model_copy(update=changes)]})


def test_what_comes_later_may_change(finished: SFTConfig, tmp_path: Path) -> None:
    made = stopped_in_a_later_stage(finished, tmp_path)
    with pytest.raises(ConfigError, match=r"stages\.more\.steps: 2, not 3; change it back, .* by --reset-optimizer"):
        run(with_last_stage(made, steps=3))
    assert run(made).summary().stages[-1].name == "more"
    assert len(comparable(made)) == len(comparable(finished)) + 2


def test_a_reset_begins_the_stage_anew_with_the_weights_as_they_are(finished: SFTConfig, tmp_path: Path) -> None:
    made = stopped_in_a_later_stage(finished, tmp_path)
    smaller = made.model_copy(update={"data": made.data.model_copy(update={"pack_tokens": 128})})
    with pytest.raises(ConfigError, match=r"data\.pack_tokens: 256, not 128; change it back, or give another `out`\."):
        run(smaller, reset_optimizer=True)
    changed = with_last_stage(made, steps=3, lr=2e-4).model_copy(update={"precision": "bf16"})
    assert run(changed, reset_optimizer=True).summary().stages[-1].steps == 3
    before, *again = comparable(made)[len(comparable(finished)) :]
    assert [line["step"] for line in again] == [before["step"] + n for n in (1, 2, 3)]
    assert [line["lr"] for line in again] == [2e-4] * 3
    assert again[0]["tokens"] == before["tokens"] and again[0]["loss"] < before["loss"]  # the first packs once more


def test_a_loss_that_is_no_number_stops_the_run(blend: Path, tmp_path: Path) -> None:
    hot = Stage(name="hot", global_batch=4, lr=1e30, steps=9)
    with pytest.raises(GristmillError, match=r"step 2 \(hot\): the loss is no longer a number") as error:
        run(config(blend, tmp_path / "out", stages=[hot.model_dump()]))
    assert error.value.exit_status == 1 and "\n" not in str(error.value)
    listed = json.loads((tmp_path / "out/failed-step-2.json").read_text())
    assert listed and set(listed) <= {record.uuid for record in records(30)}
    assert len(read_metrics(tmp_path / "out" / "metrics.jsonl")) == 1


def test_a_full_disk_keeps_the_state_before(
    finished: SFTConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel refuses to write more than a megabyte to a file."""
    monkeypatch.setattr(train_module, "SAVE_SECONDS", 0.0)
    made = finished.model_copy(update={"out": tmp_path / "out", "stages": finished.stages[:1]})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(metrics: StepMetrics) -> None:
        if metrics.step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))

    try:
        with pytest.raises(GristmillError, match="state: can't be written, perhaps because the disk is full"):
            run(made, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    progress = load_progress(made.out / "state")
    assert progress is not None and progress.step == 2
    assert not list((made.out / "state").glob("*.new"))
    run(made)
    left, right = (one.out / "stages/token/model.safetensors" for one in (made, finished))
    assert left.read_bytes() == right.read_bytes()


def test_memory_that_runs_out_elsewhere_is_a_sentence(
    blend: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where the optimizer's moments are made, after the first pass."""

    def too_small(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(step_module.StageTrainer, "_update", too_small)
    short = Stage(name="short", global_batch=4, lr=1e-3, steps=1)
    made = config(blend, tmp_path / "out", stages=[short.model_dump()])
    (tmp_path / "sft.yaml").write_text(made.model_dump_json(exclude_none=True))
    assert main(["sft", str(tmp_path / "sft.yaml")]) == 1
    assert "gristmill: the device's memory is too small for the weights, gradients" in capsys.readouterr().err


def test_a_line_of_the_log_that_is_none_is_named(tmp_path: Path) -> None:
    line = '{"step":1,"stage":"s","loss":1,"mtp_loss":null,"tokens":1,"conversations":1,"lr":1,"grad_norm":1,'
    (tmp_path / "metrics.jsonl").write_text(line + '"tokens_per_s":1}\n' + line + "\n" + line)
    with pytest.raises(GristmillError, match=r"metrics\.jsonl, line 2: not a step of this training"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_small_forward_passes_give_the_same_steps(finished: SFTConfig, tmp_path: Path) -> None:
    stages = [finished.stages[0].model_copy(update={"micro_tokens": 80})]
    made = finished.model_copy(update={"out": tmp_path / "out", "stages": stages})
    run(made)
    for found, expected in zip(comparable(made), comparable(finished)[:5], strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
        assert found["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)


def test_a_device_that_is_too_small_is_a_sentence(blend: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_small(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(step_module, "batch_loss", too_small)
    short = Stage(name="short", global_batch=4, lr=1e-3, steps=2, micro_tokens=500)
    with pytest.raises(GristmillError, match=r"batch of \d+ x \d+ tokens; lower stages\.short\.micro_tokens \(500\)"):
        run(config(blend, tmp_path / "out", stages=[short.model_dump()]))


def test_the_command_does_not_import_torch() -> None:
    program = "import sys, sft.command; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def stage(**changes: Any) -> Stage:
    return Stage(**{"name": "s", "global_batch": 4, "lr": 1.0, "epochs": 3, **changes})


def test_each_epoch_sees_each_pack_once_in_another_order() -> None:
    plan = Plan(stage(), packs=10, seed=(0, 0))
    assert plan.steps == 9
    epochs = [[pack for step in range(3 * e, 3 * e + 3) for pack in plan.packs_of(step)] for e in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [len(plan.packs_of(step)) for step in range(4)] == [4, 4, 2, 4]
    assert plan.packs_of(0) == Plan(stage(), 10, (0, 0)).packs_of(0) != Plan(stage(), 10, (1, 0)).packs_of(0)


def test_steps_run_on_over_epochs() -> None:
    plan = Plan(stage(epochs=None, steps=5), packs=6, seed=(0, 0))
    assert plan.steps == 5 and [len(plan.packs_of(step)) for step in range(5)] == [4, 2, 4, 2, 4]


@pytest.mark.parametrize("unit", ["packs", "conversations"])
def test_learning_rates(unit: str) -> None:
    warm = Plan(stage(warmup={"count": 20, "unit": unit}), packs=10, seed=(0, 0))
    seen = [Cursor(n, 4 * n, 4 * n) for n in range(1, 8)]
    assert [warm.learning_rate(s) for s in seen] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])
    cosine = Plan(stage(schedule="cosine"), packs=10, seed=(0, 0))
    rates = [cosine.learning_rate(Cursor(n, 4 * n, 9)) for n in range(1, 10)]
    assert rates[0] == 1 and rates[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 8 / 9)))
    assert rates == sorted(rates, reverse=True)


def test_only_matrices_decay() -> None:
    model = load_model("tiny", Vocabulary(40, 1, 0), seed=0)[0]
    parameters = trained_parameters(model, stage())
    decayed, plain = new_optimizer(parameters).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))
    ends = {names[id(parameter)].rsplit(".", 1)[-1] for parameter in plain["params"]}
    assert ends == {"A_log", "D", "dt_bias", "bias", "weight"}
    assert all("norm" in names[id(p)] for p in plain["params"] if names[id(p)].endswith(".weight"))
    trained_parameters(model, stage(train="mtp"))
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"mtp"}


def test_a_trace_is_cut_inside_and_keeps_its_reply() -> None:
    answer = [5, 6, 7, 8, 2, 9, 9]
    cut = {tuple(cut_trace(answer, 2, np.random.default_rng(n))) for n in range(50)}
    assert cut == {(*answer[:budget], 2, 9, 9) for budget in (1, 2, 3)}
    assert cut_trace([5, 2, 9], 2, np.random.default_rng(0)) == [5, 2, 9]
    assert cut_trace([9, 9], 2, np.random.default_rng(0)) == [9, 9]


@pytest.fixture(scope="session")
def renderer(finished: SFTConfig) -> Renderer:
    return prepare(finished)[0]


def test_rollouts_answer_the_prompts_and_supervise_the_answers(
    finished: SFTConfig, renderer: Renderer, tmp_path: Path
) -> None:
    tokenizer = renderer.tokenizer
    model = load_model(str(finished.out / "stages" / "sample"), Vocabulary(tokenizer.vocab_size, 1, 0), 0)[0].eval()
    source = tmp_path / "prompts.parquet"
    made = records(4, first=50)
    pq.write_table(records_to_table(made), source)
    wanted = Rollouts(prompts=source, n=2, temperature=1.0, max_tokens=9)
    write_rollouts(model, wanted, renderer, tmp_path / "one", 128, (0, 2), WORLD, lambda *_: None)
    write_rollouts(model, wanted, renderer, tmp_path / "two", 128, (0, 2), WORLD, lambda *_: None)
    packs, again = PackFiles(tmp_path / "one"), PackFiles(tmp_path / "two")
    documents = [d for number in range(len(packs)) for d in packs.documents(number)]
    assert [d.input_ids.tolist() for n in range(len(again)) for d in again.documents(n)] == [
        d.input_ids.tolist() for d in documents
    ]
    assert sorted(d.uuid for d in documents) == sorted(2 * [record.uuid for record in made])
    for document in documents:
        record = next(r for r in made if r.uuid == document.uuid)
        prompt = renderer.prompt(record.model_copy(update={"messages": record.messages[:1]})).tolist()
        assert prompt_of(document) == prompt
        answer = document.input_ids[len(prompt) :].tolist()
        assert 1 <= len(answer) <= 9 and (len(answer) == 9 or answer[-1] == tokenizer.eos_id)
        assert document.loss_mask.tolist() == [0] * (len(prompt) - 1) + [1] * len(answer) + [0]
    assert len({tuple(d.input_ids.tolist()) for d in documents}) > 4  # two samples of a prompt differ


def test_prompts_that_cannot_be_read_are_counted(finished: SFTConfig, renderer: Renderer, tmp_path: Path) -> None:
    table = records_to_table(records(3))
    bad = pa.array(["{", "{}", "{}"])
    (tmp_path / "train").mkdir()
    place = table.schema.get_field_index("metadata")
    pq.write_table(table.set_column(place, table.schema.field(place), bad), tmp_path / "train/0.parquet")
    model = load_model("tiny", vocabulary_of(renderer.tokenizer), 0)[0].eval()
    wanted = Rollouts(prompts=tmp_path, max_tokens=3)
    write_rollouts(model, wanted, renderer, tmp_path / "out", 128, (0, 0), WORLD, lambda *_: None)
    found = read_rollouts(tmp_path / "out")
    assert found is not None and (found.prompts, found.unusable, found.sequences) == (3, 1, 2)


@pytest.mark.parametrize("length", [{"steps": 2}, {"epochs": 1}])
def test_answers_that_all_outgrow_a_pack_are_an_error(
    finished: SFTConfig, renderer: Renderer, tmp_path: Path, length: dict[str, int]
) -> None:
    """Rather than a stage that learns nothing."""
    longest = max(len(renderer.prompt(r.model_copy(update={"messages": r.messages[:1]}))) for r in records(30))
    heal = finished.stages[2].model_dump(exclude={"steps", "epochs"}) | length
    heal["data"]["pack_tokens"] = longest + 1
    heal["data"]["rollouts"]["max_tokens"] = 2 * longest
    made = config(finished.data.blend, tmp_path / "out", stages=[heal])
    with pytest.raises(ConfigError, match=r"data\.rollouts: none of the 30 answers fits, with its prompt"):
        run(made)


def test_a_prompt_file_with_a_bad_line_is_refused(finished: SFTConfig, renderer: Renderer, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"messages": 3}\n')
    wanted = Rollouts(prompts=tmp_path / "prompts.jsonl")
    with pytest.raises(ConfigError, match="line:1: no record"):
        write_rollouts(None, wanted, renderer, tmp_path / "out", 128, (0, 0), WORLD, lambda *_: None)


def no_thinking(folder: Path) -> Path:
    """A ChatML tokenizer that knows nothing of traces."""
    made = Tokenizer(BPE())
    made.pre_tokenizer, made.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    alphabet = sorted(ByteLevel.alphabet())
    trainer = BpeTrainer(special_tokens=["<|im_start|>", "<|im_end|>"], initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["text"], trainer)
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    return folder


def test_prompts_that_wont_do_are_found_before_training(finished: SFTConfig, tmp_path: Path) -> None:
    heal = finished.stages[2].model_dump()
    heal["data"]["rollouts"]["prompts"] = tmp_path / "nowhere"
    made = config(finished.data.blend, tmp_path / "out", stages=[finished.stages[0].model_dump(), heal])
    with pytest.raises(ConfigError, match=r"stages\.heal\.data\.rollouts\.prompts: .*nowhere is neither"):
        run(made)
    heal["data"]["rollouts"] = {"prompts": tmp_path / "prompts.jsonl", "truncate": 0.1}
    (tmp_path / "prompts.jsonl").write_text(records(1)[0].to_json() + "\n{\n")
    with pytest.raises(ConfigError, match="line:2"):
        run(made.model_copy(update={"stages": [made.stages[0], Stage(**heal)]}))
    chatml, spoken = Path(__file__).parent / "data/chatml.jinja", records(1)[0]
    (tmp_path / "prompts.jsonl").write_text(spoken.to_json() + "\n")
    without = no_thinking(tmp_path / "tokenizer")
    other = {"blend": str(finished.data.blend), "tokenizer": str(without), "template": str(chatml)}
    with pytest.raises(ConfigError, match="no token '</think>'"):
        run(config(finished.data.blend, tmp_path / "other", data=other, stages=[heal]))
    assert read_metrics(made.out / "metrics.jsonl") == []


def test_bf16_trains_fp32_masters_and_saves_bf16(blend: Path, tmp_path: Path) -> None:
    short = Stage(name="short", global_batch=4, lr=1e-3, steps=2)
    training = run(config(blend, tmp_path / "out", precision="bf16", stages=[short.model_dump()]))
    assert all(parameter.dtype == torch.float32 for parameter in training.model.parameters())
    assert {tensor.dtype for name, tensor in weights(training.config, "short").items() if "bias" not in name} == {
        torch.bfloat16
    }
    assert json.loads((tmp_path / "out" / "stages" / "short" / "config.json").read_text())["dtype"] == "bfloat16"
    losses = [line.loss for line in read_metrics(tmp_path / "out" / "metrics.jsonl")]
    assert all(loss is not None and 4 < loss < 7 for loss in losses)


def document(ids: list[int], mask: list[int]) -> Document:
    return Document("", np.array(ids, np.int32), np.array(mask, np.uint8))


def test_prompts_end_before_the_last_supervised_span() -> None:
    assert prompt_of(document([1, 2, 3, 4, 5], [0, 1, 1, 1, 0])) == [1, 2]
    assert prompt_of(document([1, 2, 3, 4, 5, 6, 7], [1, 1, 0, 0, 1, 1, 0])) == [1, 2, 3, 4, 5]


def test_unigram_entropy_of_the_targets() -> None:
    made = [document([9, 1, 1, 2], [1, 1, 1, 0]), document([9, 9, 3], [0, 1, 0])]  # targets 1 1 2 3
    assert unigram_entropy(made) == pytest.approx(1.5 * math.log(2))


@torch.no_grad()
def test_held_out_losses_are_means_over_tokens_and_conversations() -> None:
    model = load_model("tiny", Vocabulary(40, 1, 0), seed=0)[0]
    rng = np.random.default_rng(0)
    made = [document(rng.integers(0, 40, n).tolist(), [0] + [1] * (n - 2) + [0]) for n in (4, 30, 11, 7, 52)]
    sums = []
    for one in made:
        ids = torch.from_numpy(one.input_ids.astype(np.int64))
        losses = torch.nn.functional.cross_entropy(
            model(input_ids=ids[None]).logits[0, 1:-1], ids[2:], reduction="none"
        )
        sums.append((len(losses), losses.sum().item()))
    sums.sort()
    made = [one._replace(category="ab"[n % 2], reasoning="on") for n, one in enumerate(made)]
    found = held_out(model, made, 60, WORLD)
    assert found.by_reasoning == {}
    a, b = (held_out(model, [one for one in made if one.category == name], 60, WORLD) for name in "ab")
    assert found.by_category == pytest.approx({"a": a.per_token, "b": b.per_token}, rel=1e-5)
    assert found.by_category["a"] != pytest.approx(found.by_category["b"], rel=1e-3)
    assert (found.conversations, found.tokens) == (5, sum(n for n, _ in sums))
    assert found.per_token == pytest.approx(sum(s for _, s in sums) / found.tokens, rel=1e-5)
    assert found.per_conversation == pytest.approx(sum(s / n for n, s in sums) / 5, rel=1e-5)
    assert found.per_conversation_shortest_third == pytest.approx(sum(s / n for n, s in sums[:2]) / 2, rel=1e-5)
