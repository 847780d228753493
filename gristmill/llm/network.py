"""The real transport: requests of roles go out to their endpoints, and replies come back parsed."""

import asyncio
import time

from gristmill.embedded import ensure_embedded
from gristmill.errors import TaskFailed
from gristmill.llm.embeddings import EMBEDDINGS, embed_here, parse_embeddings
from gristmill.llm.endpoint import Endpoint, Timeouts
from gristmill.llm.pool import Pool
from gristmill.llm.reply import Reply, estimate_usage, parse_chat, parse_completion
from gristmill.llm.roles import EMBEDDED_IN_FLIGHT, Role
from schemas import JsonObject
from schemas.run_config import EMBEDDED, ModelConfig

_PARSERS = {"/chat/completions": parse_chat, "/completions": parse_completion, EMBEDDINGS: parse_embeddings}


class Network:
    """One `Endpoint` per address and key, shared by the roles that name it; one `Pool` per role."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._endpoints: dict[tuple[str, str | None], Endpoint] = {}
        self._pools: dict[str, Pool] = {}

    @property
    def resting(self) -> int:
        return sum(pool.resting for pool in self._pools.values())

    async def send(self, role: Role, path: str, request: JsonObject) -> Reply:
        if path == EMBEDDINGS and role.is_embedded:
            return await embed_here(request)
        pool = self._pools.get(role.name) or await self._connect(role)
        started = time.monotonic()
        body = await pool.post(path, request, stream=path == "/chat/completions" and role.streams(request))
        role.slowest = max(role.slowest, time.monotonic() - started)
        try:
            reply = _PARSERS[path](body)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            fault = f"the endpoint of the role {role.name} doesn't speak the OpenAI protocol: {error}"
            raise TaskFailed("llm", fault) from None
        if not reply.usage.input and not reply.usage.output:
            reply.usage = estimate_usage(request, reply)
        return reply

    async def _connect(self, role: Role) -> Pool:
        endpoints = [await self._endpoint(address, role.config) for address in role.config.endpoints]
        timeouts = Timeouts(role.config.timeout, role.config.idle_timeout)
        return self._pools.setdefault(role.name, Pool(endpoints, self.patience, role.in_flight, timeouts))

    async def _endpoint(self, address: str, config: ModelConfig) -> Endpoint:
        embedded = address == EMBEDDED
        in_flight = min(config.max_in_flight, EMBEDDED_IN_FLIGHT) if embedded else config.max_in_flight
        key = (address, config.api_key_env)
        if key not in self._endpoints:
            url = await _locate_embedded() if embedded else address
            endpoint = Endpoint(
                url,
                config.api_key_env,
                in_flight=in_flight,
                locate=_locate_embedded if embedded else None,
            )
            self._endpoints.setdefault(key, endpoint)
        self._endpoints[key].limit.raise_to(in_flight)
        return self._endpoints[key]

    async def close(self) -> None:
        for endpoint in self._endpoints.values():
            await endpoint.close()


async def _locate_embedded() -> str:
    return await asyncio.to_thread(ensure_embedded)  # it may take a second to load the model
