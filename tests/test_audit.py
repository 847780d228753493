"""`gristmill audit`: who is drawn, what is kept, and the rates that follow."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.audit import Candidate, Review, Reviews, Side, audit_figures, draw
from gristmill.testing import FaultServer
from schemas import JsonObject
from tests.blending import ask, blend, record, write
from tests.runs import records_file, run, two_calls


def candidates(**strata: int) -> list[Candidate]:
    """`a_accepted=5` makes five of stratum a."""
    found = []
    for name, count in strata.items():
        side: Side = "accepted" if name.endswith("_accepted") else "rejected"
        found += [Candidate(f"{name}{n}", side, name.rpartition("_")[0]) for n in range(count)]
    return found


def test_half_of_the_sample_are_rejects_and_every_stratum_is_in_it() -> None:
    found = candidates(big_accepted=900, small_accepted=3, sql_rejected=95, odd_rejected=1)
    drawn = draw(found, 40)
    assert Counter(one.side for one in drawn) == {"accepted": 20, "rejected": 20}
    assert {one.stratum for one in drawn} == {"big", "small", "sql", "odd"}
    assert [one.side for one in drawn[:20]].count("accepted") < 20  # mixed, so that nobody knows what comes next
    assert draw(found, 40) == drawn != draw(found, 40, seed=1)


def test_a_side_that_is_short_leaves_its_room_to_the_other() -> None:
    assert Counter(one.side for one in draw(candidates(a_accepted=50, b_rejected=3), 20)) == {
        "accepted": 17, "rejected": 3
    }  # fmt: skip
    assert len(draw(candidates(a_accepted=2, b_rejected=3), 20)) == 5
    assert len(draw(candidates(**{f"s{n}_accepted": 2 for n in range(30)}), 10)) == 10


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6), st.lists(st.integers(0, 20), max_size=4), st.integers(0, 200)
)
def test_a_larger_sample_contains_the_smaller(accepted: list[int], rejected: list[int], n: int) -> None:
    found = candidates(**{f"s{place}_accepted": count for place, count in enumerate(accepted)})
    found += candidates(**{f"s{place}_rejected": count for place, count in enumerate(rejected)})
    smaller, larger = draw(found, n), draw(found, n + 1)
    assert {*smaller} <= {*larger} and len(smaller) == min(n, len(found))


def review(id: str, side: Side, stratum: str, decision: Any, reviewer: str = "ann", **more: Any) -> Review:
    return Review(id, side, stratum, reviewer, more.pop("time", "2026-01-01T00:00:00+00:00"), decision, **more)


def test_rates_weigh_strata_by_their_size(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path / "reviews.parquet")
    for n in range(10):
        reviews.add(review(f"big{n}", "accepted", "big", "accept"))
        reviews.add(review(f"small{n}", "accepted", "small", "reject"))
    found = audit_figures(reviews, Counter({("accepted", "big"): 900, ("accepted", "small"): 100}))
    assert found["false_accepts"]["rate"] == 0.1 and found["false_rejects"] is None
    assert found["false_accepts"]["low"] < 0.1 < found["false_accepts"]["high"]


def test_the_last_decision_counts_and_two_reviewers_give_kappa(tmp_path: Path) -> None:
    path = tmp_path / "reviews.parquet"
    reviews = Reviews(path)
    for n, (ann, bob) in enumerate([("accept", "accept"), ("reject", "reject"), ("accept", "reject")]):
        reviews.add(review(str(n), "rejected", "s", ann))
        reviews.add(review(str(n), "rejected", "s", bob, "bob", time="2026-01-02T00:00:00+00:00"))
    reviews.add(review("0", "rejected", "s", "fix", note="a typo", edited="[]"))
    found = audit_figures(Reviews(path), Counter({("rejected", "s"): 3}))
    assert found["reviewed"] == 3 and found["false_rejects"]["rate"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["agreement"] == [{"reviewers": ["ann", "bob"], "n": 3, "agreement": 0.3333, "kappa": 0.0}]


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    """A run of 40 tasks, of which some pass."""

    def script(role: str, request: JsonObject) -> Any:
        if "response_format" in request:
            return {"score": 1 + sum(map(ord, str(request["messages"]))) % 5}
        return "Why \x1b[31mred?"

    with FaultServer(script=script) as server:
        config = two_calls(tmp_path, server.url, 40)
        config["params"] = {**config["params"], "keep_if": "verdict.score >= 3"}
        run(config, tmp_path / "run")
    return tmp_path / "run"


def audit(folder: Path, keys: str, *arguments: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gristmill.cli", "audit", str(folder), *arguments],
        input=keys, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **env}, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "reviews.parquet").to_pylist()
    return found


def test_a_session_stops_and_goes_on(audited: Path) -> None:
    before = records_file(audited)
    first = audit(audited, "a\nr\nnot a question\ns\nq\n", "-n", "6", "--reviewer", "ann")
    assert "1 of 6" in first and "3 of 6" in first and "5 of 6" not in first
    assert [row["decision"] for row in rows(audited)] == ["accept", "reject"]
    assert rows(audited)[1]["note"] == "not a question"
    second = audit(audited, "a\n" * 4, "-n", "6", "--reviewer", "ann")
    assert "1 of 6" not in second and "3 of 6" in second and "6 of 6" in second
    assert len(rows(audited)) == 6 and records_file(audited) == before
    summary = json.loads((audited / "summary.json").read_text())["audit"]
    assert summary["reviewed"] == 6 and summary["false_accepts"]["n"] == 3 == summary["false_rejects"]["n"]
    assert "People reviewed 6" in (audited / "README.md").read_text()
    assert "<h2>Audit</h2>" in (audited / "report.html").read_text()


def test_a_fix_keeps_the_edited_messages(audited: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys, json\npath = sys.argv[1]\nmessages = json.load(open(path))\n"
        "messages[0]['content'] = 'Why?'\njson.dump(messages, open(path, 'w'))\n"
    )
    audit(audited, "f\nunclear\n" + "s\n" * 40, "-n", "40", "--reviewer", "ann", EDITOR=f"{sys.executable} {editor}")
    (fixed,) = rows(audited)
    assert (fixed["decision"], fixed["note"]) == ("fix", "unclear")
    assert json.loads(fixed["edited"])[0] == {"role": "user", "content": "Why?"}


def test_an_edit_that_breaks_the_messages_is_asked_again(audited: Path) -> None:
    told = audit(audited, "f\nq\n", "-n", "2", "--reviewer", "ann", EDITOR="truncate -s 0")
    assert "these are no messages" in told or "no conversation in it" in told
    assert not (audited / "reviews.parquet").exists()


def test_a_terminal_obeys_no_record(audited: Path) -> None:
    told = audit(audited, "s\n" * 40, "-n", "40", "--reviewer", "ann")
    assert "\x1b" not in told and "\ufffd[31mred?" in told


def test_a_run_that_is_none_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gristmill.cli", "audit", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "is no run" in done.stderr


def test_a_blend_leaves_out_what_was_rejected_and_takes_what_was_mended(tmp_path: Path) -> None:
    write(tmp_path / "run/records/part-00000.parquet", [record(n) for n in range(4)])
    uuids = [record(n).uuid for n in range(4)]
    reviews = Reviews(tmp_path / "run/reviews.parquet")
    mended = orjson.dumps([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]).decode()
    reviews.add(review(uuids[0], "accepted", "g", "reject", note="a lie"))
    reviews.add(review(uuids[1], "accepted", "g", "fix", note="clumsy", edited=mended))
    reviews.add(review(uuids[2], "accepted", "g", "accept"))
    reviews.add(review(uuids[3], "accepted", "g", "reject"))
    reviews.add(review(uuids[3], "accepted", "g", "accept", "bob", time="2026-01-02T00:00:00+00:00"))
    blend(tmp_path, [{"name": "a", "path": str(tmp_path / "run"), "weight": 1}], total=3)
    kept = dict(ask(tmp_path, "SELECT uuid, messages[1].content FROM samples"))
    assert kept == {uuids[1]: "Why?", uuids[2]: "Question 2?", uuids[3]: "Question 3?"}
    assert ask(tmp_path, "SELECT uuid, reason, detail FROM dropped") == [(uuids[0], "review", "a lie")]
    assert ask(tmp_path, "SELECT metadata ->> '$.review.note' FROM samples WHERE uuid = '" + uuids[1] + "'") == [
        ("clumsy",)
    ]
