"""A model whose replies are a Python function of the request. It proves a pipeline's logic, never its data."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from gristmill.commands.generate import run_plan
from gristmill.llm import Reply, Role
from gristmill.llm.embeddings import EMBEDDINGS, parse_embeddings
from gristmill.plan import make_plan
from gristmill.runs import RunFolder
from schemas import Json, JsonObject, Message, Usage, canonical_json, content_hash
from schemas.run_config import RunConfig

Script = Callable[[str, JsonObject], Any]
EMBEDDING_SIZE = 64

_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "islet", "kelp", "moss", "onyx")


class ScriptedModel:
    """Answers by `script(role name, request)`: a text, an object (sent as JSON), a Message, a Reply, or an exception.

    Without a script it answers each schema with a valid example and everything else with words, the same for the same
    request. `shuffle` delays replies by random times, so that branches end in another order each run.
    """

    resting = 0

    def __init__(self, script: Script | None = None, *, shuffle: bool = False) -> None:
        self.script = script or answer_by_default
        self.calls: list[tuple[str, JsonObject]] = []
        self._shuffle = random.Random() if shuffle else None

    async def send(self, role: Role, path: str, request: JsonObject) -> Reply:
        self.calls.append((role.name, request))
        if path == EMBEDDINGS:
            return parse_embeddings(embeddings_by_words(request))
        if self._shuffle:
            await asyncio.sleep(self._shuffle.random() * 0.005)
        answer = self.script(role.name, request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Reply):
            return answer
        if not isinstance(answer, Message):
            content = answer if isinstance(answer, str) else orjson.dumps(answer).decode()
            answer = Message(role="assistant", content=content)
        usage = Usage(input=len(canonical_json(request)) // 4, output=max(1, len(answer.content) // 4))
        return Reply(answer, "stop", usage, role.model)

    async def close(self) -> None:
        return None

    def count_by_role(self) -> Counter[str]:
        return Counter(role for role, _ in self.calls)


def embeddings_by_words(request: JsonObject) -> JsonObject:
    """An /embeddings response in which texts are alike by the words that they share."""
    texts: Any = request["input"]
    return {
        "object": "list",
        "model": request["model"],
        "data": [
            {"object": "embedding", "index": index, "embedding": _word_counts(text)} for index, text in enumerate(texts)
        ],
        "usage": {"prompt_tokens": sum(len(text.split()) for text in texts)},
    }


def _word_counts(text: str) -> list[Json]:
    counts = [0.0] * EMBEDDING_SIZE
    for word in text.lower().split():
        counts[sha256(word.encode()).digest()[0] % EMBEDDING_SIZE] += 1.0
    return [*counts]


def answer_by_default(role: str, request: JsonObject) -> Any:
    rng = random.Random(content_hash(request))
    shape: Any = request.get("response_format")
    return example_of(shape["json_schema"]["schema"], rng) if shape else " ".join(rng.choices(_WORDS, k=12))


def example_of(schema: Any, rng: random.Random, root: Any = None) -> Any:
    """A value that is valid under a JSON schema of the kind that pydantic makes."""
    root = root or schema
    if "$ref" in schema:
        return example_of(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], rng, root)
    for choice in ("enum", "anyOf", "oneOf"):
        if choice in schema:
            chosen = rng.choice(schema[choice])
            return chosen if choice == "enum" else example_of(chosen, rng, root)
    if "const" in schema:
        return schema["const"]
    match schema.get("type"):
        case "object":
            return {name: example_of(part, rng, root) for name, part in schema.get("properties", {}).items()}
        case "array":
            size = max(schema.get("minItems", 1), min(2, schema.get("maxItems", 2)))
            return [example_of(schema.get("items", {"type": "string"}), rng, root) for _ in range(size)]
        case "integer":
            return rng.randint(schema.get("minimum", 0), schema.get("maximum", 9))
        case "number":
            return round(rng.uniform(schema.get("minimum", 0), schema.get("maximum", 9)), 2)
        case "boolean":
            return rng.random() < 0.5
        case "null":
            return None
    words = " ".join(rng.choices(_WORDS, k=6))
    return words[: schema.get("maxLength", 200)].ljust(schema.get("minLength", 0), "x")


def run_scripted(config: dict[str, Any], folder: Path, model: ScriptedModel | None = None) -> dict[str, Any]:
    """`gristmill generate` in process with a scripted model in place of every endpoint; the summary."""
    models = {"default": {"endpoint": "http://scripted.invalid/v1", "model": "scripted"}}
    plan = make_plan(RunConfig.model_validate({"models": models, **config}))
    return run_plan(plan, RunFolder(folder), transport=model or ScriptedModel(), quiet=True)
