"""template: a pipeline written in YAML alone, and the smallest example of a generator.

Record:  user       "What did Ada Lovelace publish in 1843?"          (a step's answer)
         assistant  "In 1843 she published notes on the Analytical Engine ..."   (a field of the seed)

Each seed row is a task. The steps run in order; each is one prompt to one role and gives a text, or with `schema` an
object. `keep_if` decides by what the steps gave, and `messages` says how the record reads.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any

from jinja2 import TemplateError, TemplateRuntimeError, nodes
from pydantic import ConfigDict, Field
from pydantic_core import PydanticSerializationError, to_json

from gristmill import Context, Generator, Reject
from gristmill.errors import ConfigError, TaskFailed
from gristmill.llm import Shape, object_shape
from gristmill.prompts import Prompt, environment
from gristmill.seeds import BadSeed, read_rows
from schemas import Config, Json, JsonObject, Message, Record, Seed, user
from schemas.messages import MessageRole


class Step(Config):
    """One model call. `schema` maps each property of the answer to its JSON schema; all are required."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]
    role: str
    prompt: str
    properties: Annotated[JsonObject | None, Field(alias="schema")] = None


class Turn(Config):
    role: MessageRole
    content: str


class Params(Config):
    steps: list[Step] = []
    keep_if: str = ""
    category: str = ""
    messages: Annotated[list[Turn], Field(min_length=1)]


class Row(Seed):
    """A seed row with whatever fields the file has."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Template(Generator[Row, Params]):
    name = "template"

    def __init__(self, params: Params, *, seed: int = 0, seeds: str | None = None) -> None:
        super().__init__(params, seed=seed, seeds=seeds)
        if seeds is None:
            raise ConfigError("seeds: the template generator needs a seeds file; each of its rows is a task.")
        self._step_prompts = [Prompt.compile(f"steps.{step.name}", step.prompt) for step in params.steps]
        self._turns = [Prompt.compile(f"messages.{n}", turn.content) for n, turn in enumerate(params.messages)]
        self._category = Prompt.compile("category", params.category)
        self._keeps = keep_condition(params.keep_if)

    @cached_property
    def _shapes(self) -> list[Shape[JsonObject] | None]:
        return [object_shape(s.name, s.properties) if s.properties is not None else None for s in self.params.steps]

    def tasks(self) -> Iterator[Row | BadSeed]:
        for where, row in read_rows(self.seeds or ""):
            yield row if isinstance(row, BadSeed) else _task(where, row)

    async def run(self, seed: Row, ctx: Context) -> Record:
        row = seed.model_dump(mode="json")
        given: dict[str, Any] = dict(row)
        for step, prompt, shape in zip(self.params.steps, self._step_prompts, self._shapes, strict=True):
            asked = [user(ctx.render(prompt, _pick(prompt, given)))]
            given[step.name] = (
                (await ctx.chat(step.role, asked)).text if shape is None else await ctx.answer(step.role, asked, shape)
            )
        if not self._keeps(given):
            raise Reject(
                "keep_if", "not_kept", self.params.keep_if, steps={s.name: given[s.name] for s in self.params.steps}
            )
        turns = zip(self.params.messages, self._turns, strict=True)
        return Record(
            messages=[Message(role=turn.role, content=ctx.render(p, _pick(p, given))) for turn, p in turns],
            category=ctx.render(self._category, _pick(self._category, given)),
            metadata={"seed": row, **self._structured(given)},
        )

    def _structured(self, given: dict[str, Any]) -> dict[str, Json]:
        """The objects that steps gave: verdicts and labels are worth keeping, texts are in the messages already."""
        return {step.name: given[step.name] for step in self.params.steps if step.properties is not None}


def _task(where: str, row: dict[str, Any]) -> Row | BadSeed:
    """A row as a task, unless a column of it holds what no text can say, as one of pictures does."""
    try:
        to_json(row)
    except (PydanticSerializationError, UnicodeDecodeError):
        return BadSeed(where, "holds bytes that are no UTF-8 text")
    return Row.model_validate(row)


def _pick(prompt: Prompt, given: dict[str, Any]) -> dict[str, Any]:
    """Only what the prompt names: a seed row may hold more than a prompt needs."""
    missing = prompt.variables - given.keys()
    if missing:
        names = ", ".join(sorted(missing))
        raise TaskFailed("seed", f"{prompt.name} asks for {names}: neither the row nor an earlier step has it")
    return {name: given[name] for name in prompt.variables}


def keep_condition(expression: str) -> Any:
    """A predicate over what the steps gave. The expression is Jinja's, in the sandbox, and may not call anything."""
    if not expression.strip():
        return lambda given: True
    try:
        tree = environment.parse("{{ " + expression + " }}")
        if any(tree.find_all((nodes.Call, nodes.CallBlock))):
            raise ConfigError(
                f"params.keep_if: {expression!r} calls something; only comparisons and filters are allowed."
            )
        evaluate = environment.compile_expression(expression, undefined_to_none=False)
    except TemplateError as error:
        raise ConfigError(f"params.keep_if: {expression!r} is no valid expression: {error}.") from None

    def keeps(given: dict[str, Any]) -> bool:
        try:
            return bool(evaluate(given))
        except TemplateRuntimeError as error:
            raise TaskFailed("seed", f"keep_if: {error}") from None
        except TypeError as error:
            raise TaskFailed("seed", f"keep_if compares what can't be compared: {error}") from None

    return keeps
