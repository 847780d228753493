r"""Files of a graph, as N-Triples.

    statements.tsv   Q64 \t P17 \t Q183                                  (.tsv, .tsv.gz; a header line is passed over)
    entities.jsonl   {"id": "Q64", "label": "Berlin", "aliases": [...], "description": "...", "types": ["Q515"]}
    relations.json   {"P17": {"label": "country"}}
    any.nt, any.ttl  as they are

A Q number stands for Wikidata's entity, a P number for its direct property; anything else must be an IRI. Labels are
taken in the graph's own language tag, `en` where it has none.
"""

import gzip
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from generators.search_riddles.sparql.queries import ALT_LABEL, DESCRIPTION, DIRECT, ENTITY, LABEL
from gristmill.config import require_file
from gristmill.errors import ConfigError

_QID = re.compile(r"Q\d+")
_PID = re.compile(r"P\d+")
_NO_IRI = re.compile(r'[\s<>"{}|^`\\]')
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def n_triples(files: Iterable[Path]) -> bytes:
    """The statements of all files; ConfigError where one isn't there or can't be read."""
    return b"".join(_triples(file) for file in files)


def _triples(file: Path) -> bytes:
    require_file(file, "params.graph")
    name = file.name.removesuffix(".gz")
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        if name.endswith(".nt"):
            return content + b"\n"
        if name.endswith(".ttl"):
            return _from_turtle(content)
        if name.endswith(".tsv"):
            return "".join(_statements(content.decode(), file)).encode()
        if name.endswith(".jsonl"):
            return "".join(line for row in content.splitlines() if row for line in _names(orjson.loads(row))).encode()
        if name.endswith(".json"):
            named = ({"id": key, **value} for key, value in orjson.loads(content).items())
            return "".join(line for row in named for line in _names(row)).encode()
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"params.graph: {file} can't be read: {error}.") from None
    raise ConfigError(f"params.graph: {file} is no .nt, .ttl, .tsv, .jsonl or .json file (each may be gzipped).")


def _from_turtle(content: bytes) -> bytes:
    from rdflib import Graph

    try:
        return Graph().parse(data=content, format="turtle").serialize(format="nt").encode()
    except Exception as error:  # rdflib's parser raises its own and Python's
        raise ValueError(str(error).splitlines()[0]) from None


def _statements(text: str, file: Path) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split("\t")
        if len(cells) != 3:
            if line.strip():
                raise ConfigError(f"params.graph: line {number} of {file} has {len(cells)} fields, not three.")
        elif number > 1 or _QID.fullmatch(cells[0]) or ":" in cells[0]:
            subject, prop, value = (cell.strip() for cell in cells)
            yield f"<{iri(subject)}> <{iri(prop)}> <{iri(value)}> .\n"


def _names(row: dict[str, Any]) -> Iterator[str]:
    given = row.get("id") or row["qid"]
    about = f"<{ENTITY if _PID.fullmatch(given) else ''}{given if _PID.fullmatch(given) else iri(given)}>"
    for prop, texts in (
        (LABEL, [row.get("label")]),
        (ALT_LABEL, row.get("aliases") or []),
        (DESCRIPTION, [row.get("description")]),
    ):
        for text in filter(None, texts):
            yield f'{about} <{prop}> "{text.translate(_ESCAPES)}"@en .\n'
    for kind in row.get("types") or []:
        yield f"{about} <{DIRECT}P31> <{iri(kind)}> .\n"


def iri(given: str) -> str:
    """The IRI that a file means; ValueError where it means none."""
    if _QID.fullmatch(given):
        return ENTITY + given
    if _PID.fullmatch(given):
        return DIRECT + given
    if ":" not in given or _NO_IRI.search(given):
        raise ValueError(f"{given!r} is neither an id such as Q64 nor an IRI")
    return given
