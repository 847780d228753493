"""Graphs: files of every kind, the embedded server, a public service with every fault."""

import asyncio
import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from generators.search_riddles.knowledge import Entity
from generators.search_riddles.making import Made
from generators.search_riddles.sparql.endpoint import Busy, Public, QueryFailed, Unreachable, ask, rows_of
from generators.search_riddles.sparql.files import n_triples
from generators.search_riddles.sparql.queries import DIRECT, ENTITY, hubs, names
from generators.search_riddles.sparql.server import serving
from generators.search_riddles.walks import Lost, WalkLimits
from gristmill.errors import ConfigError, EndpointError, GristmillError
from gristmill.testing import ScriptedModel, run_scripted
from tests.riddle_world import World, world
from tests.runs import rows_of as run_rows

pytestmark = pytest.mark.riddles

Answer = tuple[int, dict[str, str], bytes]
GOOD: Answer = (200, {"Content-Type": "application/sparql-results+json"}, orjson.dumps(
    {"head": {"vars": ["e"]}, "results": {"bindings": [{"e": {"type": "uri", "value": "http://x/1"}}]}}))  # fmt: skip


class Service:
    """A SPARQL service that answers as told; the last answer is repeated."""

    def __init__(self, answers: list[Answer | Callable[[BaseHTTPRequestHandler], None]]) -> None:
        self.answers, self.agents, self.most, self._now = answers, list[str](), 0, 0
        self.requests = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._handle(self)

            def log_message(self, format: str, *args: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/sparql"

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            answer = self.answers[min(self.requests, len(self.answers) - 1)]
            self.requests += 1
            self._now += 1
            self.most = max(self.most, self._now)
            self.agents.append(handler.headers["User-Agent"])
        handler.rfile.read(int(handler.headers["Content-Length"]))
        try:
            if callable(answer):
                answer(handler)
                return
            status, headers, body = answer
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            pass  # the client has gone
        finally:
            with self._lock:
                self._now -= 1


@contextmanager
def service(*answers: Answer | Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Service]:
    made = Service(list(answers))
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()


def half(handler: BaseHTTPRequestHandler) -> None:
    """Breaks off in the middle of its answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(GOOD[2][:40])


def stalling(handler: BaseHTTPRequestHandler) -> None:
    """Sends a beginning, then nothing for longer than anybody waits."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(GOOD[2][:40])
    handler.wfile.flush()
    time.sleep(2.5)


class Ledger:
    """Of a Context what an endpoint uses: effects that are performed once."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}

    async def effect(self, kind: str, request: Any, perform: Any) -> Any:
        key = f"{kind} {request['query']}"
        if key not in self.known:
            self.known[key] = await perform()
        return self.known[key]


def public(url: str, ledger: Ledger | None = None, **more: Any) -> Public:
    context: Any = ledger or Ledger()
    return Public(context, url, "tests@example.org", pause=0.01, **more)


HTML: Answer = (200, {"Content-Type": "text/html"}, b"<html><body>Upstream error</body></html>")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param((429, {"Retry-After": "0"}, b""), id="429"),
        pytest.param((503, {}, b"busy"), id="503"),
        pytest.param((500, {}, b"it broke"), id="500"),
        pytest.param(HTML, id="html"),
        pytest.param((200, {}, GOOD[2][:50]), id="half a JSON"),
        pytest.param((200, {}, b'{"results": []}'), id="other JSON"),
        pytest.param(half, id="cut off"),
    ],
)
async def test_what_may_pass_is_tried_again(fault: Any) -> None:
    with service(fault, fault, GOOD) as one:
        assert await public(one.url).select("SELECT ?e {}") == [{"e": "http://x/1"}]
        assert one.requests == 3 and set(one.agents) == {"Gristmill/0.1 (tests@example.org) SPARQLWrapper"}


async def test_what_does_not_pass_ends_the_run_with_a_sentence() -> None:
    with service(HTML) as one:
        with pytest.raises(EndpointError, match=r"can't be asked: no SPARQL result, but '<html>.*4 times"):
            await public(one.url).select("SELECT ?e {}")
        assert one.requests == 4
    with pytest.raises(EndpointError, match="no connection"):
        await public("http://127.0.0.1:9/sparql").select("SELECT ?e {}")
    with service((404, {}, b"")) as one, pytest.raises(GristmillError, match="no SPARQL endpoint"):
        await public(one.url).select("SELECT ?e {}")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ((500, {}, b"java.util.concurrent.TimeoutException"), "timeout"),
        ((504, {}, b""), "timeout"),
        ((400, {}, b"parse error"), "refused"),
        (stalling, "timeout"),
    ],
)
async def test_a_query_that_is_too_much_is_data_and_stays_so(fault: Any, reason: str) -> None:
    """It is not asked again, and a resumed run knows it from the ledger."""
    ledger = Ledger()
    with service(fault, GOOD) as one:
        for _ in range(2):
            with pytest.raises(QueryFailed) as failed:
                await public(one.url, ledger, seconds=1).select("SELECT ?e {}")
            assert failed.value.reason == reason
        assert one.requests == 1


async def test_a_service_is_asked_one_query_at_a_time_and_each_once() -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.03)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(GOOD[2])))
        handler.end_headers()
        handler.wfile.write(GOOD[2])

    ledger = Ledger()
    with service(slow) as one:
        asked = public(one.url, ledger)
        await asyncio.gather(*(asked.select(f"SELECT {n}") for n in range(6)))
        assert one.most == 1 and one.requests == 6
        await asyncio.gather(*(asked.select(f"SELECT {n}") for n in range(6)))
        assert one.requests == 6
        await asyncio.gather(*(public(one.url, in_flight=3).select(f"SELECT {n}") for n in range(3)))
        assert one.most > 1


async def test_a_service_is_left_alone_for_as_long_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    soon = "Fri, 31 Dec 2100 23:59:59 GMT"
    with service((429, {"Retry-After": "7"}, b""), (503, {"Retry-After": soon}, b""), (503, {}, b""), GOOD) as one:
        await public(one.url).select("SELECT ?e {}")
    assert waits == [7.0, 120.0, 0.04]


def test_rows_are_texts() -> None:
    assert rows_of(GOOD[2]) == [{"e": "http://x/1"}]
    for broken in (b"", b"null", b"[]", b'{"results": {"bindings": [1]}}', b"\xff\xfe"):
        with pytest.raises(Busy):
            rows_of(broken)


def test_an_embedded_server_that_is_gone_says_so() -> None:
    with serving(()) as gone:
        pass
    with pytest.raises(GristmillError, match="is gone"):
        asyncio.run(gone.select("ASK {}"))
    with pytest.raises(Unreachable):
        ask(f"{gone._url}/query", "ASK {}", 1, "test")


TURTLE = """
@prefix wd: <http://www.wikidata.org/entity/> . @prefix wdt: <http://www.wikidata.org/prop/direct/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
wd:Q64 wdt:P17 wd:Q183 ; rdfs:label "Berlin"@en, "Berlín"@es . wd:Q183 rdfs:label "Germany" .
"""
NT = (
    f"<{ENTITY}Q64> <{DIRECT}P17> <{ENTITY}Q183> .\n"
    f'<{ENTITY}Q64> <http://www.w3.org/2000/01/rdf-schema#label> "Berlin"@en .\n'
    f'<{ENTITY}Q183> <http://www.w3.org/2000/01/rdf-schema#label> "Germany" .\n'
)


def test_files_of_every_kind_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.ttl").write_text(TURTLE, encoding="utf-8")
    (tmp_path / "a.nt").write_text(NT, encoding="utf-8")
    (tmp_path / "a.tsv").write_text("subject\tproperty\tobject\nQ64\tP17\tQ183\n", encoding="utf-8")
    rows = [{"id": "Q64", "label": "Berlin"}, {"qid": "Q183", "label": "Germany"}]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"".join(orjson.dumps(row) + b"\n" for row in rows)))
    for files in (["a.ttl"], ["a.nt"], ["a.tsv", "a.jsonl.gz"]):
        with world(*(str(tmp_path / file) for file in files)) as one:
            berlin = one.graph.entities[ENTITY + "Q64"]
            assert (berlin.label, berlin.links) == ("Berlin", 1)
            (step,) = one.graph.around[berlin.id]
            assert step == (DIRECT + "P17", True, ENTITY + "Q183") and one.graph.entity(step.other).label == "Germany"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.tsv", b"Q1\tP2\n", "line 1 .* has 2 fields"),
        ("a.tsv", b"s\tp\to\nQ1\tP2\tBerlin Mitte\n", "'Berlin Mitte' is neither an id"),
        ("a.tsv", b"\xff\xfe\x00", "can't be read"),
        ("a.tsv.gz", b"no gzip", "can't be read"),
        ("a.jsonl", b'{"label": "x"}\n', "can't be read"),
        ("a.jsonl", b"{", "can't be read"),
        ("a.ttl", b"this is no turtle .", "can't be read"),
        ("a.nt", b"this is no triple .\n", "can't be loaded"),
        ("a.csv", b"Q1,P2,Q3", "is no .nt, .ttl"),
    ],
)
def test_a_file_that_can_not_be_read_is_named(name: str, content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=complaint), serving((str(tmp_path / name),)):
        pass


def test_labels_of_every_kind_come_back_as_they_are(tmp_path: Path) -> None:
    labels = ['{"x": {{ 7 }}}', "<b>bold</b>", 'say "no"\\', "two\nlines\there", "Żółć 🌍", "x" * 5000, "urn:x:y", ""]
    rows = [{"id": f"Q{n}", "label": label} for n, label in enumerate(labels, start=1)]
    (tmp_path / "e.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    (tmp_path / "s.tsv").write_text("".join(f"Q{n}\tP47\tQ{n % 8 + 1}\n" for n in range(1, 9)), encoding="utf-8")
    with world(str(tmp_path / "e.jsonl"), str(tmp_path / "s.tsv")) as one:
        known = [one.graph.entity(f"{ENTITY}Q{n}").label for n in range(1, 9)]
        assert known == [*(" ".join(label.split()) for label in labels)]
        kinds = [one.walker().kind(f"{ENTITY}Q{n}") for n in range(1, 9)]
        assert kinds == ["unlabelled", "unlabelled", "unlabelled", "unclassed", "unclassed"] + ["unlabelled"] * 3
        assert {page.title for page in one.pages} == {"two lines here", "Żółć 🌍"}


def test_walks_never_go_round_in_a_circle(tmp_path: Path) -> None:
    ring = "".join(f"Q{n}\tP47\tQ{n % 5 + 1}\nQ{n}\tP31\tQ6256\n" for n in range(1, 6))
    (tmp_path / "s.tsv").write_text(ring, encoding="utf-8")
    rows = [{"id": f"Q{n}", "label": f"Land {n}"} for n in range(1, 6)]
    (tmp_path / "e.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    with world(str(tmp_path / "s.tsv"), str(tmp_path / "e.jsonl")) as one:
        walker = one.walker(WalkLimits(hub_links=1))
        walk = asyncio.run(walker.walk(ENTITY + "Q1", 4, Random(0)))
        assert len(set(walk.entities)) == 5
        with pytest.raises(Lost) as lost:
            asyncio.run(walker.walk(ENTITY + "Q1", 5, Random(0)))
        assert lost.value.reason in ("cycle", "there_and_back", "meta_relation")


def test_the_same_queries_serve_a_public_service(riddle_world: World, riddles_made: Made, tmp_path: Path) -> None:
    """The embedded server stands in for Wikidata's: the whole generator by address, a part of the graph at a time."""
    url = f"{riddle_world.endpoint._url}/query"
    params = {
        "endpoint": url, "contact": "tests@example.org", "riddles": 3, "closed_book": 0, "normalise": False,
        "walks": {"hops": [4], "hubs_per_class": 5}, "agent": {"rollouts": 1},
    }  # fmt: skip
    config = {"generator": "search_riddles", "tasks": 3, "params": params}
    summary = run_scripted(config, tmp_path / "run", ScriptedModel(lambda role, request: "Final Answer: Atlantis"))
    assert summary["failed"] == 0 and set(summary["by_reason"]) <= {"agent/wrong", "riddle/one_search"}
    made = [orjson.loads(line) for line in (tmp_path / "run/artifacts/riddles.jsonl").read_bytes().splitlines()]
    for riddle in made:
        rows = asyncio.run(riddle_world.endpoint.select(riddle["sparql"]))
        assert [row["answer"] for row in rows] == [riddle["answers"][0]["iri"]]
    assert sum(1 for row in run_rows(tmp_path / "run", "rejects")) == 3


def test_queries_name_every_prefix_they_use() -> None:
    for query in (names("en", [ENTITY + "Q1"]), hubs([ENTITY + "Q515"], "", 1, 2), hubs([], ENTITY + "Q1", 1, 2)):
        for prefix in ("wd", "wdt", "wikibase", "rdfs", "skos", "schema"):
            assert f"PREFIX {prefix}: <http" in query
        assert "SERVICE" not in query


def test_the_bundled_graph_is_large_enough_and_of_real_ids(riddle_world: World) -> None:
    graph = riddle_world.graph
    stated = sum(step.forward for steps in graph.around.values() for step in steps)
    assert stated >= 5000 and all(isinstance(entity, Entity) for entity in graph.entities.values())
    known = {"Paris": "Q90", "France": "Q142", "English": "Q1860", "Euro": "Q4916", "uranium": "Q1098"}
    for label, qid in known.items():
        assert graph.entity(ENTITY + qid).label == label
    unlabelled = [one for one, entity in graph.entities.items() if not entity.label and graph.around[one]]
    assert unlabelled == []


@pytest.mark.shared
def test_genuine_wikidata_gives_riddles_as_well(shared_data: Path) -> None:
    """The recipe's thousand are in the docs; here a part of them."""
    folder = shared_data / "wikidata"
    files = [str(folder / name) for name in ("triples_labelled.tsv.gz", "entities.jsonl.gz", "relations.json")]
    with world(*files) as one:
        made = one.make(40)
        assert len(made.riddles) == 40 and {riddle.hops for riddle in made.riddles} == {4, 5, 6, 7, 8}
        for riddle in made.riddles:
            rows = asyncio.run(one.endpoint.select(riddle.sparql))
            assert [row["answer"] for row in rows] == [riddle.answer.iri]
            assert "{" not in riddle.question


def test_triples_are_well_formed() -> None:
    assert n_triples([]) == b""
