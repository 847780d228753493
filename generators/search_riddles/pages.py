"""Pages about entities, written from the graph: what the embedded search finds.

    {"url": "https://atlas.example/wiki/Q142", "title": "France",
     "text": "France: a country.\\nAlso known as French Republic.\\nFrance has Paris as its capital.\\n..."}

A page says everything that the graph states of its entity, in both directions; a relation that hundreds of others have
to it is cut off after the first `MOST_OF_A_KIND`, as a list on a page would be.
"""

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from generators.search_riddles.knowledge import Entity, Knowledge
from generators.search_riddles.sparql.queries import short
from generators.search_riddles.vocabulary import Vocabulary, meta_relations
from generators.search_riddles.walks import sayable
from generators.search_riddles.wording import indefinite
from gristmill.errors import ConfigError
from schemas import Data

MOST_OF_A_KIND = 120
SITE = "https://atlas.example/wiki/"


class Page(Data):
    url: str
    title: str
    text: str


def url_of(identity: str) -> str:
    """A page's address; `short` ids are unique in a graph."""
    return SITE + short(identity).replace("https://sws.geonames.org/", "geonames-").strip("/").replace(":", "-")


def pages(graph: Knowledge, vocabulary: Vocabulary) -> Iterator[Page]:
    """One for each entity that has a label and something stated of it."""
    for identity, entity in graph.entities.items():
        sentences = list(dict.fromkeys(_sentences(graph, vocabulary, entity))) if sayable(entity.label) else []
        if sentences:
            text = "\n".join([*_opening(vocabulary, entity), *sentences])
            yield Page(url=url_of(identity), title=entity.label, text=text)


def _opening(vocabulary: Vocabulary, entity: Entity) -> Iterator[str]:
    kind = vocabulary.kind(entity)
    about = entity.description or (indefinite(kind.nouns[0]) if kind else "")
    if about:
        yield f"{entity.label}: {about}."
    if entity.aliases:
        yield f"Also known as {', '.join(entity.aliases)}."


def _sentences(graph: Knowledge, vocabulary: Vocabulary, entity: Entity) -> Iterator[str]:
    told: Counter[tuple[str, bool]] = Counter()
    for step in graph.around[entity.id]:
        other = graph.entity(step.other)
        if step.property in meta_relations() or not sayable(other.label):
            continue
        told[step.property, step.forward] += 1
        if told[step.property, step.forward] <= MOST_OF_A_KIND:
            subject = entity if step.forward else other
            said = vocabulary.relation(step.property, vocabulary.kind(subject)).said(step.forward).verbs[0]
            yield f"{entity.label} {said.replace('{}', other.label)}."


def write_pages(path: Path, found: Iterable[Page]) -> None:
    lines = b"".join(orjson.dumps(page.model_dump()) + b"\n" for page in found)
    path.write_bytes(gzip.compress(lines, 1, mtime=0))


def read_pages(path: Path) -> Iterator[Page]:
    """Pages from a .jsonl or .jsonl.gz file: {"url", "title", "text"} a line. ConfigError where one isn't that."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            try:
                yield Page.model_validate(orjson.loads(line))
            except ValueError as error:
                told = str(error).splitlines()[0]
                raise ConfigError(f"params.search.corpus: line {number} of {path} is no page: {told}.") from None
