"""Embeddings outside a run, for a gate or a command: `ctx.embed` without a ledger.

async with Embedder(ModelConfig(endpoint="http://127.0.0.1:8000/v1", model="Qwen/Qwen3-Embedding-0.6B")) as embedder:
    vectors = await embedder.embed(texts)
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from gristmill.errors import EndpointError, Reject, TaskFailed
from gristmill.llm import Network, Roles
from gristmill.llm.embeddings import EMBEDDINGS, Vector, batches, refusal, vectors_of
from schemas.run_config import ModelConfig

ROLE = "embedder"
PATIENCE = 600.0  # seconds


class Embedder:
    """One model; several batches are in flight at once, as many as its config allows."""

    def __init__(self, config: ModelConfig) -> None:
        self._role = Roles({ROLE: config}).embedder(ROLE)
        self._network = Network(PATIENCE)
        self.model = self._role.embedder

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._network.close()

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector per text. EndpointError or ConfigError where the endpoint can't give them."""
        made = await asyncio.gather(*map(self._embed, batches(texts)))
        return [vector for vectors in made for vector in vectors]

    async def _embed(self, batch: list[str]) -> list[Vector]:
        try:
            reply = await self._network.send(self._role, EMBEDDINGS, self._role.embedding_request(batch))
            return vectors_of(reply, len(batch))
        except Reject as reject:
            raise refusal(ROLE, self.model, reject) from None
        except (ValueError, TaskFailed) as error:
            raise EndpointError(f"models.{ROLE}: {self.model} gives no embeddings: {error}.") from None
