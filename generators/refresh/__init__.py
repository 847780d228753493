"""Refresh: any prompts, answered anew by a teacher, and kept only where the answer is shown to be right.

Record:  user       "A tank holds 36 L and is 5/8 full. How many litres are missing? End with `Answer: ...`."
         assistant  "... 36 × 3/8 = 13.5 ... Answer: 13.5"                  reasoning_content: the teacher's own trace
         metadata   {"check": "reference", "reference": ["13.5"], "solve_rate": 0.75, "attempts": 4, ...}

Each prompt is asked `samples` times. What the prompt carries decides how its answers are checked (checks.py): a
reference, options, tests, constraints; with none of them a vote where the answers end in a claim, else the judges of
the config. Of the right ones the shortest or the best is kept. With `turns` a user model asks on; with `mode:
bootstrap` the seeds are models for new multiple-choice questions.

The record's messages are what the teacher saw, and its answer. A teacher whose role asks for low effort gives records
with `reasoning: low`.

Source: Nemotron 3 Super report (arXiv 2604.12374): prompts of maths, code, science and chat refreshed with new
teachers; low-effort samples.
"""

from collections import deque
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from generators.refresh.attempts import Attempt, expected_language
from generators.refresh.bootstrap import Bootstrap, Known, new_prompt, read_against, require_key, stem
from generators.refresh.checks import Checks, Kind, check_attempts, code_metadata
from generators.refresh.choosing import Choosing, choose, require_rate, require_right, solve_rate
from generators.refresh.dialogue import go_on
from generators.refresh.prompt import Cut, Example, Prompt, read_prompt
from generators.refresh.sampling import sample
from gristmill import Config, Context, Generator, Record
from gristmill.config import require_file
from gristmill.seeds import BadSeed, read_rows
from gristmill.text.language_id import known_languages
from judges.maths import math_verify
from schemas import JsonObject

_CARRIED = ("reference", "choices", "constraints", "code")
_NEIGHBOURS = 2
"""Further examples that a writer of new questions sees."""


class Params(Config):
    """`samples` answers per prompt; `turns` assistant turns in all; `fields` maps our columns to yours (`{prompt:
    ask}`); `cut: first` drops the turns after a conversation's first question. A prompt without a category gets
    `category`."""

    mode: Literal["answer", "bootstrap"] = "answer"
    samples: Annotated[int, Field(ge=1, le=256)] = 4
    turns: Annotated[int, Field(ge=1, le=32)] = 1
    checks: Checks = Checks()
    choose: Choosing = Choosing()
    bootstrap: Bootstrap = Bootstrap()
    fields: dict[str, str] = {}
    cut: Cut = "last"
    category: str = ""
    same_language: bool = True


class Refresh(Generator[Prompt, Params]):
    name = "refresh"
    version = "1"

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        math_verify()  # where the extra is missing, these say so before the run begins
        known_languages()
        for path in params.bootstrap.against:
            require_file(path, "params.bootstrap.against")

    def files(self) -> list[Path]:
        return list(self.params.bootstrap.against)

    @cached_property
    def personas(self) -> list[str]:
        found: list[str] = yaml.safe_load((self.folder() / "personas.yaml").read_text("utf-8"))
        return found

    @cached_property
    def _known(self) -> Known:
        stems = (stem(one) for one in self._prompts() if isinstance(one, Prompt))
        return Known([*stems, *read_against(self.params.bootstrap.against)])

    def _prompts(self) -> Iterator[Prompt | BadSeed]:
        location = self.seeds or str(self.folder() / "prompts.jsonl")
        for where, row in read_rows(location):
            yield row if isinstance(row, BadSeed) else read_prompt(where, row, self.params.fields, self.params.cut)

    def tasks(self) -> Iterator[Prompt | BadSeed]:
        return self._prompts() if self.params.mode == "answer" else self._new_questions()

    def _new_questions(self) -> Iterator[Prompt | BadSeed]:
        """`per_seed` tasks for each multiple-choice seed; beside it the last ones of its category."""
        before: dict[str, deque[Example]] = {}
        for prompt in self._prompts():
            if isinstance(prompt, BadSeed):
                yield prompt
            elif prompt.choices:
                near = before.setdefault(prompt.category, deque(maxlen=_NEIGHBOURS))
                for number in range(self.params.bootstrap.per_seed):
                    yield prompt.model_copy(update={"number": number, "examples": list(near)})
                near.append(Example(question=stem(prompt), choices=prompt.choices))

    async def run(self, seed: Prompt, ctx: Context) -> list[Record]:
        params, prompt = self.params, seed
        if params.mode == "bootstrap":
            prompt = await new_prompt(ctx, seed, params.bootstrap, self._known)
        language = expected_language(prompt) if params.same_language else ""
        attempts = await sample(ctx, prompt, params.samples, language, params.choose)
        kind = await check_attempts(ctx, prompt, attempts, params.checks)
        require_right(attempts)
        if params.mode == "bootstrap":
            require_key(solve_rate(attempts))
        if kind != "open":
            require_rate(solve_rate(attempts), params.choose)
        chosen = await choose(ctx, prompt.messages, attempts, params.choose)
        return await ctx.gather(self._record(ctx, prompt, one, attempts, kind) for one in chosen)

    async def _record(
        self, ctx: Context, prompt: Prompt, chosen: Attempt, attempts: list[Attempt], kind: Kind
    ) -> Record:
        params, metadata = self.params, _metadata(prompt, chosen, attempts, kind)
        messages, verdicts = [*prompt.messages, *([chosen.message] if chosen.message else [])], chosen.verdicts
        if params.turns > 1 and not messages[-1].tool_calls:
            persona = prompt.persona or ctx.rng.choice(self.personas)
            told = await go_on(
                ctx, messages, prompt.tools, persona, params.turns - 1, params.samples,
                params.checks, params.choose, params.same_language,
            )  # fmt: skip
            if len(told.messages) > len(messages):
                metadata = _of_first_turn(metadata)
            messages, verdicts = told.messages, [*verdicts, *told.verdicts]
            metadata |= {"persona": persona, "ended": told.ended}
        record = Record(
            messages=messages, tools=prompt.tools, category=prompt.category or params.category, license=prompt.license,
            metadata=metadata, verdicts=verdicts,
        )  # fmt: skip
        if ctx.effort("teacher") == "low":
            record.reasoning = "low"
        return record


def _of_first_turn(metadata: JsonObject) -> JsonObject:
    """What the prompt carried is about the first answer: no judge may hold the last one against it."""
    carried = {name: metadata[name] for name in _CARRIED if name in metadata}
    rest = {name: value for name, value in metadata.items() if name not in carried}
    return {**rest, "first_turn": carried} if carried else rest


def _metadata(prompt: Prompt, chosen: Attempt, attempts: list[Attempt], kind: Kind) -> JsonObject:
    """What the prompt carried, so that the judges can check the record again, and how the attempts went."""
    faults: dict[str, int] = {}
    for one in attempts:
        if one.fault:
            name = f"{one.fault.stage}/{one.fault.reason}"
            faults[name] = faults.get(name, 0) + 1
    found: JsonObject = {
        "check": kind, "id": prompt.id, "claim": chosen.claim, "attempts": len(attempts),
        "solve_rate": round(solve_rate(attempts), 4) if kind != "open" else "", "faults": dict(sorted(faults.items())),
        "reference": list(prompt.reference), "choices": list(prompt.choices),
        "constraints": [*prompt.constraints],
    }  # fmt: skip
    if prompt.tests:
        found["code"] = code_metadata(prompt, chosen.text)
    return {name: value for name, value in found.items() if value not in ("", [], {})}
