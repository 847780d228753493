"""Asks each endpoint of a config's models for one token, for `gristmill doctor`.

What comes back is said in the words of a run: the same transport asks, and the same errors are raised.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import NamedTuple

from gristmill.config import read_yaml, validate
from gristmill.embedding import ROLE as EMBEDDER
from gristmill.errors import ConfigError, GristmillError, Reject, TaskFailed
from gristmill.llm import Network, Role
from gristmill.llm.embeddings import EMBEDDINGS
from gristmill.machine import Finding
from schemas import user
from schemas.run_config import ModelConfig

_PATIENCE = 5.0  # seconds for an endpoint that answers, but not with an answer


class Probe(NamedTuple):
    """A finding, and the exit status that a run would end with."""

    finding: Finding
    status: int


async def probe_config(path: Path, overrides: list[str]) -> list[Probe]:
    """Every endpoint of every role under `models`, whatever the config is for; all at once."""
    models = read_yaml(path, overrides).get("models")
    if not isinstance(models, dict) or not models:
        raise ConfigError(f"{path}: there is nothing to ask: the key models is missing.")
    return await asyncio.gather(
        *(
            _probe(name, config.model_copy(update={"endpoint": address}))
            for name, content in models.items()
            for config in [validate(content, ModelConfig, f"{path}: models.{name}")]
            for address in config.endpoints
        )
    )


async def _probe(name: str, config: ModelConfig) -> Probe:
    key, title = config.api_key_env, f"models.{name}"
    if key and not os.environ.get(key):
        unset = f"the environment variable {key} is not set"
        return Probe(Finding("wrong", title, unset, f"export {key}=..."), ConfigError.exit_status)
    network, started = Network(_PATIENCE), time.monotonic()
    try:
        model = await _ask(network, Role(name, config))
    except GristmillError as error:
        return Probe(Finding("wrong", title, str(error)), error.exit_status)
    except (TaskFailed, Reject) as error:
        return Probe(Finding("wrong", title, f"{config.endpoint}: {error}"), ConfigError.exit_status)
    finally:
        await network.close()
    answered = f"{config.endpoint} answers as {model} in {time.monotonic() - started:.2f} s"
    return Probe(Finding("ok", title, answered), 0)


async def _ask(network: Network, role: Role) -> str:
    """The name under which the model answers."""
    if role.name == EMBEDDER:
        reply = await network.send(role, EMBEDDINGS, role.embedding_request(["one"]))
        return reply.model or role.embedder
    request = role.chat_request([user("Say yes.")], [], None, {"max_tokens": 1})
    reply = await network.send(role, "/chat/completions", request)
    return reply.model or role.model
