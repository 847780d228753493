"""`gristmill evaluate CONFIG`: what a model gets right, before and after training, by the pipelines' own proofs.

Each exam is a file of records. A subject sees a record's conversation up to its last user turn and answers anew; the
answer is right where the exam's judges pass it (SQL is executed, tests are run, numbers compared, calls checked). Each
subject's exam is a run like any other, in OUT/runs/SUBJECT/EXAM: it resumes, and its replies are in its ledger.

    OUT/evaluation.json    per exam: right, of how many, with 95 % intervals, and the difference to the first subject
    OUT/held_out.json      with `held_out`: each checkpoint's losses, in all and by category, reasoning mode and source

A share's interval is Wilson's, which holds where none or all are right; a difference's is bootstrapped over questions,
of which each pairs both subjects' answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill import Context, Generator, Record, Reject
from gristmill.agreement import wilson
from gristmill.bench import make_judges
from gristmill.commands.generate import run_plan
from gristmill.commands.judge import records_in
from gristmill.config import validate
from gristmill.errors import ConfigError
from gristmill.llm import Roles
from gristmill.plan import Plan, code_digest, fingerprint
from gristmill.runs import RunFolder, write_atomically
from gristmill.seeds import BadSeed
from schemas import Config, Data, Json, JsonObject, Message, Seed, assistant
from schemas.evaluate_config import EvaluateConfig, Exam, Subject
from schemas.run_config import ModelConfig, RunConfig

ROLE = "subject"
CONFIDENCE = 0.95


class Question(Seed):
    record: Record


class Params(Config):
    category: str | None = None
    limit: int | None = None
    modes: bool = False  # whether the endpoint knows the template's modes


class Examinee(Generator[Question, Params]):
    """Answers records anew: the messages up to the last user turn, and a reply to them."""

    name = "evaluate"

    def tasks(self) -> Iterator[Question | BadSeed]:
        asked = list(self._questions())
        if self.params.limit is not None and len(asked) > self.params.limit:
            drawn = np.random.default_rng(self.seed).choice(len(asked), self.params.limit, replace=False)
            asked = [asked[number] for number in sorted(drawn.tolist())]
        return iter(asked)

    def _questions(self) -> Iterator[Question | BadSeed]:
        for found in records_in(record_files(Path(self.seeds or ""))):
            if isinstance(found, BadSeed):
                yield found
            elif self.params.category in (None, found.category):
                yield Question(record=found)

    async def run(self, seed: Question, ctx: Context) -> Record:
        record = seed.record
        last = max((i for i, message in enumerate(record.messages) if message.role == "user"), default=-1)
        if last < 0:
            raise Reject("exam", "no_question")
        asked = record.messages[: last + 1]
        options: dict[str, Any] = {}
        if self.params.modes:
            modes = {"enable_thinking": record.reasoning != "off", "low_effort": record.reasoning == "low"}
            options["chat_template_kwargs"] = modes
        reply = await ctx.chat(ROLE, asked, tools=record.tools, **options)
        metadata = {**record.metadata, "expected": expected(record.messages[last + 1 :])}
        # without a generator it counts as made here, so that its task is the exam's, as a reject's is
        fresh = {"messages": [*asked, reply.message], "metadata": metadata, "verdicts": [], "generator": ""}
        return record.model_copy(update=fresh)


def expected(following: Sequence[Message]) -> JsonObject:
    """What the record's own next turn says and calls, for judges that compare an answer with it."""
    turn = next((message for message in following if message.role == "assistant"), assistant())
    calls: list[Json] = [
        {"name": call.function.name, "arguments": _json(call.function.arguments)} for call in turn.tool_calls
    ]
    return {"content": turn.content, "calls": calls}


def _json(arguments: str) -> Json:
    """Those of a call that somebody else's record has got wrong stay text, which no valid call is equal to."""
    try:
        value: Json = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return arguments
    return value


def record_files(path: Path) -> list[Path]:
    """Of a blend the valid split, else the file itself; ConfigError where there is neither."""
    files = sorted((path / "valid").glob("*.parquet")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise ConfigError(f"exams: {path} is neither a file of records nor a blend with a valid split.")
    return files


class Score(Data):
    """`right` of `asked`, with the bounds of the share's 95 % interval; the same of the difference to the first subject
    (None for itself). `failed` questions have no answer that counts, and are not among those asked."""

    right: int
    asked: int
    failed: int
    share: float
    low: float
    high: float
    difference: tuple[float, float, float] | None  # and its bounds


Scores = dict[str, dict[str, Score]]  # by exam, then by subject


def evaluate(config: EvaluateConfig, quiet: bool = True) -> Scores:
    """Runs what is left to run; writes and returns the scores."""
    for exam in config.exams:
        record_files(exam.records)
    if config.held_out and not any((config.held_out / "valid").glob("*.parquet")):
        raise ConfigError(f"held_out: {config.held_out} is no blend with a valid split.")
    for subject in config.subjects:
        if subject.checkpoint and not (subject.checkpoint / "config.json").is_file():
            raise ConfigError(f"subjects.{subject.name}.checkpoint: {subject.checkpoint} is no model's folder.")
    answers: dict[str, dict[str, dict[str, bool | None]]] = {exam.name: {} for exam in config.exams}
    for subject in config.subjects:
        with ExitStack() as stack:
            model = subject.model or _checkpoint(subject, config.drafts, stack)
            for exam in config.exams:
                folder = RunFolder(config.out / "runs" / subject.name / exam.name)
                run_plan(exam_plan(config, subject, model, exam), folder, quiet=quiet)
                answers[exam.name][subject.name] = read_answers(folder)
    if config.held_out:
        from sft.heldout import losses_of

        named = {subject.name: subject.checkpoint for subject in config.subjects if subject.checkpoint}
        measured = {name: losses_of(checkpoint, config.held_out) for name, checkpoint in named.items()}
        _write(config.out / "held_out.json", measured)
    scores = {exam: score(by_subject, config.seed, config.resamples) for exam, by_subject in answers.items()}
    _write(config.out / "evaluation.json", scores)
    return scores


def _write(path: Path, told: Mapping[str, Any]) -> None:
    text = orjson.dumps(told, default=lambda data: data.model_dump(), option=orjson.OPT_INDENT_2).decode()
    write_atomically(path, text + "\n")


def _checkpoint(subject: Subject, drafts: int, stack: ExitStack) -> ModelConfig:
    """Its name has a hash of its files, so that no other checkpoint's replies are taken for its own."""
    from sft.serve import served

    assert subject.checkpoint is not None
    digest = sha256()
    for path in sorted(path for path in subject.checkpoint.iterdir() if path.is_file()):
        with path.open("rb") as file:
            digest.update(file_digest(file, "sha256").digest())
    name = f"{subject.name}-{digest.hexdigest()[:16]}"
    return ModelConfig(
        endpoint=stack.enter_context(served(subject.checkpoint, drafts=drafts)), model=name, stream=False
    )


def exam_plan(config: EvaluateConfig, subject: Subject, model: ModelConfig, exam: Exam) -> Plan:
    """The run of one subject's exam."""
    sampled = model.model_copy(
        update={
            "temperature": config.temperature if model.temperature is None else model.temperature,
            "max_tokens": model.max_tokens or config.max_tokens,
        }
    )
    params = Params(category=exam.category, limit=exam.limit, modes=subject.checkpoint is not None)
    content = {
        "generator": Examinee.name,
        "models": {**config.models, ROLE: sampled},
        "judges": exam.judges,
        "params": params.model_dump(),
        "seed": config.seed,
        "max_failed": 1.0,
    }
    run = validate(content, RunConfig, f"exams.{exam.name}")
    generator = Examinee(params, seed=config.seed, seeds=str(exam.records))
    roles = Roles(run.models)
    judges = make_judges(run, roles, generating=False)
    code = code_digest(generator, judges)
    inputs = [*record_files(exam.records), *(file for named in judges for file in named.files())]
    return Plan(run, generator, judges, roles, fingerprint(run, inputs, code), code)


def read_answers(folder: RunFolder) -> dict[str, bool | None]:
    """Whether each question's answer was right, by task id; None for one that failed (an unreadable row, a judge or an
    endpoint that broke). One that was cut off or empty is a wrong one."""
    found: dict[str, bool | None] = {}
    for path in sorted(folder.rejects.glob("*.parquet")):
        for row in pq.read_table(path, columns=["task_id", "status"]).to_pylist():
            found[row["task_id"]] = False if row["status"] == "rejected" else None
    for path in sorted(folder.records.glob("*.parquet")):
        found |= dict.fromkeys(pq.read_table(path, columns=["task_id"])["task_id"].to_pylist(), True)
    return found


def score(answers: Mapping[str, Mapping[str, bool | None]], seed: int, resamples: int) -> dict[str, Score]:
    """Of each subject, the first one being what the others are compared with."""
    counted = {
        name: {task: right for task, right in all_of_it.items() if right is not None}
        for name, all_of_it in answers.items()
    }
    first, *_ = counted.values()
    scores: dict[str, Score] = {}
    for name, given in counted.items():
        values = np.array(list(given.values()), np.float64)
        low, high = wilson(values.sum(), len(values)) if len(values) else (0.0, 0.0)
        both = [task for task in given if task in first]
        apart = np.array([float(given[task]) - float(first[task]) for task in both], np.float64)
        scores[name] = Score(
            right=int(values.sum()),
            asked=len(values),
            failed=len(answers[name]) - len(given),
            share=float(values.mean()) if len(values) else 0.0,
            low=low,
            high=high,
            difference=None if given is first or not both else (float(apart.mean()), *interval(apart, seed, resamples)),
        )
    return scores


def interval(values: NDArray[np.float64], seed: int, resamples: int) -> tuple[float, float]:
    """The bounds of the mean's interval, by the percentiles of resampled means."""
    rng = np.random.default_rng(seed)
    means = np.array([rng.choice(values, len(values)).mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
