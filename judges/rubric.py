"""rubric: a model grades a record on a rubric's dimensions; below the bar it fails, without a verdict it is undecided.

A rubric is a YAML file under judges/rubrics/, or one of the user's own:

    name: text_to_sql/sql
    version: 1
    about: How good the query is as an answer to the request.
    scale: {min: 0, max: 4}
    min_score: 3                          # of the mean; the config's min_score goes first
    dimensions:
      - name: correctness
        question: Does the query return what was asked for, on any data of this schema?
        anchors: {0: it answers another question, 2: an edge case is wrong, 4: right in every case}
        at_least: 3

For each dimension the model writes its reason, then its score. With several votes each sees the dimensions, and the
references if there are several, in another order, and the scores are averaged.

Source: G-Eval, Liu et al. 2023 (arXiv 2303.16634); Nemotron 3 Super report (arXiv 2604.12374), five critics of SQL.
"""

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Self

import orjson
from pydantic import Field, model_validator

from gristmill import Config, Context, Record, Reject, Verdict
from gristmill.config import load_config
from gristmill.errors import ConfigError, did_you_mean
from gristmill.llm import object_shape
from judges.asking import PROMPTS, ModelJudge, ModelParams, as_text, collect
from judges.fields import FieldPath, lookup, read_out
from judges.logprobs import answer_with_logprobs, expected_scores
from schemas import JsonObject, content_hash, user

RUBRICS = Path(__file__).parent / "rubrics"

Grades = dict[str, tuple[float, str]]
"""Score and reason for each dimension."""


class Scale(Config):
    min: int = 0
    max: int = 4


class Dimension(Config):
    """One thing that is graded. `at_least` is a bar of its own, besides that on the mean."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    question: str
    anchors: Annotated[dict[int, str], Field(min_length=2)]
    at_least: float | None = None


class RubricFile(Config):
    """`shows` names what the model sees besides the conversation; see judges.fields."""

    name: str
    version: int
    about: str
    scale: Scale = Scale()
    min_score: float
    shows: list[FieldPath] = []
    dimensions: Annotated[list[Dimension], Field(min_length=1)]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        names = [dimension.name for dimension in self.dimensions]
        if len(set(names)) < len(names):
            raise ValueError("two dimensions have one name")
        for dimension in self.dimensions:
            outside = [score for score in dimension.anchors if not self.scale.min <= score <= self.scale.max]
            if outside:
                raise ValueError(f"the anchors of {dimension.name} leave the scale: {outside}")
        return self


class Params(ModelParams):
    """`rubric` is a name under judges/rubrics or the path of a YAML file; `criteria` is a rubric in one sentence.

    `min_score` is the lowest mean that passes, `at_least` maps dimensions to bars of their own; both go before the
    rubric's. `reference` names a field that holds a right answer, or several. With `logprobs` a score is the expected
    one, if the endpoint tells the probabilities of its tokens; else the sampled one.
    """

    rubric: str = "default"
    criteria: str | None = None
    min_score: float | None = None
    at_least: dict[str, float] = {}
    reference: FieldPath | None = None
    logprobs: bool = False


class Rubric(ModelJudge[Params]):
    name = "rubric"

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        rubric = by_criteria(params.criteria) if params.criteria else load_rubric(params.rubric)
        names = [dimension.name for dimension in rubric.dimensions]
        for name in params.at_least:
            if name not in names:
                hint = did_you_mean(name, names) or f" It has: {', '.join(names)}."
                raise ConfigError(f"judges.rubric.at_least: {rubric.name} has no dimension {name}.{hint}")
        self.rubric = rubric
        self._bar = rubric.min_score if params.min_score is None else params.min_score
        if not rubric.scale.min <= self._bar <= rubric.scale.max:
            raise ConfigError(f"judges.rubric.min_score: {rubric.name} has a scale of {_scale(rubric)}.")
        bars = {d.name: d.at_least for d in rubric.dimensions if d.at_least is not None}
        self._bars: dict[str, float] = {**bars, **params.at_least}
        self._shape = object_shape("Grades", {name: _grade_schema(rubric.scale) for name in names})
        self._dimensions = [_described(dimension) for dimension in rubric.dimensions]
        digest = content_hash([PROMPTS["rubric"].digest, rubric.model_dump(mode="json")])[:16]
        self._prompt = replace(PROMPTS["rubric"], name=f"rubric {rubric.name}@{rubric.version}", digest=digest)

    def files(self) -> list[Path]:
        return [Path(self.params.rubric)] if _is_path(self.params.rubric) and not self.params.criteria else []

    async def judge(self, record: Record, ctx: Context) -> Verdict:
        shown = {name: self._shown(record, name) for name in self.rubric.shows}
        references = self._references(record)
        given = await collect(ctx, self.params.votes, lambda: self._grade(record, shown, references, ctx))
        return self._verdict(given, ctx.model(self.params.role))

    def _shown(self, record: Record, name: str) -> str:
        value = lookup(record, name)
        if value in (None, ""):
            raise Reject("judge", "not_shown", f"the record has no {name}, which {self.rubric.name} needs")
        return value if isinstance(value, str) else orjson.dumps(value).decode()

    def _references(self, record: Record) -> list[str]:
        if self.params.reference is None:
            return []
        value = self._shown(record, self.params.reference)
        found = lookup(record, self.params.reference)
        return [str(one) for one in found] if isinstance(found, list) else [value]

    async def _grade(self, record: Record, shown: dict[str, str], references: list[str], ctx: Context) -> JsonObject:
        dimensions, references = list(self._dimensions), list(references)
        if self.params.votes > 1:
            ctx.rng.shuffle(dimensions)
            ctx.rng.shuffle(references)
        text = ctx.render(
            self._prompt,
            {
                "about": self.rubric.about,
                "scale": _scale(self.rubric),
                "dimensions": dimensions,
                "shown": shown,
                "references": as_text(references),
                "conversation": as_text(read_out(record.messages)),
            },
        )
        if not self.params.logprobs:
            return await ctx.answer(self.params.role, [user(text)], self._shape)
        reply, tokens = await answer_with_logprobs(ctx, self.params.role, [user(text)], self._shape)
        return _with_expected(reply, expected_scores(tokens, self.rubric.scale.min, self.rubric.scale.max))

    def _verdict(self, given: Sequence[JsonObject], model: str) -> Verdict:
        grades = _averaged(given)
        mean = round(fmean(score for score, _ in grades.values()), 4)
        low = [name for name, (score, _) in grades.items() if score < self._bars.get(name, self.rubric.scale.min)]
        passed = mean >= self._bar and not low
        worst = sorted(grades, key=lambda name: (name not in low, grades[name][0]))
        told = worst if passed else [name for name in worst if name in low or grades[name][0] < self._bar]
        parts = [
            Verdict(name=name, passed=score >= self._bars.get(name, self._bar), score=score, reason=reason, model=model)
            for name, (score, reason) in grades.items()
        ]
        reason = "; ".join(f"{name} {grades[name][0]:g}: {grades[name][1]}" for name in told[:3])
        return Verdict(name=self.name, passed=passed, score=mean, reason=reason, model=model, parts=parts)


def load_rubric(name: str) -> RubricFile:
    """The rubric of a file, or of a name such as `text_to_sql/sql`; ConfigError where there is none."""
    if _is_path(name):
        return load_config(name, [], RubricFile)
    path = RUBRICS / f"{name}.yaml"
    if not path.is_file():
        known = rubric_names()
        tails = {one.rsplit("/", 1)[-1]: one for one in known}
        guess = get_close_matches(name, known, n=1) or [tails[tail] for tail in get_close_matches(name, tails, n=1)]
        hint = f" Did you mean {guess[0]}?" if guess else f" Known: {', '.join(known)}; or the path of a YAML file."
        raise ConfigError(f"judges.rubric.rubric: no rubric is named {name!r}.{hint}")
    return load_config(path, [], RubricFile)


def rubric_names() -> list[str]:
    return sorted(path.relative_to(RUBRICS).with_suffix("").as_posix() for path in RUBRICS.rglob("*.yaml"))


def by_criteria(criteria: str) -> RubricFile:
    """A rubric of one dimension, graded from 1 to 5."""
    anchors = {
        5: "meets all criteria",
        4: "a small flaw that does no harm",
        3: "a flaw that a careful user would mind",
        2: "a serious flaw",
        1: "wrong or useless",
    }
    dimension = Dimension(name="quality", question=criteria, anchors=anchors)
    about = "Whether the assistant's last turn meets the criteria."
    return RubricFile(
        name="criteria", version=1, about=about, scale=Scale(min=1, max=5), min_score=4, dimensions=[dimension]
    )


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _scale(rubric: RubricFile) -> str:
    return f"{rubric.scale.min} to {rubric.scale.max}"


def _described(dimension: Dimension) -> str:
    anchors = [f"  {score} = {meaning}" for score, meaning in sorted(dimension.anchors.items(), reverse=True)]
    return "\n".join([f"{dimension.name}: {dimension.question}", *anchors])


def _grade_schema(scale: Scale) -> JsonObject:
    return {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "maxLength": 300},
            "score": {"type": "integer", "minimum": scale.min, "maximum": scale.max},
        },
        "required": ["reason", "score"],
        "additionalProperties": False,
    }


def _with_expected(reply: JsonObject, expected: Sequence[float | None]) -> JsonObject:
    """The grades with their expected scores, where there is one for each."""
    grades: dict[str, Any] = dict(reply)
    if len(expected) != len(grades):
        return reply
    return {
        name: grade if score is None else {**grade, "score": score}
        for (name, grade), score in zip(grades.items(), expected, strict=True)
    }


def _averaged(given: Sequence[JsonObject]) -> Grades:
    """The mean score per dimension, with the reason of the vote that is nearest to it."""
    grades: Grades = {}
    for name in given[0]:
        votes: list[Any] = [vote[name] for vote in given]
        mean = round(fmean(vote["score"] for vote in votes), 4)
        nearest = min(votes, key=lambda vote: abs(vote["score"] - mean))
        grades[name] = (mean, nearest["reason"])
    return grades
