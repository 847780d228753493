"""Model roles: each maps a name in the config to endpoints, sampling and a price; a missing role is `default`."""

import asyncio
import os
from typing import Any, Protocol

from gristmill.embedded import MODEL_NAME, ensure_embedded
from gristmill.errors import ConfigError, TaskFailed
from gristmill.llm.endpoint import Endpoint
from gristmill.llm.reply import Reply, parse_chat, parse_completion
from gristmill.llm.structured import Shape
from schemas import JsonObject, Message, Tool, Usage, canonical_json
from schemas.run_config import EMBEDDED, ModelConfig

EMBEDDED_IN_FLIGHT = 8
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed", "stop", "max_tokens", "reasoning_effort")


class Transport(Protocol):
    """Sends a canonical request of a role; the network in life, a script in tests."""

    async def send(self, role: "Role", path: str, request: JsonObject) -> Reply: ...

    async def close(self) -> None: ...


class Role:
    """One role: builds canonical requests and knows what they cost."""

    def __init__(self, name: str, config: ModelConfig) -> None:
        self.name = name
        self.config = config
        self.model = config.model or MODEL_NAME
        self.is_embedded = all(endpoint == EMBEDDED for endpoint in config.endpoints)
        chosen = {key: getattr(config, key) for key in _SAMPLING}
        self._constant: JsonObject = {key: value for key, value in chosen.items() if value is not None}
        self._constant["model"] = self.model
        self._constant.update(config.extra_body)

    def chat_request(
        self, messages: list[Message], tools: list[Tool], shape: Shape[Any] | None, sampling: JsonObject
    ) -> JsonObject:
        """The canonical body of a chat: what the ledger's key is made of, whatever the endpoint makes of it."""
        request: JsonObject = {**self._constant, **sampling, "messages": [m.to_openai() for m in messages]}
        if tools:
            request["tools"] = [tool.model_dump(mode="json") for tool in tools]
        if shape is not None:
            request["response_format"] = shape.response_format()
        return request

    def completion_request(self, text: str, sampling: JsonObject) -> JsonObject:
        return {**self._constant, **sampling, "prompt": text}

    def cost(self, usage: Usage) -> float:
        """USD for these tokens."""
        price = self.config.price
        cached_price = price.input if price.cached is None else price.cached
        fresh = usage.input - usage.cached
        return (fresh * price.input + usage.cached * cached_price + usage.output * price.output) / 1e6


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

    def in_flight(self) -> int:
        """How many calls may be in flight at most, over all roles."""
        limits = [min(r.config.max_in_flight, EMBEDDED_IN_FLIGHT) if r.is_embedded else r.config.max_in_flight
                  for r in self._roles.values()]  # fmt: skip
        return max(limits, default=8)


class Network:
    """The real transport: one `Endpoint` per address and key, shared by the roles that name it."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._endpoints: dict[tuple[str, str | None], Endpoint] = {}

    async def send(self, role: Role, path: str, request: JsonObject) -> Reply:
        endpoint = await self._least_busy(role)
        body = await endpoint.post(path, canonical_json(request))
        try:
            return parse_chat(body) if path == "/chat/completions" else parse_completion(body)
        except ValueError as error:
            raise TaskFailed("llm", f"{endpoint.url} doesn't speak the OpenAI protocol: {error}") from None

    async def _least_busy(self, role: Role) -> Endpoint:
        endpoints = [await self._endpoint(address, role.config) for address in role.config.endpoints]
        return min(endpoints, key=lambda endpoint: endpoint.in_flight)

    async def _endpoint(self, address: str, config: ModelConfig) -> Endpoint:
        known = self._endpoints.get((address, config.api_key_env))
        if known is not None:
            return known
        embedded = address == EMBEDDED
        endpoint = Endpoint(
            await _locate_embedded() if embedded else address,
            config.api_key_env,
            in_flight=min(config.max_in_flight, EMBEDDED_IN_FLIGHT) if embedded else config.max_in_flight,
            timeout=config.timeout,
            patience=self.patience,
            locate=_locate_embedded if embedded else None,
        )
        return self._endpoints.setdefault((address, config.api_key_env), endpoint)

    async def close(self) -> None:
        for endpoint in self._endpoints.values():
            await endpoint.close()


async def _locate_embedded() -> str:
    return await asyncio.to_thread(ensure_embedded)  # it may take a second to load the model
