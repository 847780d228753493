"""Roll-outs of an agent that searches, and which of them becomes the record.

    system     "You answer questions that take several searches. ..."
    user       "Which tongue has official status in a land that ...?"
    assistant  search({"query": "..."})            reasoning_content: its own
    tool       {"query": "...", "results": [{"url": "...", "title": "...", "content": "..."}]}
    assistant  "... Final Answer: Portuguese"

Each roll-out sees these two messages and the tools, nothing else. Of those that come to the right answer, and whose
results hold it, the one with the fewest calls is kept. Reasons for which one is lost:

    llm        truncated, loop, no_answer, text_protocol ...       by the runtime
    assistant  too_many_calls, too_many_steps, loop ...            by gristmill.tools.simulation
    tools      unknown_tool, missing_argument, wrong_type ...      a call that breaks its schema
    tool       tool_error, server_lost                             the tool failed
    agent      no_final_answer, wrong, no_search, guessed          (guessed: no result has the answer's name)

Source: Nemotron 3 Super report (arXiv 2604.12374), search: up to 25 calls, the correct roll-out with fewest calls.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import orjson
from pydantic import Field

from generators.search_riddles.names import Text, tokens
from generators.search_riddles.riddles import FIRST, Named, Riddle
from gristmill import Answer, Config, Context, Reject
from gristmill.errors import Fault
from gristmill.tools.mcp import McpServer
from gristmill.tools.simulation import Environment, Limits, assistant_turn
from judges.equivalence import equivalent
from schemas import Function, JsonObject, Message, Tool, ToolCall, user

_FINAL = re.compile(r"^[\s*_#>`]*final answer[\s*_`]*:[\s*_`]*(.*?)[\s*_`.]*$", re.IGNORECASE | re.MULTILINE)
_ARTICLES = {"the", "a", "an"}
_URL = re.compile(r"https?://[^\s\"'<>\\)\]]+")


class AgentLimits(Config):
    """`rollouts` of each riddle, `calls` in one, characters of a result that the agent gets to see."""

    rollouts: Annotated[int, Field(ge=1, le=64)] = 4
    calls: Annotated[int, Field(ge=1, le=200)] = 25
    result_characters: Annotated[int, Field(ge=200)] = 8000
    tokens: Annotated[int, Field(ge=1)] = 131072

    def limits(self) -> Limits:
        return Limits(
            steps=self.calls + 1, calls=self.calls, result=self.result_characters + 200, tokens=self.tokens, beside=4000
        )


@dataclass(slots=True)
class Rollout:
    """`messages` after the question; a rollout without a fault is right."""

    messages: list[Message]
    answer: str = ""
    fault: Fault | None = None

    @property
    def calls(self) -> int:
        return sum(len(message.tool_calls) for message in self.messages)

    @property
    def results(self) -> list[Message]:
        return [message for message in self.messages if message.role == "tool"]

    def told(self) -> JsonObject:
        """For metadata and rejects."""
        fault = f"{self.fault.stage}/{self.fault.reason}" if self.fault else ""
        return {"calls": self.calls, "answer": self.answer, "fault": fault}


class McpSearch:
    """An MCP server's tools. What a result holds is data: cut to its length, kept as JSON, never obeyed."""

    def __init__(self, server: McpServer, characters: int) -> None:
        self._server, self._characters = server, characters

    @property
    def tools(self) -> list[Tool]:
        return self._server.tools

    async def call(self, call: ToolCall, ctx: Context) -> str:
        result = await self._server.call(ctx, call.function.name, orjson.loads(call.function.arguments))
        if result.is_error:
            raise Reject("tool", "tool_error", result.text[:300])
        return as_json(result.text, self._characters, result.cut)


def as_json(text: str, most: int, cut: int = 0) -> str:
    """A tool turn's content: JSON as it is, several values as a list, anything else (or too long) as {"text": ...}."""
    if len(text) > most or cut:
        return orjson.dumps({"text": text[:most], "cut": cut + max(0, len(text) - most)}).decode()
    values = _json_values(text)
    if len(values) == 1:
        return text
    return orjson.dumps(values or {"text": text}).decode()


def _json_values(text: str) -> list[Any]:
    """The JSON values that a text consists of, as the blocks of a result make one; none where it is something else."""
    values, decoder, rest = [], json.JSONDecoder(), text.strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except json.JSONDecodeError:
            return []
        values.append(value)
        rest = rest[end:].lstrip()
    return values


async def rollout(
    ctx: Context, asked: list[Message], riddle: Riddle, environment: Environment, limits: AgentLimits, judge: str | None
) -> Rollout:
    """One attempt with tools; what went wrong is its fault."""
    try:
        turn = await assistant_turn(asked, environment, ctx, limits.limits())
    except Reject as reject:
        messages = [Message.model_validate(one) for one in reject.payload.get("messages", [])[len(asked) :]]
        return Rollout(messages, fault=Fault.of(reject))
    made = Rollout(turn.messages, final_answer(turn.messages[-1].content))
    made.fault = await _fault(ctx, made, riddle, judge)
    return made


async def _fault(ctx: Context, made: Rollout, riddle: Riddle, judge: str | None) -> Fault | None:
    if not made.answer:
        return Fault("agent", "no_final_answer", made.messages[-1].content[-200:])
    if not await is_right(ctx, made.answer, riddle, judge):
        return Fault("agent", "wrong", made.answer[:200])
    if not made.results:
        return Fault("agent", "no_search")
    if not any(Text(result.content).first_of(_names(riddle.answers)) for result in made.results):
        return Fault("agent", "guessed", made.answer[:200])
    return None


async def found_at_once(ctx: Context, environment: Environment, riddle: Riddle) -> bool:
    """Whether a search for the question's own text finds the answer's page: then it takes no second one."""
    for offered in environment.tools:
        properties = offered.function.parameters.get("properties")
        if isinstance(properties, dict) and "query" in properties:
            size = {"max_results": FIRST} if "max_results" in properties else {}
            arguments = orjson.dumps({"query": riddle.question, **size}).decode()
            call = ToolCall(id="one_search", function=Function(name=offered.function.name, arguments=arguments))
            results = list(results_in(await environment.call(call, ctx)))[:FIRST]
            return any(matches(result.title, _names(riddle.answers)) for result in results)
    return False


async def is_right(ctx: Context, answer: str, riddle: Riddle, judge: str | None) -> bool:
    """Whether an answer names one of the right entities: by label or alias, else by a judge where there is one."""
    if matches(answer, _names(riddle.answers)):
        return True
    if judge is None or not answer:
        return False
    labels = [one.label for one in riddle.answers]
    return (await equivalent(ctx, answer, labels, role=judge, question=riddle.question)).same


def matches(answer: str, names: Sequence[str]) -> bool:
    """Without case, accents, punctuation and articles; "Porto, Portugal" and "Porto (city)" say Porto."""
    said = {_plain(answer), _plain(re.split(r"[,(;]| - | – ", answer, maxsplit=1)[0])}
    return any(_plain(name) in said for name in names if _plain(name))


def _plain(text: str) -> tuple[str, ...]:
    return tuple(token for token in tokens(text) if token not in _ARTICLES) or tuple(text.split())


def _names(entities: Sequence[Named]) -> list[str]:
    return [name for one in entities for name in (one.label, *one.aliases)]


def final_answer(text: str) -> str:
    """What the last line `Final Answer: ...` says; "" where there is none."""
    found = _FINAL.findall(text)
    return found[-1].strip() if found else ""


def best(rollouts: Sequence[Rollout], payload: JsonObject) -> Rollout:
    """The right one with the fewest calls, then the shortest; Reject with the commonest fault where none is right."""
    right = [one for one in rollouts if one.fault is None]
    if right:
        return min(right, key=lambda one: (one.calls, sum(len(message.content) for message in one.messages)))
    faults = Counter(one.fault for one in rollouts if one.fault)
    commonest = max(faults, key=lambda fault: sum(n for f, n in faults.items() if f[:2] == fault[:2]))
    raise Reject(commonest.stage, commonest.reason, commonest.detail, **payload)


class Support(NamedTuple):
    """Where a fact of the walk was read: the address of a result that names both of its entities."""

    fact: str
    url: str


def supports(made: Rollout, riddle: Riddle) -> list[Support]:
    """For each fact of the walk a result that names both of its entities, if there is one: rather a page about one."""
    results = [result for message in made.results for result in results_in(message.content)]
    found = []
    for fact, one, other in zip(riddle.facts, riddle.entities, riddle.entities[1:], strict=False):
        pair = _names([one]), _names([other])
        telling = [result for result in results if all(result.text.first_of(names) for names in pair)]
        about = [result for result in telling if matches(result.title, [*pair[0], *pair[1]])]
        if telling:
            found.append(Support(fact.text, (about or telling)[0].url))
    return found


class Result(NamedTuple):
    """One hit of a search."""

    url: str
    title: str
    text: Text


def results_in(content: str) -> Iterator[Result]:
    """Every result in a tool's answer: objects with a `url`, else the addresses in the text."""
    try:
        objects = list(_objects(orjson.loads(content)))
    except orjson.JSONDecodeError:
        objects = []
    for one in objects:
        told = " ".join(value for value in one.values() if isinstance(value, str))
        yield Result(one["url"], str(one.get("title") or ""), Text(told))
    if not objects:
        for url in dict.fromkeys(_URL.findall(content)):
            yield Result(url, "", Text(content))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("url"), str):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _objects(part)


class Structured(Answer):
    """The final answer as data."""

    answer: Annotated[str, Field(max_length=200)]
    supporting_urls: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=12)]


async def structured(ctx: Context, said: str, found: list[Support], riddle: Riddle) -> Structured:
    """The normalised answer, by the role `normaliser`; Reject where it says something else than the agent did."""
    urls = list(dict.fromkeys(support.url for support in found))
    given = await ctx.ask("normaliser", "normalise", Structured, question=riddle.question, said=said, urls=urls)
    if not matches(given.answer, _names(riddle.answers)):
        raise Reject("structured", "other_answer", given.answer)
    if unknown := [url for url in given.supporting_urls if url not in urls]:
        raise Reject("structured", "unknown_url", unknown[0])
    return given


async def closed_book(ctx: Context, riddle: Riddle, attempts: int, judge: str | None) -> float | None:
    """The share of attempts that are right without any search: how much of the riddle the model knows."""
    if not attempts:
        return None

    async def attempt() -> bool:
        reply = await ctx.chat("assistant", [user(ctx.prompt("closed_book", question=riddle.question))])
        return await is_right(ctx, final_answer(reply.message.content), riddle, judge)

    right = await ctx.gather((attempt() for _ in range(attempts)), keep_rejects=True)
    return round(sum(one is True for one in right) / attempts, 4)
