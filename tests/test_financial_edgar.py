"""Fetching from EDGAR, against a server that speaks like it: what is asked for, how fast, and never twice."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from generators.financial_qa import BUNDLED, FinancialQA, Params, edgar
from generators.financial_qa.edgar import EdgarConfig
from gristmill.errors import ConfigError, EndpointError
from gristmill.testing import run_scripted

AGENT = "Test Person test@example.org"
CUT_OFF = -1
DOCUMENTS = {"hcrk-10-k-2024.htm": "hcrk-10-k-2024.html", "hcrk-10-k-2022.htm": "hcrk-10-k-2022.html"}


class FakeEdgar(ThreadingHTTPServer):
    """`asked` are the paths with their times; `faults` are statuses that a path gives first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[float, str, str]] = []
        self.faults: dict[str, list[int]] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    server: FakeEdgar

    def do_GET(self) -> None:
        self.server.asked.append((time.monotonic(), self.path, self.headers.get("User-Agent", "")))
        faults = self.server.faults.get(self.path, [])
        fault = faults.pop(0) if faults else 0
        body = b"" if fault > 0 else self.body()
        self.send_response(fault if fault > 0 else 200 if body else 404)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == CUT_OFF else body)

    def body(self) -> bytes:
        name = self.path.rpartition("/")[2]
        if name == "company_tickers.json":
            return orjson.dumps({"0": {"cik_str": 9900001, "ticker": "HCRK", "title": "HARROW CREEK INSTRUMENTS"}})
        if self.path == "/submissions/CIK0009900001.json":
            recent = listing([("10-K", "2024-12-28", "hcrk-10-k-2024.htm"), ("8-K", "2024-11-01", "news.htm"),
                              ("10-K", "2023-12-30", "gone.htm"), ("10-Q", "2024-06-29", "scan.pdf")])  # fmt: skip
            return orjson.dumps({"cik": 9900001, "filings": {"recent": recent, "files": [{"name": "older.json"}]}})
        if self.path == "/submissions/older.json":
            return orjson.dumps(
                listing([("10-K", "2022-12-31", "hcrk-10-k-2022.htm"), ("10-K", "2011-12-31", "old.htm")])
            )
        if name in DOCUMENTS:
            return (BUNDLED / DOCUMENTS[name]).read_bytes()
        return b""

    def log_message(self, *arguments: Any) -> None:
        return None


def listing(rows: list[tuple[str, str, str]]) -> dict[str, list[str]]:
    """As EDGAR lists filings: a column for each field."""
    return {
        "form": [form for form, _, _ in rows], "reportDate": [day for _, day, _ in rows],
        "accessionNumber": [f"0009900001-{day[2:4]}-{n:06}" for n, (_, day, _) in enumerate(rows)],
        "primaryDocument": [name for _, _, name in rows],
    }  # fmt: skip


@pytest.fixture
def server() -> Iterator[FakeEdgar]:
    with FakeEdgar() as fake:
        threading.Thread(target=fake.serve_forever, daemon=True).start()
        yield fake
        fake.shutdown()


def config(server: FakeEdgar, cache: Path, **more: Any) -> dict[str, Any]:
    fetched = {
        "user_agent": AGENT,
        "cache": str(cache),
        "symbols": ["HCRK"],
        "archives": server.url,
        "data": server.url,
    }
    params = {"edgar": {**fetched, "per_second": 10, **more}, "paraphrase": False}
    return {"generator": "financial_qa", "tasks": 30, "judges": [{"name": "xbrl"}], "params": params}


def test_a_run_from_edgar(server: FakeEdgar, tmp_path: Path) -> None:
    address = "/Archives/edgar/data/9900001/000990000124000000/hcrk-10-k-2024.htm"
    server.faults = {address: [429, 503], "/submissions/CIK0009900001.json": [403]}
    summary = run_scripted(config(server, tmp_path / "cache"), tmp_path / "run")
    assert summary["accepted"] == 28
    counted = Counter(server.paths())
    assert counted[address] == 3 and counted["/submissions/older.json"] == 1
    assert not any(name in path for path in counted for name in ("news", "scan", "old.htm"))
    assert {agent for _, _, agent in server.asked} == {AGENT}
    times = [when for when, _, _ in server.asked]
    assert min(after - before for before, after in pairwise(times)) > 0.05  # at most ten a second
    assert (times[-1] - times[0]) / (len(times) - 1) >= 0.099
    assert summary["by_reason"] == {"filing/absent": 2}
    lost = pq.read_table(tmp_path / "run/rejects").to_pylist()
    assert [row["detail"] for row in lost] == [
        "9900001: no company facts", "9900001: no document 0009900001-23-000002",
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "cache/9900001").iterdir()) == [
        "0009900001-22-000000.htm", "0009900001-24-000000.htm",
    ]  # fmt: skip
    years = {orjson.loads(row["metadata"])["year"] for row in pq.read_table(tmp_path / "run/records").to_pylist()}
    assert years == {2022, 2024}


def test_nothing_is_fetched_twice(server: FakeEdgar, tmp_path: Path) -> None:
    run_scripted(config(server, tmp_path / "cache"), tmp_path / "run")
    before = len(server.asked)
    run_scripted({**config(server, tmp_path / "cache"), "tasks": 40}, tmp_path / "run")
    assert len(server.asked) == before  # the ledger knows
    run_scripted(config(server, tmp_path / "cache"), tmp_path / "other")
    assert not any(path.endswith(("2024.htm", "2022.htm")) for path in server.paths()[before:])  # the folder does


def test_a_cache_that_was_removed_is_filled_again(server: FakeEdgar, tmp_path: Path) -> None:
    run_scripted(config(server, tmp_path / "one"), tmp_path / "run")
    for path in sorted((tmp_path / "one").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    summary = run_scripted(config(server, tmp_path / "one"), tmp_path / "run")
    assert summary["accepted"] == 28


def test_company_facts_alone(server: FakeEdgar, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.filings"):  # there are none here, and no documents are wanted
        run_scripted(config(server, tmp_path / "cache", documents=False), tmp_path / "run")
    assert [path for path in server.paths() if "companyfacts" in path] and not any(
        "submissions" in p for p in server.paths()
    )


def test_unknown_symbols_and_missing_contacts_are_config_errors(server: FakeEdgar, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="knows XYZ"):
        run_scripted(config(server, tmp_path / "cache", symbols=["XYZ"]), tmp_path / "run")
    with pytest.raises(ValidationError, match="e-mail"):
        EdgarConfig(user_agent="Mozilla/5.0", cache=tmp_path)
    with pytest.raises(ValidationError, match="less than or equal to 10"):
        EdgarConfig(user_agent=AGENT, cache=tmp_path, per_second=20)
    FinancialQA(Params(edgar=EdgarConfig(user_agent=AGENT, cache=tmp_path)))


def test_an_edgar_that_is_not_there_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgar, "_TRIES", 2)
    with FakeEdgar() as gone:
        unreachable = config(gone, tmp_path / "cache")
    with pytest.raises(EndpointError, match="EDGAR gave"):
        run_scripted(unreachable, tmp_path / "run")


def test_a_download_that_breaks_off_is_asked_for_again(server: FakeEdgar, tmp_path: Path) -> None:
    address = "/Archives/edgar/data/9900001/000990000124000000/hcrk-10-k-2024.htm"
    server.faults = {address: [CUT_OFF, CUT_OFF]}
    run_scripted(config(server, tmp_path / "cache"), tmp_path / "run")
    assert server.paths().count(address) == 3
    saved = tmp_path / "cache/9900001/0009900001-24-000000.htm"
    assert saved.read_bytes() == (BUNDLED / "hcrk-10-k-2024.html").read_bytes()
    assert not list((tmp_path / "cache").rglob("*.part"))
