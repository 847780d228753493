"""Model roles: each maps a name in the config to endpoints, sampling and a price; a missing role is `default`."""

import os
from typing import Any, Protocol

from gristmill.embedded import MODEL_NAME
from gristmill.errors import ConfigError
from gristmill.llm.reply import Reply
from gristmill.llm.structured import Shape
from gristmill.minilm import MODEL_NAME as EMBEDDER_NAME
from schemas import JsonObject, Message, Tool, Usage
from schemas.run_config import EMBEDDED, ModelConfig

EMBEDDED_IN_FLIGHT = 8
LONG_ANSWER = 4096  # tokens; an answer that may be longer is streamed
SLOW_ANSWER = 30.0  # seconds; so is everything of a role that was ever this slow
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed", "stop", "max_tokens", "reasoning_effort")


class Transport(Protocol):
    """Sends a canonical request of a role; the network in life, a script in tests. `resting` counts the calls that wait
    before they are tried again."""

    @property
    def resting(self) -> int: ...

    async def send(self, role: "Role", path: str, request: JsonObject) -> Reply: ...

    async def close(self) -> None: ...


class Role:
    """One role: builds canonical requests and knows what they cost."""

    def __init__(self, name: str, config: ModelConfig) -> None:
        self.name = name
        self.config = config
        self.model = config.model or MODEL_NAME
        self.is_embedded = all(endpoint == EMBEDDED for endpoint in config.endpoints)
        self.calls_as_text = config.tool_calls == "text" or EMBEDDED in config.endpoints
        chosen = {key: getattr(config, key) for key in _SAMPLING}
        self._constant: JsonObject = {key: value for key, value in chosen.items() if value is not None}
        self._constant["model"] = self.model
        self._constant.update(config.extra_body)
        self.slowest = 0.0
        price = config.price
        self._prices = price.input, price.input if price.cached is None else price.cached, price.output

    def chat_request(
        self, messages: list[Message], tools: list[Tool], shape: Shape[Any] | None, sampling: JsonObject
    ) -> JsonObject:
        """The canonical body of a chat: what the ledger's key is made of, whatever the endpoint makes of it."""
        request: JsonObject = {**self._constant, **sampling, "messages": [m.to_openai() for m in messages]}
        if tools:
            request["tools"] = [tool.to_openai() for tool in tools]
        if shape is not None:
            request["response_format"] = shape.response_format()
        return request

    def completion_request(self, text: str, sampling: JsonObject) -> JsonObject:
        return {**self._constant, **sampling, "prompt": text}

    def embedding_request(self, texts: list[str]) -> JsonObject:
        """Nothing of the sampling applies."""
        return {"model": self.embedder, "input": [*texts], "encoding_format": "float", **self.config.extra_body}

    @property
    def embedder(self) -> str:
        """The model's name where the role embeds: `endpoint: embedded` has another model for that."""
        return self.config.model or EMBEDDER_NAME

    def streams(self, request: JsonObject) -> bool:
        """Whether to stream: always or never by config, else where the answer may take minutes. Proxies cut silent
        connections, a silent stream can be told from a slow one, and a repetition can be cut off."""
        if self.config.stream != "auto":
            return self.config.stream
        most = request.get("max_tokens")
        may_be_long = isinstance(most, int) and most > LONG_ANSWER
        return may_be_long or request.get("reasoning_effort") in ("medium", "high") or self.slowest > SLOW_ANSWER

    @property
    def effort(self) -> str | None:
        """The reasoning effort that it asks for, in whichever of the usual places the config says so."""
        extra = self.config.extra_body
        for place in (extra, extra.get("reasoning"), extra.get("chat_template_kwargs")):
            if isinstance(place, dict):
                found = place.get("reasoning_effort") or place.get("effort")
                if isinstance(found, str):
                    return found
        return self.config.reasoning_effort

    @property
    def in_flight(self) -> int:
        most = self.config.max_in_flight
        return min(most, EMBEDDED_IN_FLIGHT) if self.is_embedded else most

    def cost(self, usage: Usage) -> float:
        """USD for these tokens."""
        fresh, cached, output = self._prices
        return ((usage.input - usage.cached) * fresh + usage.cached * cached + usage.output * output) / 1e6


class Roles:
    """The roles of a run by name."""

    def __init__(self, models: dict[str, ModelConfig]) -> None:
        self._roles = {name: Role(name, config) for name, config in models.items()}
        for role in self._roles.values():
            key_name = role.config.api_key_env
            if key_name and not os.environ.get(key_name):
                raise ConfigError(f"models.{role.name}.api_key_env: the environment variable {key_name} is not set.")

    def __getitem__(self, name: str) -> Role:
        if name not in self._roles:
            if "default" not in self._roles:
                raise ConfigError(f"models: the role {name!r} is asked; there is neither such a role nor a `default`.")
            self._roles[name] = Role(name, self._roles["default"].config)
        return self._roles[name]

    def embedder(self, name: str) -> Role:
        """A role that embeds: it has to be named, because a `default` that chats can't stand in for it."""
        role = self._roles.get(name)
        if role is None:
            raise ConfigError(f"models.{name} is missing: an embedder, such as {{endpoint: embedded}}.")
        if EMBEDDED in role.config.endpoints and not role.is_embedded:
            raise ConfigError(f"models.{name}.endpoint: vectors of different models can't be compared; name one model.")
        return role

    def in_flight(self) -> int:
        """How many calls may be in flight at most, over all roles."""
        return max((role.in_flight for role in self._roles.values()), default=8)
