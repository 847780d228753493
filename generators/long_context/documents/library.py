"""A library: the documents of all sources, cleaned, each once, with their tokens and their topic, in one SQLite file.

    parts     id, title, source, tokens, topic, text       a document longer than LONGEST_PART is several parts
    topics    topic, tokens, terms, near                    near: the other topics, the most similar first

It is made once per run and lies in its artifacts, so contexts are put together without keeping the texts in memory.
Topics come from TF-IDF and SVD (or from the role `embedder`) and k-means; there are as many as give each of them enough
tokens for the longest context twice over.
"""

import asyncio
import math
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from pydantic import Field

from generators.long_context.context import TokenCounter, token_counter
from generators.long_context.documents.read import Document, Skipped, read_documents
from generators.long_context.documents.split import split
from gristmill import Config, Context
from gristmill.errors import ConfigError
from gristmill.text.language_id import identify
from schemas import content_hash

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FILE = "library.sqlite"
BATCH = 256

LONGEST_PART = 16_384
"""Tokens: longer documents are cut at their paragraphs."""

HEAD = 6000
"""Characters of a part that its topic is told from."""

FEATURES, DIMENSIONS, MOST_TOPICS = 30_000, 64, 256
TERMS = 8

FEW = 8
"""With fewer parts, a word that half of them have still tells something."""


class Documents(Config):
    """`sources` are files, folders and hf:// names; `text` and `title` name the fields of rows. Documents in another
    language than `languages` (any where it is empty), shorter than `min_characters`, or like an earlier one (MinHash
    similarity `near`) stay out. `embedder` is the role that gives topics; without it they come from words.

    `hops` bounds the pieces of evidence of a question, `traces` are asked for, of which `min_majority` must agree;
    `closed_book` answers without the context are tried against it.
    """

    sources: list[str] = []
    text: str | None = None
    title: str | None = None
    languages: list[str] = []
    min_characters: Annotated[int, Field(ge=1)] = 200
    near: Annotated[float, Field(gt=0, le=1)] = 0.8
    embedder: str | None = None
    hops: tuple[Annotated[int, Field(ge=2)], Annotated[int, Field(le=12)]] = (4, 7)
    traces: Annotated[int, Field(ge=2, le=64)] = 8
    min_majority: Annotated[float, Field(gt=0, le=1)] = 0.5
    closed_book: Annotated[int, Field(ge=0, le=16)] = 2

    def files(self) -> list[Path]:
        """The sources that are single files: when one changes, everything runs again."""
        return [path for path in map(Path, self.sources) if path.is_file()]


async def open_library(ctx: Context, config: Documents, tokenizer: str, longest: int) -> None:
    """Makes the library in the run's artifacts, if it isn't there yet for this config."""
    path = ctx.artifacts / FILE
    key = content_hash([config.model_dump(mode="json"), tokenizer, longest, [_state(one) for one in config.sources]])
    if await asyncio.to_thread(_key_of, path) == key:
        return
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    builder = await asyncio.to_thread(Builder, draft, config, token_counter(tokenizer))
    await asyncio.to_thread(builder.read)
    builder.require(longest)
    if config.embedder:
        vectors: Any = await ctx.embed(config.embedder, await asyncio.to_thread(builder.heads))
        await asyncio.to_thread(builder.cluster, longest, vectors)
    else:
        await asyncio.to_thread(builder.cluster, longest, None)
    await asyncio.to_thread(builder.finish, key)
    draft.replace(path)


def _state(source: str) -> list[list[Any]]:
    """What changes when a source does: names, sizes and times of its files."""
    path = Path(source)
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]


def _key_of(path: Path) -> str:
    if not path.is_file():
        return ""
    with sqlite3.connect(path) as database:
        row = database.execute("SELECT value FROM facts WHERE name = 'key'").fetchone()
    return str(row[0]) if row else ""


class Builder:
    """Fills a library. `lost` counts the documents that stayed out, by reason."""

    def __init__(self, path: Path, config: Documents, counter: TokenCounter) -> None:
        self.config, self.counter = config, counter
        self.lost: Counter[str] = Counter()
        self.documents = self.tokens = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE parts (id INTEGER PRIMARY KEY, title TEXT, source TEXT, tokens INTEGER, topic INTEGER, "
            "text TEXT);"
            "CREATE TABLE topics (topic INTEGER PRIMARY KEY, tokens INTEGER, terms TEXT, near TEXT);"
            "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT);"
        )

    def read(self) -> None:
        """All sources, document by document."""
        seen, alike = set[bytes](), _NearDuplicates(self.config.near)
        waiting: list[Document] = []
        for source in self.config.sources:
            for found in read_documents(source, self.config.text, self.config.title):
                reason = found.reason if isinstance(found, Skipped) else self._fault(found, seen, alike)
                if reason:
                    self.lost[reason] += 1
                    continue
                assert isinstance(found, Document)
                self.documents += 1
                waiting.append(found)
                if len(waiting) == BATCH:
                    self._keep(waiting)
                    waiting = []
        self._keep(waiting)
        self._database.commit()

    def _fault(self, document: Document, seen: set[bytes], alike: "_NearDuplicates") -> str:
        if len(document.text) < self.config.min_characters:
            return "too_short"
        digest = blake2b(" ".join(document.text.casefold().split()).encode(), digest_size=16).digest()
        if digest in seen:
            return "duplicate"
        seen.add(digest)
        if self.config.languages and identify(document.text[:2000])[0] not in self.config.languages:
            return "language"
        return "near_duplicate" if alike.has(document.text) else ""

    def _keep(self, documents: list[Document]) -> None:
        """Counts tokens and stores; what is too long in parts."""
        counted = zip(documents, self.counter.pieces([document.text for document in documents]), strict=True)
        rows = []
        for document, (text, tokens) in counted:
            parts = [(text, tokens)] if tokens <= LONGEST_PART else split(text, LONGEST_PART, self.counter)
            for number, (part, size) in enumerate(parts, start=1):
                title = document.title if len(parts) == 1 else f"{document.title} (part {number} of {len(parts)})"
                rows.append((title, document.source, size, part))
                self.tokens += size
        self._database.executemany("INSERT INTO parts (title, source, tokens, text) VALUES (?, ?, ?, ?)", rows)

    def require(self, longest: int) -> None:
        """ConfigError where the documents are too few for the longest context."""
        if self.tokens >= longest:
            return
        lost = ", ".join(f"{count} {reason}" for reason, count in self.lost.most_common())
        raise ConfigError(
            f"params.documents: {self.documents:,} documents with {self.tokens:,} tokens are too few for a context of "
            f"{longest:,} (params.lengths): add {longest - self.tokens:,} tokens, or choose shorter contexts"
            f"{f' (left out: {lost})' if lost else ''}."
        )

    def heads(self) -> list[str]:
        """The beginnings of the parts, in their order."""
        return list(self._heads())

    def _heads(self) -> Iterator[str]:
        for title, text in self._database.execute("SELECT title, substr(text, 1, ?) FROM parts ORDER BY id", (HEAD,)):
            yield f"{title}\n{text}"

    def cluster(self, longest: int, vectors: Sequence[Sequence[float]] | None) -> None:
        """Gives each part its topic, and each topic its terms and its neighbours."""
        import numpy as np

        sizes = np.array([row[0] for row in self._database.execute("SELECT tokens FROM parts ORDER BY id")])
        words, matrix = _tfidf(self._heads(), len(sizes))
        points = np.asarray(vectors, dtype=np.float32) if vectors is not None else _reduced(matrix)
        labels, centres = _kmeans(points, topic_count(len(sizes), int(sizes.sum()), longest))
        self._database.executemany(
            "UPDATE parts SET topic = ? WHERE id = ?",
            ((int(label), place) for place, label in enumerate(labels, start=1)),
        )
        self._database.execute("CREATE INDEX by_topic ON parts (topic)")
        likeness = centres @ centres.T
        overall = np.asarray(matrix.mean(axis=0)).ravel()
        for topic in range(len(centres)):
            members = labels == topic
            excess = np.asarray(matrix[members].mean(axis=0)).ravel() - overall
            terms = [words[place] for place in excess.argsort()[::-1][:TERMS]]
            near = [int(other) for other in likeness[topic].argsort()[::-1] if other != topic]
            self._database.execute(
                "INSERT INTO topics VALUES (?, ?, ?, ?)",
                (topic, int(sizes[members].sum()), orjson.dumps(terms).decode(), orjson.dumps(near).decode()),
            )

    def finish(self, key: str) -> None:
        facts = {
            "key": key,
            "documents": self.documents,
            "tokens": self.tokens,
            "lost": orjson.dumps(self.lost).decode(),
        }
        self._database.executemany(
            "INSERT INTO facts VALUES (?, ?)", ((name, str(value)) for name, value in facts.items())
        )
        self._database.commit()
        self._database.close()


class _NearDuplicates:
    """MinHash over words' 5-grams of a document's text, and LSH over what came before."""

    PERMUTATIONS, BANDS = 64, 16
    LONGEST = 20_000  # characters

    def __init__(self, threshold: float) -> None:
        try:
            from rensa import RMinHash, RMinHashLSH
        except ImportError:
            raise ConfigError("documents need the extra: pip install 'gristmill[long-context]'.") from None
        self._hash = RMinHash
        self._index = RMinHashLSH(threshold=threshold, num_perm=self.PERMUTATIONS, num_bands=self.BANDS)
        self._threshold = threshold
        self._kept: list[Any] = []

    def has(self, text: str) -> bool:
        """Whether an earlier text is as similar; one that isn't is kept."""
        words = text[: self.LONGEST].casefold().split()
        signature = self._hash(num_perm=self.PERMUTATIONS, seed=0)
        signature.update([" ".join(words[start : start + 5]) for start in range(max(1, len(words) - 4))])
        if any(signature.jaccard(self._kept[place]) >= self._threshold for place in self._index.query(signature)):
            return True
        self._index.insert(len(self._kept), signature)
        self._kept.append(signature)
        return False


# --- topics -----------------------------------------------------------------------------------------------------------


def topic_count(parts: int, tokens: int, longest: int) -> int:
    """So many that a topic has about twice the tokens of the longest context, and no more than half the root of parts
    would be surprising in."""
    by_tokens = tokens // (2 * longest)
    return max(1, min(by_tokens, math.isqrt(parts) + 1, MOST_TOPICS))


def _tfidf(texts: Iterator[str], parts: int) -> tuple[list[str], "csr_matrix"]:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise ConfigError("documents need the extra: pip install 'gristmill[long-context]'.") from None
    import numpy as np

    vectorizer = TfidfVectorizer(
        max_features=FEATURES, sublinear_tf=True, max_df=0.5 if parts >= FEW else 1.0, stop_words="english",
        dtype=np.float32, token_pattern=r"(?u)\b[^\W\d_]{3,}\b",
    )  # fmt: skip
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise ConfigError(f"params.documents: the documents' topics can't be told: {error}.") from None
    return list(vectorizer.get_feature_names_out()), matrix


def _reduced(matrix: "csr_matrix") -> Any:
    from sklearn.decomposition import TruncatedSVD

    size = min(DIMENSIONS, min(matrix.shape) - 1)
    return TruncatedSVD(size, random_state=0).fit_transform(matrix) if size > 1 else matrix.toarray()


def _kmeans(points: Any, topics: int) -> tuple[Any, Any]:
    """Labels, and centres of length one; topics that nothing belongs to are left out."""
    import numpy as np
    from sklearn.cluster import MiniBatchKMeans

    units = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    found = MiniBatchKMeans(topics, random_state=0, n_init=5, batch_size=1024).fit(units)
    used, labels = np.unique(found.labels_, return_inverse=True)
    centres = found.cluster_centers_[used]
    return labels, centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)
