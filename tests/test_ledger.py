"""The ledger under damage, shared between runs, and after changes: what is good is used, nothing is bought twice."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from gristmill.errors import GristmillError
from gristmill.ledger import Ledger
from gristmill.ledger_file import Call, is_intact, packed, unpacked
from gristmill.runs import refresh
from gristmill.salvage import mend_ledger
from gristmill.testing import FaultServer
from gristmill.testing.scripted import answer_by_default
from schemas import JsonObject
from tests.runs import STEPS, records_file, rows_of, run, two_calls

ROWS = 60


def long_and_short(role: str, request: JsonObject) -> Any:
    """Replies of all sizes: some fill a part of a page, some several pages even compressed."""
    if "response_format" in request:
        return answer_by_default(role, request)
    rng = random.Random(str(request["messages"]))
    return rng.randbytes(rng.choice((50, 500, 3000, 12_000))).hex()


class Finished:
    """A finished run and its server; `copy` gives its folder without what is derived from the ledger."""

    def __init__(self, folder: Path, server: FaultServer) -> None:
        self.folder, self.server = folder, server
        self.config = two_calls(folder, server.url, ROWS)
        run(self.config, folder / "run")
        self.records = records_file(folder / "run")

    def copy(self, to: Path) -> Path:
        to.mkdir()
        shutil.copy(self.folder / "run" / "ledger.sqlite", to)
        return to / "ledger.sqlite"

    def run_again(self, folder: Path) -> int:
        """How many calls are asked again in a copy; its records must be those of the undisturbed run."""
        before = self.server.requests
        run(self.config, folder)
        assert records_file(folder) == self.records
        return self.server.requests - before


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    with FaultServer(script=long_and_short) as server:
        yield Finished(tmp_path_factory.mktemp("finished"), server)


def check_saved(finished: Finished, folder: Path, told: str) -> int:
    """What was saved isn't asked again; how many calls those were."""
    again = finished.run_again(folder)
    assert "is damaged" in told and "the rest is asked again" in told
    saved = int(told.split(": ", 1)[1].split(" calls", 1)[0].replace(",", ""))
    assert again <= 2 * ROWS - saved
    assert finished.run_again(folder) == 0, "the mended ledger is a whole one"
    return saved


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_truncated_ledger_gives_its_good_part(finished: Finished, tmp_path: Path, share: float) -> None:
    ledger = finished.copy(tmp_path / "run")
    with ledger.open("r+b") as file:
        file.truncate(int(ledger.stat().st_size * share))
    told = mend_ledger(ledger)
    saved = check_saved(finished, tmp_path / "run", told)
    if share >= 0.3:
        assert saved >= 2 * ROWS * (share - 0.25), "most of what is there is read"
    assert (tmp_path / "run" / "ledger.sqlite.damaged.1").is_file()


@pytest.mark.parametrize("seed", range(8))
def test_noise_in_the_ledger_is_found_and_costs_little(finished: Finished, tmp_path: Path, seed: int) -> None:
    """Whole pages or a few bytes anywhere behind the tables' roots; also in the middle of what a model said."""
    rng = random.Random(seed)
    ledger = finished.copy(tmp_path / "run")
    size, length = ledger.stat().st_size, (4096 if seed % 2 else 64)
    with ledger.open("r+b") as file:
        for _ in range(3):
            file.seek(rng.randrange(10 * 4096, size - length) // length * length)
            file.write(rng.randbytes(length))
    told = mend_ledger(ledger)
    if told:  # else it fell on unused space
        assert check_saved(finished, tmp_path / "run", told) > ROWS
    else:
        assert finished.run_again(tmp_path / "run") == 0


def test_a_changed_letter_in_a_reply_is_found(finished: Finished, tmp_path: Path) -> None:
    ledger = finished.copy(tmp_path / "run")
    with closing(sqlite3.connect(ledger)) as db:
        (reply,) = db.execute("SELECT reply FROM calls WHERE role = 'judge' LIMIT 1").fetchone()
    content, place = ledger.read_bytes(), 0
    place = content.index(reply) + reply.index(b"score") + 9
    digit = bytes([content[place] ^ 1])
    ledger.write_bytes(content[:place] + digit + content[place + 1 :])
    saved = check_saved(finished, tmp_path / "run", mend_ledger(ledger))
    assert saved == 2 * ROWS - 1


def test_an_empty_and_a_foreign_file_are_asked_anew(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished.copy(tmp_path / "empty").write_bytes(b"")
    assert finished.run_again(tmp_path / "empty") == 2 * ROWS
    assert "is empty: every call is asked again" in capsys.readouterr().err
    finished.copy(tmp_path / "text").write_text("these are my notes, not a ledger\n" * 200)
    assert finished.run_again(tmp_path / "text") == 2 * ROWS
    assert "0 calls and 0 outcomes could be read" in capsys.readouterr().err
    kept = (tmp_path / "text" / "ledger.sqlite.damaged.1").read_text()
    assert kept.startswith("these are my notes")


@pytest.mark.parametrize("damaged", [b"", b"these are my notes, not a ledger" * 200])
def test_reading_a_run_with_a_damaged_ledger_leaves_its_last_export(
    finished: Finished, tmp_path: Path, damaged: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = finished.copy(tmp_path / "run")
    run(finished.config, tmp_path / "run")
    ledger.write_bytes(damaged)
    assert len(rows_of(tmp_path / "run")) == ROWS
    refresh(tmp_path / "run")
    assert len(rows_of(tmp_path / "run")) == ROWS and ledger.read_bytes() == damaged
    assert "is damaged, so this is what was exported last" in capsys.readouterr().err


def test_a_ledger_of_another_version_is_refused_and_left_alone(finished: Finished, tmp_path: Path) -> None:
    ledger = finished.copy(tmp_path / "run")
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("PRAGMA user_version = 99")
    content = ledger.read_bytes()
    with pytest.raises(GristmillError, match="written by another version"):
        run(finished.config, tmp_path / "run")
    assert ledger.read_bytes() == content


def test_replies_are_compressed_and_checked() -> None:
    for json in (b"{}", b'"x"', orjson.dumps({"text": "many words " * 1000})):
        kept = packed(json)
        assert unpacked(kept) == json and is_intact(kept)
        assert not is_intact(kept[:-1]) and not is_intact(bytes([kept[0] ^ 4]) + kept[1:])
    assert len(packed(b'{"a": "' + b"many words " * 1000 + b'"}')) < 500


def test_what_changes_is_asked_again_and_nothing_else(tmp_path: Path) -> None:
    with FaultServer() as server:
        config, folder = two_calls(tmp_path, server.url, 20), tmp_path / "run"

        def asked(**changes: Any) -> int:
            before = server.requests
            run({**config, **changes}, folder)
            return server.requests - before

        models = {**config["models"], "judge": {"endpoint": server.url, "model": "m"}}
        assert asked() == 40
        assert asked(models=models) == 0, "the same model under another role's name is asked the same"
        assert asked(models={**models, "judge": {**models["judge"], "temperature": 0.1}}) == 20
        assert asked(models={**models, "judge": {**models["judge"], "max_in_flight": 3, "timeout": 9}}) == 0
        assert asked(models={**models, "judge": {**models["judge"], "model": "another"}}) == 20
        changed = [STEPS[0], {**STEPS[1], "prompt": "Rate {{ question }} for {{ text }}"}]
        assert asked(params={**config["params"], "steps": changed}) == 20
        changed = [{**STEPS[0], "prompt": "Ask about: {{ text }}"}, STEPS[1]]
        assert asked(params={**config["params"], "steps": changed}) == 40, "and what depends on it"
        assert asked(params={**config["params"], "keep_if": "verdict.score > 0"}) == 0
        assert asked(seed=5) == 0, "no call depends on the seed here"


def test_another_order_of_the_fields_of_an_answer_asks_for_these_answers_again(tmp_path: Path) -> None:
    """A model that gives its reason before its score may give another score."""
    with FaultServer() as server:
        config = two_calls(tmp_path, server.url, 5)
        question, verdict = config["params"]["steps"]
        orders = [["score", "reason"], ["reason", "score"]]
        for order in orders:
            fields = {name: {"type": {"score": "integer", "reason": "string"}[name]} for name in order}
            config["params"] = {**config["params"], "steps": [question, {**verdict, "schema": fields}]}
            summary = run(config, tmp_path / "run")
    assert (summary["accepted"], summary["calls_reused"], server.requests) == (5, 5, 15)


def test_calls_reused_counts_this_session(tmp_path: Path) -> None:
    with FaultServer() as server:
        config = two_calls(tmp_path, server.url, 20)
        assert run(config, tmp_path / "run")["calls_reused"] == 0
        again = run({**config, "params": {**config["params"], "keep_if": "verdict.score > 1"}}, tmp_path / "run")
        assert (again["calls"], again["calls_reused"]) == (40, 40)


def test_a_shared_ledger_buys_nothing_twice(tmp_path: Path) -> None:
    with FaultServer() as server:
        small, large = two_calls(tmp_path, server.url, 20), two_calls(tmp_path, server.url, 30)
        shared = {"ledger": str(tmp_path / "shared" / "all.sqlite")}
        first = run({**small, **shared}, tmp_path / "one")
        assert first["calls"] == 40 and first["usd"] > 0
        free = run({**small, **shared}, tmp_path / "two")
        assert (free["calls"], free["calls_reused"], free["usd"], free["by_role"]) == (0, 40, 0, {})
        assert server.requests == 40 and records_file(tmp_path / "one") == records_file(tmp_path / "two")
        more = run({**large, **shared}, tmp_path / "three")
        assert (more["calls"], more["calls_reused"], server.requests) == (20, 40, 60)
        again = run({**large, **shared, "seed": 1}, tmp_path / "three")
        assert (again["calls"], again["calls_reused"], server.requests) == (20, 60, 60)
        alone = run(large, tmp_path / "four")
        assert alone["calls"] == 60, "without `ledger` a run stands alone"
    assert {row["paid"] for row in rows_of(tmp_path / "two", "calls.parquet")} == {False}


def test_what_was_paid_before_a_ledger_was_shared_is_shared_on_resume(tmp_path: Path) -> None:
    """Also what a kill between the two commits kept from it."""
    with FaultServer() as server:
        config, shared = two_calls(tmp_path, server.url, 20), {"ledger": str(tmp_path / "all.sqlite")}
        run(config, tmp_path / "one")
        run({**config, **shared}, tmp_path / "one")
        with closing(sqlite3.connect(tmp_path / "all.sqlite")) as db, db:
            db.execute("DELETE FROM calls WHERE rowid % 3 = 0")
        run({**config, **shared}, tmp_path / "one")
        assert run({**config, **shared}, tmp_path / "two")["calls_reused"] == 40 and server.requests == 40


async def test_a_scope_that_was_opened_twice_does_not_lock_a_run_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    for reply in (b'"first"', b'"second"'):
        await ledger.record_call(Call("task", b"k", "0", "s", "r", "m", "stop", 1, 1, 0, 0, 0.0, 0.0, 0.0, True, reply))
    ledger.close()
    with closing(Ledger(path)) as again:
        assert again.reply("task", b"k") == b'"first"' and len(list(again.calls())) == 1


@pytest.mark.parametrize("content", ["not a ledger, but some text of mine " * 100, "cut", "version"])
def test_a_shared_ledger_that_cannot_be_used_is_one_sentence(tmp_path: Path, content: str) -> None:
    with FaultServer() as server:
        shared = tmp_path / "all.sqlite"
        config = {**two_calls(tmp_path, server.url, 20), "ledger": str(shared)}
        if content in ("cut", "version"):
            run(config, tmp_path / "one")
        if content == "cut":
            with shared.open("r+b") as file:
                file.truncate(9000)
        elif content == "version":
            with closing(sqlite3.connect(shared)) as db:
                db.execute("PRAGMA user_version = 1")
        else:
            shared.write_text(content)
        before = shared.read_bytes()
        with pytest.raises(GristmillError, match=r"all.sqlite (can't be used|was written by another version)"):
            run(config, tmp_path / "two")
        assert shared.read_bytes() == before


def test_a_damaged_reply_in_a_shared_ledger_is_bought_again(tmp_path: Path) -> None:
    with FaultServer() as server:
        shared = tmp_path / "all.sqlite"
        config = {**two_calls(tmp_path, server.url, 20), "ledger": str(shared)}
        run(config, tmp_path / "one")
        with closing(sqlite3.connect(shared)) as db, db:
            db.execute("UPDATE calls SET reply = substr(reply, 2) WHERE rowid = 3")
        run(config, tmp_path / "two")
        assert server.requests == 41 and records_file(tmp_path / "one") == records_file(tmp_path / "two")
        run(config, tmp_path / "three")
        assert server.requests == 41


async def test_commits_are_grouped_and_each_waits_for_its_own(tmp_path: Path) -> None:
    """A hundred calls at once make a few commits, and none returns before its row can be read by others."""
    import asyncio

    ledger = Ledger(tmp_path / "ledger.sqlite")
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    ledger._db.set_trace_callback(count)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as other:

        async def record(number: int) -> None:
            await asyncio.sleep(number % 10 / 1000)
            key = number.to_bytes(16)
            await ledger.record_call(
                Call("task", key, "0", "s", "r", "m", "stop", 1, 1, 0, 0, 0.0, 0.0, 0.0, True, b'{"n": 1}')
            )
            assert other.execute("SELECT count(*) FROM calls WHERE key = ?", (key,)).fetchone() == (1,)

        await asyncio.gather(*(record(number) for number in range(100)))
    ledger.close()
    assert 2 <= commits <= 20
