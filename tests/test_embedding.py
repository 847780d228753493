"""Embeddings: in a run and outside one, through an endpoint with faults and by the embedded embedder."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gristmill import minilm
from gristmill.budget import Meter
from gristmill.context import Context, Runtime, Task
from gristmill.embedded import model_path
from gristmill.embedding import Embedder
from gristmill.errors import ConfigError, EndpointError
from gristmill.ledger import Ledger
from gristmill.llm import Network, Roles
from gristmill.llm.embeddings import BATCH, parse_embeddings, vectors_of
from gristmill.prompts import PromptFolder
from gristmill.testing import Faults, FaultServer
from gristmill.testing.scripted import embeddings_by_words
from schemas import JsonObject
from schemas.run_config import Budget, ModelConfig

TEXTS = [f"text number {number} of the lot" for number in range(3 * BATCH + 5)]


def config(url: str, **more: Any) -> ModelConfig:
    return ModelConfig.model_validate({"endpoint": url, "model": "words", **more})


async def embed(model: ModelConfig, texts: Sequence[str]) -> list[list[float]]:
    async with Embedder(model) as embedder:
        return await embedder.embed(texts)


async def test_batches_come_back_in_order_through_faults() -> None:
    with FaultServer() as server:
        plain = await embed(config(server.url), TEXTS)
        assert server.requests == 4
    with FaultServer(Faults(status_429=0.2, status_500=0.2, reset=0.1, seed=1)) as server:
        assert await embed(config(server.url), TEXTS) == plain
        assert sum(server.met.values()) > 0
    assert len(plain) == len(TEXTS) and len({tuple(vector) for vector in plain}) > 30


class Run:
    """One session of a run with a ledger: `ctx` is a task's context."""

    def __init__(self, folder: Path, models: dict[str, Any], price: float = 0.0) -> None:
        self.ledger = Ledger(folder / "ledger.sqlite")
        roles = Roles({name: ModelConfig.model_validate(model) for name, model in models.items()})
        self.network = Network(10)
        self.meter = Meter(Budget())
        self.runtime = Runtime(0, self.ledger, roles, self.network, self.meter, folder)
        self.task = Task("task")
        self.ctx = Context(self.runtime, self.task, PromptFolder(folder))

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        with self.ctx.scope("0", "generate"):
            return await self.ctx.embed("embedder", texts)

    async def close(self) -> None:
        await self.network.close()
        self.ledger.close()


async def test_a_replay_gives_the_same_floats_and_asks_nobody(tmp_path: Path) -> None:
    with FaultServer() as server:
        model = {"endpoint": server.url, "model": "words", "price": {"input": 2.0}}
        first = Run(tmp_path, {"embedder": model})
        vectors = await first.embed(TEXTS)
        await first.close()
        asked = server.requests
        again = Run(tmp_path, {"embedder": model})
        assert await again.embed(TEXTS) == vectors
        assert server.requests == asked == 4
        assert again.meter.calls_reused == 4 and again.meter.usd == 0
        await again.close()
    tokens = sum(len(text.split()) for text in TEXTS)
    assert first.meter.tokens == tokens and first.meter.usd == pytest.approx(2.0 * tokens / 1e6)
    assert again.task.provenance(0) == first.task.provenance(0)
    assert first.task.models == {"embedder": "words"}


async def test_a_chat_model_does_not_stand_in_for_an_embedder(tmp_path: Path) -> None:
    run = Run(tmp_path, {"default": {"endpoint": "http://127.0.0.1:9/v1", "model": "chat"}})
    with pytest.raises(ConfigError, match=r"models\.embedder is missing"):
        await run.embed(["x"])
    await run.close()
    with pytest.raises(ConfigError, match="vectors of different models"):
        Embedder(ModelConfig.model_validate({"endpoint": ["embedded", "http://127.0.0.1:9/v1"], "model": "m"}))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": []},
        {"data": [{"index": 0}]},
        {"data": [{"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": []}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 0, "embedding": ["a"]}]},
    ],
)
def test_what_is_no_embedding_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"embedding|data"):
        parse_embeddings(body)


def test_places_count_not_the_order_of_the_response() -> None:
    rows = [{"index": 1, "embedding": [2.0, 0.5]}, {"index": 0, "embedding": [1, 0]}]
    assert vectors_of(parse_embeddings({"data": rows}), 2) == [[1.0, 0.0], [2.0, 0.5]]
    with pytest.raises(ValueError, match="2 embeddings for 3 texts"):
        vectors_of(parse_embeddings({"data": rows}), 3)


async def test_an_endpoint_that_drops_texts_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_the_first(asked: dict[str, Any]) -> JsonObject:
        return embeddings_by_words({**asked, "input": asked["input"][1:]})

    monkeypatch.setattr("gristmill.testing.server.embeddings_by_words", without_the_first)
    with FaultServer() as server, pytest.raises(EndpointError, match="2 embeddings for 3 texts"):
        await embed(config(server.url), ["a", "b", "c"])


# ---- a real server


@pytest.fixture
def llama_cpp() -> Iterator[str]:
    """llama.cpp's server with the embedded chat model as an embedder: its vectors are poor, its protocol is real."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model_path())
    params.embedding, params.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx, params.cpuparams.n_threads, params.verbosity = 2, 2048, 1, 1
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"


@pytest.mark.embedded
async def test_llama_cpp_embeds_and_refuses_what_is_too_long(llama_cpp: str) -> None:
    one, other, stranger, blank = await embed(config(llama_cpp), ["add numbers", "sum numbers", "paint a chapel", ""])
    assert len({len(vector) for vector in (one, other, stranger, blank)}) == 1
    unit = [sum(x * x for x in vector) ** 0.5 for vector in (one, other, stranger)]
    near, far = (sum(x * y for x, y in zip(one, vector, strict=True)) for vector in (other, stranger))
    assert near / (unit[0] * unit[1]) > far / (unit[0] * unit[2])
    with pytest.raises(EndpointError, match="reads no text of this length"):
        await embed(config(llama_cpp), ["word " * 5000])


# ---- the embedded embedder


@pytest.mark.embedder
def test_minilm_computes_what_its_reference_computes() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    texts = ["Sum the list.", "def f(x):\n    return [v * 2 for v in x]\n" * 30, "naïve 你好", "x"]
    vectors, tokens = minilm.embed(texts)
    folder = str(minilm.model_folder())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder).eval()
    encoded = tokenizer(texts, padding=True, truncation=True, max_length=minilm.LONGEST, return_tensors="pt")
    with torch.no_grad():
        states = model(**encoded).last_hidden_state
    mask = encoded["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((states * mask).sum(1), dim=1)
    assert torch.allclose(torch.tensor(vectors), expected, atol=1e-5)
    assert tokens == int(mask.sum())


@pytest.mark.embedder
async def test_the_embedded_embedder_knows_paraphrases_from_strangers() -> None:
    model = ModelConfig(endpoint="embedded")
    asked = ["Add up all numbers of a list.", "Sum the values in an array.", "Who painted the ceiling of the chapel?"]
    one, other, stranger = await embed(model, asked)

    def cosine(left: list[float], right: list[float]) -> float:
        return sum(x * y for x, y in zip(left, right, strict=True))

    assert cosine(one, one) == pytest.approx(1, abs=1e-5)
    assert cosine(one, other) > 0.4 > 0.2 > cosine(one, stranger)
    alone = [vector for text in asked for vector in await embed(model, [text])]
    assert alone == [pytest.approx(vector, abs=1e-5) for vector in (one, other, stranger)]
