"""Embeddings as replies: what /v1/embeddings answers, or the embedded embedder in this process.

A reply's vectors are packed as base64 of 32-bit floats, as the ledger keeps them: 2 KB for 384 numbers, where JSON
takes 8. So a replay gives exactly the floats that the call gave.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

import asyncio
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import Any

from gristmill import minilm
from gristmill.errors import EndpointError, Reject
from gristmill.llm.reply import Reply, parse_usage
from schemas import JsonObject, Message, Usage

EMBEDDINGS = "/embeddings"
BATCH = 64  # texts per request

Vector = list[float]


def parse_embeddings(body: dict[str, Any]) -> Reply:
    """An /embeddings response. ValueError where it has not that shape."""
    data = body.get("data")
    if not isinstance(data, list) or not data:
        raise ValueError("the response has no data")
    try:
        rows = sorted(data, key=lambda row: int(row["index"]))
        vectors = [_packed(row["embedding"]) for row in rows]
    except (KeyError, TypeError, ValueError):
        raise ValueError("an embedding is no list of numbers") from None
    if [row["index"] for row in rows] != list(range(len(rows))) or len(set(map(len, vectors))) != 1 or not vectors[0]:
        raise ValueError("the embeddings are not one per text, or differ in length")
    return _reply(vectors, parse_usage(body), str(body.get("model") or ""))


async def embed_here(request: JsonObject) -> Reply:
    """The embedded embedder's reply to an /embeddings request."""
    texts: Any = request["input"]
    vectors, tokens = await asyncio.to_thread(minilm.embed, texts)
    return _reply([_packed(vector) for vector in vectors], Usage(input=tokens), minilm.MODEL_NAME)


def batches(texts: Sequence[str]) -> Iterable[list[str]]:
    """What goes into one request each; an empty text becomes a blank, because endpoints refuse it."""
    return ([text or " " for text in texts[start : start + BATCH]] for start in range(0, len(texts), BATCH))


def refusal(role: str, model: str, reject: Reject) -> EndpointError:
    """What a person is told of a text that an embedder refuses: no retry mends it, and no text may be left out."""
    return EndpointError(
        f"models.{role}: {model} reads no text of this length ({reject.detail}). Make its server cut long texts, for "
        "example with `extra_body: {truncate_prompt_tokens: -1}` for vLLM."
    )


def vectors_of(reply: Reply, count: int) -> list[Vector]:
    """The vectors for `count` texts. ValueError where there are more or fewer."""
    if len(reply.vectors) != count:
        raise ValueError(f"{len(reply.vectors)} embeddings for {count} texts")
    return [array("f", b64decode(packed)).tolist() for packed in reply.vectors]


def _packed(vector: str | Sequence[float]) -> str:
    """Some servers send base64 of their own, whatever they are asked for."""
    return vector if isinstance(vector, str) else b64encode(array("f", vector).tobytes()).decode()


def _reply(vectors: list[str], usage: Usage, model: str) -> Reply:
    return Reply(Message(role="assistant", content=""), "stop", usage, model, vectors=vectors)
