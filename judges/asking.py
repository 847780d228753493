"""What all judges that ask a model share: a role, prompts, and several votes on one question.

A model writes its reason before its verdict, or the reason would only defend what is already said. Servers decode in
the order of the schema, so `reason` is the first field of every answer (tests/test_judges_models.py).

Votes are worth their price where they differ in something: the order of what is shown. Set `temperature: 0` for the
judge's role, and each vote is the model's own opinion of another arrangement, not a throw of the dice.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from gristmill import Config, Context, Judge, Reject
from gristmill.llm import Shape, answer_shape
from gristmill.prompts import PromptFolder
from schemas import Answer, user

A = TypeVar("A", bound=Answer)
T = TypeVar("T")

PROMPTS = PromptFolder(Path(__file__).parent / "prompts")
"""Judges' prompts, also for a generator that calls a judge's function: its own `ctx.prompt` knows only its own."""

_HEADING = re.compile(
    r"^(?=(?:(?:First|Second) answer|Answer(?: \d+)?|Question|Conversation|Instructions|Categories|Text|Thoughts|"
    r"What was asked|What the text answers \(not judged\)|A right answer, for comparison):[ \t]*$)",
    re.MULTILINE | re.IGNORECASE,
)
"""The headings of the prompts (tests/test_judges_models.py holds them together)."""

Reason = Annotated[str, Field(max_length=400)]


class ModelParams(Config):
    """`role` is the model that is asked; `votes` how often, each time with another arrangement."""

    role: str = "judge"
    votes: Annotated[int, Field(ge=1, le=32)] = 1


ModelParamsT = TypeVar("ModelParamsT", bound=ModelParams)


class ModelJudge(Judge[ModelParamsT]):
    """A judge that asks one role."""

    def roles(self) -> list[str]:
        return [self.params.role]


async def ask(ctx: Context, role: str, prompt: str, answer: type[A], **variables: Any) -> A:
    """`ctx.ask` with a prompt from `judges/prompts`."""
    return await ask_shape(ctx, role, prompt, answer_shape(answer), **variables)


async def ask_shape(ctx: Context, role: str, prompt: str, shape: Shape[T], **variables: Any) -> T:
    """The same for a shape that is made at run time."""
    shown = {name: as_text(value) for name, value in variables.items()}
    return await ctx.answer(role, [user(ctx.render(PROMPTS[prompt], shown))], shape)


def as_text(value: Any) -> Any:
    """A variable of a prompt, in which no line reads as a heading of the prompt: an answer can't end itself and begin
    another."""
    if isinstance(value, str):
        return _HEADING.sub(r"\\", value)
    return [as_text(one) for one in value] if isinstance(value, list) else value


async def collect(ctx: Context, votes: int, vote: Callable[[], Awaitable[T]]) -> list[T]:
    """The answers of `votes` voters at once; Reject where half of them or more gave none."""
    if votes == 1:
        return [await vote()]
    answers = await ctx.gather((vote() for _ in range(votes)), keep_rejects=True)
    given = [answer for answer in answers if not isinstance(answer, Reject)]
    if 2 * len(given) <= votes:
        raise next(answer for answer in answers if isinstance(answer, Reject))
    return given


def carried(votes: Sequence[bool], of: int) -> bool | None:
    """What more than half of all `of` voters say, also counting those who gave no answer; None where neither side."""
    if 2 * votes.count(True) > of:
        return True
    return False if 2 * votes.count(False) > of else None
