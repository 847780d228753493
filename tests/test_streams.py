"""Streamed answers of reasoning teachers: put together whole, cut off where they loop, repeated where they break."""

import asyncio
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.errors import Reject, TaskFailed
from gristmill.llm import Network, Reply, Roles
from gristmill.llm.reply import parse_chat
from gristmill.llm.stream import StreamBroken, read_stream
from gristmill.testing import Dialect, Faults, FaultServer
from gristmill.testing.scripted import Script
from schemas import JsonObject, Message, user
from schemas.run_config import ModelConfig
from tests.runs import run, two_calls

WORDS = ["if", "so", "then", "but", "wait", "the", "sum", "of", "two", "primes", "is", "even", "odd", "we", "check"]


def trace(tokens: int, seed: int = 0) -> str:
    """A long train of thought of so many words that never repeats for long."""
    rng = random.Random(seed)
    return " ".join(f"{rng.choice(WORDS)} {rng.randrange(10**6)}" for _ in range(tokens // 2))


LONG = trace(30_000)


def thinker(role: str, asked: JsonObject) -> Message:
    return Message(role="assistant", content="The answer is 42.", reasoning_content=LONG)


async def send(server: FaultServer, count: int = 1, **config: Any) -> list[Any]:
    """Replies, or what was raised."""
    given = {"endpoint": server.url, "model": "m", "stream": True, "timeout": 60, **config}
    role, network = Roles({"default": ModelConfig.model_validate(given)})["default"], Network(patience=5)
    try:
        requests = (role.chat_request([user(f"question {number}")], [], None, {}) for number in range(count))
        asked = (network.send(role, "/chat/completions", request) for request in requests)
        return await asyncio.gather(*asked, return_exceptions=True)
    finally:
        await network.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", ["reasoning_content", "reasoning", "think"])
async def test_a_trace_of_30k_tokens_arrives_whole_from_every_place(place: Any, stream: bool) -> None:
    with FaultServer(script=thinker, dialect=Dialect(trace=place)) as server:
        (reply,) = await send(server, stream=stream)
    assert reply.message.reasoning_content == LONG and reply.text == "The answer is 42."
    assert reply.fault() is None
    assert reply.usage.output == len(LONG + reply.text) // 4 + 1
    assert reply.usage.reasoning > 0.99 * reply.usage.output, "all but the answer was thought"


async def test_a_stream_and_a_plain_reply_are_the_same() -> None:
    def script(role: str, asked: JsonObject) -> Any:
        return Message(role="assistant", content="né " * 5 + str(asked["messages"]), reasoning_content="so 😀 it is")

    with FaultServer(script=script) as server:
        streamed, plain = [await send(server, 5, stream=stream) for stream in (True, False)]
    for one, other in zip(streamed, plain, strict=True):
        assert (one.message, one.finish_reason, one.model) == (other.message, other.finish_reason, other.model)
        assert one.usage.output == other.usage.output > 0


@pytest.mark.parametrize(("fault", "tries"), [("cut", 2), ("error", 2), ("stall", 2)])
async def test_a_stream_that_breaks_in_the_middle_is_asked_again(fault: str, tries: int) -> None:
    class Once(FaultServer):
        def _draw(self, digest: str, attempt: int) -> str | None:
            return fault if attempt == 1 else None

    with Once(script=thinker) as server:
        replies = await send(server, 3, idle_timeout=0.5)
        assert [reply.message.reasoning_content == LONG for reply in replies] == [True] * 3
        assert server.requests == 3 * tries and server.met == {fault: 3}


@pytest.mark.parametrize("place", ["content", "reasoning_content"])
async def test_a_loop_is_cut_off_and_not_paid_for_to_its_end(place: str) -> None:
    """After a long and sound beginning; the server would go on for millions of tokens."""

    class Looping(FaultServer):
        def _draw(self, digest: str, attempt: int) -> str | None:
            return "loop"

    with Looping(script=lambda role, asked: Message(role="assistant", content=LONG)) as server:
        (reply,) = await send(server)
        assert reply.finish_reason == "loop" and server.requests == 1
        whole = len(LONG) // 4 + 1
        assert 1000 < reply.usage.output < 2 * whole, "what came is estimated, since the server doesn't tell"
        with pytest.raises(Reject, match="llm: loop"):
            reply.require_answer()


def always(text: str) -> Script:
    return lambda role, asked: text


async def test_long_honest_streams_are_never_cut() -> None:
    """Tables, code and lists repeat themselves, but never the same stretch over and over."""
    table = "\n".join(f"| {n} | {n * n % 97} | yes | no | maybe |" for n in range(3000))
    code = "\n".join(f"    assert f({n}) == {n * 3}  # checked" for n in range(3000))
    for text in (table, code, "\n".join(f"- item {n}" for n in range(5000))):
        with FaultServer(script=always(text)) as server:
            (reply,) = await send(server)
        assert reply.text == text.strip() or reply.text == text
        assert reply.fault() is None


@pytest.mark.parametrize(
    ("content", "finish", "fault"),
    [
        ("<think>\n" + LONG, "stop", "truncated"),
        ("<think>\n" + LONG, "length", "truncated"),
        (LONG, "length", "truncated"),
        ("", "stop", "no_answer"),
        ("  \n", "stop", "no_answer"),
        ("<think>done</think>", "stop", "no_answer"),
        ("done</think>\n\nYes.", "stop", None),
        ("Yes.", "stop", None),
        ("half", "content_filter", "content_filter"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_answer_is_known_in_both_ways(content: str, finish: str, fault: str, stream: bool) -> None:
    class Ending(FaultServer):
        def _answer(self, *arguments: Any) -> dict[str, Any]:
            body = super()._answer(*arguments)
            body["choices"][0]["finish_reason"] = finish
            return body

    with Ending(script=lambda role, asked: content) as server:
        (reply,) = await send(server, stream=stream)
        assert reply.fault() == fault and server.requests == 1, "such a reply is the result, not a fault to repeat"
        assert "think>" not in reply.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_kept_and_is_no_answer(stream: bool) -> None:
    class Refusing(FaultServer):
        def _answer(self, *arguments: Any) -> dict[str, Any]:
            body = super()._answer(*arguments)
            body["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
            return body

    sent = [
        {"choices": [{"delta": {"refusal": "I can't "}}]},
        {"choices": [{"delta": {"refusal": "help with that."}, "finish_reason": "stop"}]},
    ]
    if stream:
        reply = parse_chat(await joined(sent))
    else:
        with Refusing() as server:
            (reply,) = await send(server, stream=False)
    with pytest.raises(Reject, match=r"refused \(I can't help with that\.\)"):
        reply.require_answer()


def test_one_longer_retry_for_what_was_cut_off(tmp_path: Path) -> None:
    class Short(FaultServer):
        def _answer(self, asked: dict[str, Any], *rest: Any) -> dict[str, Any]:
            body = super()._answer(asked, *rest)
            if asked.get("max_tokens", 0) < 9000:
                body["choices"][0]["finish_reason"] = "length"
            return body

    with Short() as server:
        config = two_calls(tmp_path, server.url, 3, model={"max_tokens": 5000})
        assert run(config, tmp_path / "short")["by_reason"] == {"llm/truncated": 3} and server.requests == 3
        config["models"]["default"]["retry_longer"] = {"max_tokens": 9000}
        summary = run(config, tmp_path / "longer")
        assert summary["accepted"] == 3 and server.requests == 3 + 3 * 2 * 2
        assert summary["by_role"]["writer"]["truncated_share"] == 0.5
        config["models"]["default"]["retry_longer"] = {"max_tokens": 8000}
        assert run(config, tmp_path / "still")["by_reason"] == {"llm/truncated": 3}


def test_a_run_over_long_traces_with_every_fault_of_streams(tmp_path: Path) -> None:
    def script(role: str, asked: JsonObject) -> Any:
        return {"score": 4} if "response_format" in asked else thinker(role, asked)

    with FaultServer(Faults(cut=0.1, error=0.1, stall=0.05, loop=0.05, seed=2), script=script) as server:
        config = two_calls(tmp_path, server.url, 20, model={"stream": True, "idle_timeout": 2, "max_in_flight": 8})
        summary = run(config, tmp_path / "run")
    assert summary["accepted"] + summary["rejected"] == 20 and summary["failed"] == 0
    assert set(server.met) == {"cut", "error", "stall", "loop"}
    assert list(summary["by_reason"]) == ["llm/loop"] and summary["by_reason"]["llm/loop"] == server.met["loop"]
    assert server.requests == summary["calls"] + server.met.total() - server.met["loop"], "asked again: what broke"
    assert summary["by_role"]["writer"]["output_tokens"]["max"] > 30_000


# ---- pieces


async def joined(events: list[Any], end: bytes = b"data: [DONE]\n\n") -> dict[str, Any]:
    async def lines() -> Any:
        for event in events:
            yield b"data: " + orjson.dumps(event) + b"\n"
            yield b"\n"
        yield end

    return await read_stream(lines(), 400)


def text_event(text: str, finish: str | None = None) -> JsonObject:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


@given(arguments=st.text(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=6), second=st.booleans())
async def test_calls_streamed_in_pieces_are_put_together(arguments: str, cuts: list[int], second: bool) -> None:
    arguments = orjson.dumps({"query": arguments}).decode()
    places = sorted({0, *(cut for cut in cuts if cut < len(arguments)), len(arguments)})
    pieces = [arguments[a:b] for a, b in pairwise(places)]
    events: list[Any] = []
    for index in range(1 + second):
        start = {"index": index, "id": f"call_{index}", "function": {"name": "search", "arguments": ""}}
        events.append({"choices": [{"delta": {"tool_calls": [start]}}]})
        more = ({"index": index, "function": {"arguments": piece}} for piece in pieces)
        events += [{"choices": [{"delta": {"tool_calls": [call]}}]} for call in more]
    events.append({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    reply = parse_chat(await joined(events))
    assert [(call.id, call.function.name, call.function.arguments) for call in reply.message.tool_calls] == [
        (f"call_{index}", "search", arguments) for index in range(1 + second)
    ]
    assert reply.fault() is None and reply.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    "events",
    [
        [text_event("half of it")],
        [text_event("half"), {"error": {"message": "engine died"}}],
        [{"error": "engine died"}],
        [],
    ],
)
async def test_a_stream_without_its_end_is_broken(events: list[Any]) -> None:
    with pytest.raises(StreamBroken):
        await joined(events, end=b"")


async def test_odd_but_whole_streams() -> None:
    assert (await joined([text_event("a"), text_event("b", "stop")], end=b""))["choices"][0]["message"][
        "content"
    ] == "ab"
    done = await joined([text_event("never a finish_reason")])
    assert done["choices"][0]["finish_reason"] == "stop", "[DONE] says that it is whole"
    odd = [
        {"choices": []},
        {"choices": [{"delta": None}]},
        {"object": "ping"},
        text_event("x", "stop"),
        {"usage": None},
    ]
    reply = parse_chat(await joined(odd))
    assert reply.text == "x" and reply.usage.input == 100
    with pytest.raises(StreamBroken):
        await joined([[1, 2]])
    with pytest.raises(StreamBroken):
        await joined([{"choices": [{"delta": {"content": {"no": "text"}}}]}])


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": ["a", "list"]}}]},
        {"choices": [{"message": {"content": "x", "tool_calls": 5}}]},
        {"choices": [{"message": {"content": "x"}, "logprobs": ["?"]}]},
        {"choices": [{"message": {"content": "x"}}], "usage": "many"},
        {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": "many"}},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": 5},
        {"hello": "world"},
    ],
)
async def test_what_is_no_openai_response_fails_at_the_llm_boundary(body: JsonObject) -> None:
    class Odd(FaultServer):
        def _answer(self, *arguments: Any) -> Any:
            return body

    with Odd() as server:
        (result,) = await send(server, stream=False)
    assert isinstance(result, TaskFailed) and result.boundary == "llm", result
    assert "doesn't speak the OpenAI protocol" in str(result)


async def test_tokens_are_estimated_where_the_server_does_not_tell() -> None:
    """Else a budget would never be reached."""

    class Silent(FaultServer):
        def _answer(self, *arguments: Any) -> dict[str, Any]:
            return {**super()._answer(*arguments), "usage": None}

    with Silent(script=lambda role, asked: "word " * 400) as server:
        (reply,) = await send(server, stream=False)
    assert isinstance(reply, Reply) and reply.usage.input > 10 and 300 < reply.usage.output < 700
