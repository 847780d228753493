"""In which form an endpoint takes a request: how it is told the JSON schema of the answer, and a few names.

The canonical request (which the ledger's key is made of) always carries `response_format: json_schema`. Endpoints that
don't know it get the schema in one of the other forms below. Which one is found out by asking: a 400 that speaks of
the form, or answers that are never JSON, move the endpoint on to the next; that is remembered per model as long as the
process lives. Whatever the form, the answer is checked by `gristmill.llm.structured`.
"""

from collections import Counter
from typing import Any, Literal

from gristmill.llm.structured import json_text
from schemas import JsonObject, canonical_json

Form = Literal["json_schema", "json_object", "tool", "text"]
ORDER: tuple[Form, ...] = ("json_schema", "json_object", "tool", "text")
NEVER_JSON = 3
"""How many answers in a row may be no JSON, with none before that was, until a form counts as ignored."""

_SIGNS = ("response_format", "json_schema", "json_object", "structured", "guided", "grammar", "schema")
_TOOL_SIGNS = ("tool", "function")
_INSTRUCTION = "Answer with one JSON object that fits this JSON schema, and with nothing else:\n"


class Forms:
    """What one endpoint has shown to understand, per model."""

    def __init__(self) -> None:
        self._place: Counter[str] = Counter()
        self._without_json: Counter[str] = Counter()
        self._seen_json: set[str] = set()
        self._usage_in_streams = True
        self._limit_name = "max_tokens"

    def of(self, request: JsonObject) -> Form:
        return ORDER[self._place[str(request["model"])]]

    def as_sent(self, request: JsonObject, stream: bool) -> JsonObject:
        """The body for this endpoint."""
        if "response_format" in request and (form := self.of(request)) != "json_schema":
            request = _reshaped(request, form)
        if self._limit_name != "max_tokens" and "max_tokens" in request:
            request = {self._limit_name if key == "max_tokens" else key: value for key, value in request.items()}
        if stream:
            request = {**request, "stream": True}
            if self._usage_in_streams:
                request["stream_options"] = {"include_usage": True}
        return request

    def refused(self, request: JsonObject, said: str) -> bool:
        """Whether the server's complaint is about the form, and there is another one to try."""
        said = said.lower()
        if "stream_options" in said or "include_usage" in said:
            before, self._usage_in_streams = self._usage_in_streams, False
            return before
        if "max_completion_tokens" in said and self._limit_name == "max_tokens":
            self._limit_name = "max_completion_tokens"
            return True
        if "response_format" not in request:
            return False
        signs = _TOOL_SIGNS if self.of(request) == "tool" else _SIGNS
        return any(sign in said for sign in signs) and self._next(str(request["model"]))

    def saw(self, request: JsonObject, response: JsonObject) -> None:
        """Looks at the answer to a structured request: a server may accept a form and ignore it."""
        model = str(request["model"])
        if _looks_like_json(response):
            self._seen_json.add(model)
        elif model not in self._seen_json:
            self._without_json[model] += 1
            if self._without_json[model] >= NEVER_JSON:
                self._next(model)

    def _next(self, model: str) -> bool:
        self._without_json[model] = 0
        if self._place[model] + 1 >= len(ORDER):
            return False
        self._place[model] += 1
        return True


def _looks_like_json(response: Any) -> bool:
    try:
        message = response["choices"][0]["message"]
        return bool(message.get("tool_calls")) or json_text(message["content"])[:1] in ("{", "[")
    except (KeyError, IndexError, TypeError, AttributeError):
        return True  # it is no answer at all, which says nothing about the form


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
    told = f"{last['content']}\n\n{_INSTRUCTION}{canonical_json(schema).decode()}"
    return {**rest, "messages": [*messages[:-1], {**last, "content": told}]}
