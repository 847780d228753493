"""An agent that knows the walk of every riddle, and still has to find each of its facts by searching."""

from typing import Any

import orjson

from generators.search_riddles.agent import results_in
from generators.search_riddles.riddles import Riddle
from schemas import Function, JsonObject, Message, ToolCall, assistant

_TRIES = 3


class Oracle:
    """A script: searches for one fact after the other, and answers when it has seen a result for each of them."""

    def __init__(self, riddles: list[Riddle]) -> None:
        self._riddles = riddles

    def __call__(self, role: str, request: JsonObject) -> Any:
        messages: Any = request["messages"]
        riddle = self._riddles[asked(self._riddles, request)]
        if role == "normaliser":
            return {"answer": riddle.answer.label, "supporting_urls": []}
        if "tools" not in request:
            return "I can't say.\nFinal Answer: nobody knows"
        return self._next(riddle, [message for message in messages if message["role"] == "tool"])

    def _next(self, riddle: Riddle, results: list[Any]) -> Message:
        seen = [found.text for result in results for found in results_in(result["content"])]
        for fact, one, other in zip(riddle.facts, riddle.entities, riddle.entities[1:], strict=False):
            pair = ([one.label, *one.aliases], [other.label, *other.aliases])
            if any(all(text.first_of(names) for names in pair) for text in seen):
                continue
            queries = [f"{one.label} {other.label}", other.label, fact.text][:_TRIES]
            tried = {orjson.loads(result["content"])["query"] for result in results}
            left = [query for query in queries if query not in tried]
            if not left:
                return assistant("I give up.\nFinal Answer: nobody knows")
            return searching(left[0], f"call_{len(results)}")
        return assistant(
            f"All facts were found.\n\nFinal Answer: {riddle.answer.label}", reasoning="They fit together."
        )


def asked(riddles: list[Riddle], request: JsonObject) -> int:
    """Which of the riddles a request is about."""
    messages: Any = request["messages"]
    return next(n for n, one in enumerate(riddles) if any(one.question in message["content"] for message in messages))


def searching(query: str, identity: str = "call_0", name: str = "search") -> Message:
    arguments = orjson.dumps({"query": query, "max_results": 10}).decode()
    call = ToolCall(id=identity, function=Function(name=name, arguments=arguments))
    return assistant(reasoning=f"I look for {query}.", tool_calls=[call])
