"""In which form an endpoint takes a request: how it is told the JSON schema of the answer, and a few names.

The canonical request (which the ledger's key is made of) always carries `response_format: json_schema`. Endpoints that
don't know it get the schema in one of the other forms below. Which one is found out by asking: a 400 that speaks of
the form, or a first answer that plainly doesn't follow it, moves the endpoint on to the next; that is remembered per
model as long as the process lives. Many calls may be out at once in a form that turns out to be wrong: each is compared
with what it was sent as, so they move the endpoint on by one place together. Whatever the form, the answer is checked
by `gristmill.llm.structured`.
"""

from collections import Counter
from typing import Any, Literal, NamedTuple

import orjson

from gristmill.llm.reply import split_think
from gristmill.llm.structured import json_text
from schemas import JsonObject

Form = Literal["json_schema", "json_object", "tool", "text"]
ORDER: tuple[Form, ...] = ("json_schema", "json_object", "tool", "text")

_SIGNS = ("response_format", "json_schema", "json_object", "structured", "guided", "grammar", "schema")
_TOOL_SIGNS = ("tool", "function")
_INSTRUCTION = "Answer with one JSON object that fits this JSON schema, and with nothing else:\n"


class Sent(NamedTuple):
    """A request as it went out: what it was sent as is compared with what is known when the answer comes."""

    body: JsonObject
    place: int  # of its form in ORDER
    limit_name: str
    usage_in_stream: bool


class Forms:
    """What one endpoint has shown to understand, per model."""

    def __init__(self) -> None:
        self._place: Counter[str] = Counter()
        self._seen_fitting: set[str] = set()
        self._usage_in_streams = True
        self._limit_name = "max_tokens"

    def of(self, request: JsonObject) -> Form:
        return ORDER[self._place[str(request["model"])]]

    def as_sent(self, request: JsonObject, stream: bool) -> Sent:
        """The body for this endpoint."""
        place = self._place[str(request["model"])]
        body = _reshaped(request, ORDER[place]) if "response_format" in request and place else request
        if self._limit_name != "max_tokens" and "max_tokens" in body:
            body = {self._limit_name if key == "max_tokens" else key: value for key, value in body.items()}
        if stream:
            body = {**body, "stream": True}
            if self._usage_in_streams:
                body["stream_options"] = {"include_usage": True}
        return Sent(body, place, self._limit_name, self._usage_in_streams)

    def refused(self, request: JsonObject, sent: Sent, said: str) -> bool:
        """Whether the server's complaint is about the form, and another one is worth a try."""
        said = said.lower()
        if sent.usage_in_stream and ("stream_options" in said or "include_usage" in said):
            self._usage_in_streams = False
            return True
        if sent.limit_name == "max_tokens" and "max_tokens" in sent.body and "max_completion_tokens" in said:
            self._limit_name = "max_completion_tokens"
            return True
        if "response_format" not in request:
            return False
        signs = _TOOL_SIGNS if ORDER[sent.place] == "tool" else _SIGNS
        return any(sign in said for sign in signs) and self._move_on(request, sent)

    def saw(self, request: JsonObject, sent: Sent, response: JsonObject) -> None:
        """Looks at the answer to a structured request: a server may accept a form and ignore it."""
        model = str(request["model"])
        if model not in self._seen_fitting:
            fits = _fits(request, response)
            if fits:
                self._seen_fitting.add(model)
            elif fits is False:
                self._move_on(request, sent)

    def _move_on(self, request: JsonObject, sent: Sent) -> bool:
        """To the next form, unless another call has done so already; False where there is none."""
        model = str(request["model"])
        if sent.place == self._place[model] and sent.place + 1 < len(ORDER):
            self._place[model] += 1
        return sent.place < self._place[model]


def _fits(request: Any, response: Any) -> bool | None:
    """Whether an answer has the keys that its schema asks for; None where it doesn't tell (empty, cut off, broken)."""
    try:
        choice = response["choices"][0]
        message = choice["message"]
        calls = message.get("tool_calls")
        text = calls[0]["function"]["arguments"] if calls else split_think(message["content"])[1]
        if choice.get("finish_reason") == "length" or message.get("refusal") or not text.strip():
            return None
        text = json_text(text)
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None if text.startswith(("{", "[")) else False
    required = request["response_format"]["json_schema"]["schema"].get("required", ())
    return isinstance(value, dict) and all(key in value for key in required)


def _reshaped(request: JsonObject, form: Form) -> JsonObject:
    rest = {key: value for key, value in request.items() if key != "response_format"}
    shape: Any = request["response_format"]
    name, schema = shape["json_schema"]["name"], shape["json_schema"]["schema"]
    if form == "tool":
        function = {"name": name, "description": "Gives the answer.", "parameters": schema}
        choice: JsonObject = {"type": "function", "function": {"name": name}}
        return {**rest, "tools": [{"type": "function", "function": function}], "tool_choice": choice}
    if form == "json_object":
        rest["response_format"] = {"type": "json_object"}
    messages: Any = rest["messages"]
    last = messages[-1]
    told = f"{last['content']}\n\n{_INSTRUCTION}{orjson.dumps(schema).decode()}"
    return {**rest, "messages": [*messages[:-1], {**last, "content": told}]}
