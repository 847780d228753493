"""Execution as proof: what holds passes, and whatever is wrong with a record is refuted by a reason of its own."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import Record
from judges.sql_execution import (
    SAMPLE_ROWS,
    Distractors,
    SQLExecution,
    SQLProof,
    SQLWorld,
    comparable,
    prove,
    query_in,
    result_hash,
)
from judges.sqlite_engine import Limits, Refuted, SQLite
from schemas import Verdict, assistant, user

DDL = [
    "CREATE TABLE branch (branch_id INTEGER PRIMARY KEY, city TEXT NOT NULL, opened_on DATE)",
    "CREATE TABLE loan (loan_id INTEGER PRIMARY KEY, branch_id INTEGER NOT NULL REFERENCES branch (branch_id), "
    "amount REAL, status TEXT, note TEXT)",
    "CREATE TABLE card (card_id INTEGER PRIMARY KEY, loan_id INTEGER REFERENCES loan (loan_id))",
]
INSERTS = [
    "INSERT INTO branch VALUES (1, 'Ghent', '1999-01-01'), (2, 'Lille', '2004-05-01'), (3, 'Bruges', '2011-09-01')",
    "INSERT INTO loan VALUES (10, 1, 500, 'open', NULL), (11, 1, 250.5, 'paid', 'x'), (12, 2, 900, 'open', NULL), "
    "(13, 2, 900, 'paid', NULL), (14, 3, 100.1, 'open', 'y'), (15, 3, 0.2, 'open', NULL)",
    "INSERT INTO card VALUES (1, 10), (2, NULL)",
]
WORLD = SQLWorld(
    ddl=DDL,
    inserts=INSERTS,
    distractors=Distractors(tables=["card"], columns=["branch.opened_on", "loan.loan_id", "loan.status", "loan.note"]),
)
TOTALS = """
SELECT branch.city, SUM(loan.amount) AS total
FROM loan JOIN branch ON loan.branch_id = branch.branch_id
GROUP BY branch.city ORDER BY total DESC
""".strip()


def world(**changes: Any) -> SQLWorld:
    return WORLD.model_copy(update=changes)


def only(*tables: str) -> SQLWorld:
    """The world with every table but these as a distractor, and no distractor columns."""
    return world(distractors=Distractors(tables=[t for t in ("branch", "loan", "card") if t not in tables]))


def refuted(query: str, where: SQLWorld = WORLD, limits: Limits | None = None) -> Refuted:
    with pytest.raises(Refuted) as caught:
        prove(where, query, limits)
    return caught.value


def record(query: str = TOTALS, proof: SQLProof | None = None, **changes: Any) -> Record:
    claim = (proof or prove(WORLD, TOTALS)).model_dump(mode="json")
    return Record(messages=[user("?"), assistant(f"```sql\n{query}\n```")], metadata={"sql": {**claim, **changes}})


async def judged(given: Record, **limits: Any) -> Verdict:
    context: Any = None  # this judge asks no model
    return await SQLExecution(Limits(**limits)).judge(given, context)


def test_proof_of_a_query() -> None:
    proof = prove(WORLD, TOTALS)
    assert proof.columns == ["city", "total"] and proof.ordered and proof.row_count == 3
    assert proof.result == [["Lille", 1800.0], ["Ghent", 750.5], ["Bruges", 100.3]]
    assert proof.ddl == DDL and proof.inserts == INSERTS and proof.query == TOTALS
    assert SQLProof.model_validate(proof.model_dump(mode="json")) == proof


def test_order_counts_only_where_it_is_complete() -> None:
    assert prove(only("loan"), "SELECT amount FROM loan").ordered is False
    tied = prove(only("loan"), "SELECT loan_id, amount FROM loan ORDER BY amount")
    assert tied.ordered is False, "two loans of 900 may come in either order"
    assert prove(only("loan"), "SELECT loan_id, amount FROM loan ORDER BY amount, loan_id").ordered is True
    assert prove(only("loan"), "SELECT amount FROM loan ORDER BY amount").ordered is True


@pytest.mark.parametrize(
    ("reason", "query"),
    [
        ("sql_error", "SELECT missing FROM loan"),
        ("sql_error", "SELEC amount FROM loan"),
        ("several_statements", f"{TOTALS}; SELECT 1"),
        ("not_a_query", "-- nothing"),
        ("not_read_only", "DELETE FROM loan"),
        ("not_read_only", "INSERT INTO branch VALUES (9, 'Mons', NULL) RETURNING branch_id"),
        ("not_read_only", "UPDATE loan SET amount = 1 RETURNING amount"),
        ("not_read_only", "DROP TABLE card"),
        ("not_read_only", "CREATE TABLE t AS SELECT 1"),
        ("not_read_only", "ATTACH DATABASE '/tmp/x.sqlite' AS x"),
        ("not_read_only", "PRAGMA table_info(loan)"),
        ("not_read_only", "SELECT name FROM pragma_table_info('loan')"),
        ("not_read_only", "SELECT sql FROM sqlite_master"),
        ("not_read_only", "VACUUM INTO '/tmp/copy.sqlite'"),
        ("not_read_only", "SELECT random() FROM loan"),
        ("not_read_only", "SELECT * FROM loan WHERE '2024-01-01' < CURRENT_DATE"),
        ("not_read_only", "SELECT load_extension('x') FROM loan"),
        ("not_read_only", "BEGIN"),
        ("depends_on_now", "SELECT loan_id FROM loan WHERE DATE('NOW') > '2000-01-01'"),
        ("depends_on_now", 'SELECT loan_id, DATE("now") FROM loan'),
        ("depends_on_now", "SELECT loan_id FROM loan WHERE julianday( ) > 1"),
        ("depends_on_now", "SELECT loan_id, STRFTIME('%Y') FROM loan"),
        (
            "too_large",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9) SELECT zeroblob(200000) FROM n",
        ),
        ("sql_error", "SELECT zeroblob(2000000)"),
        ("no_rows", "SELECT * FROM loan WHERE amount < 0"),
        ("no_rows", "SELECT MAX(amount) FROM loan WHERE amount < 0"),
        (
            "too_many_rows",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n",
        ),
        ("unstable", "SELECT loan_id FROM loan LIMIT 2"),
        ("unstable", "SELECT GROUP_CONCAT(city) FROM branch"),
        ("unstable", "SELECT loan_id, ROW_NUMBER() OVER (ORDER BY amount) FROM loan"),
        ("unstable", "SELECT branch_id, loan_id FROM loan GROUP BY branch_id"),
        ("ties", "SELECT branch_id, COUNT(*) AS n FROM loan GROUP BY branch_id ORDER BY n DESC LIMIT 1"),
        ("distractor_used", "SELECT status, amount FROM loan"),
        ("distractor_used", "SELECT * FROM branch JOIN loan USING (branch_id)"),
        ("distractor_used", "SELECT COUNT(*) FROM loan, branch, card"),
        ("unused_table", "SELECT amount FROM loan"),
        ("unused_table", "WITH branch AS (SELECT 1 AS x) SELECT amount, x FROM loan, branch"),
    ],
)
def test_every_reason(reason: str, query: str) -> None:
    assert refuted(query).reason == reason


def test_dates_in_the_data_are_no_clock() -> None:
    dated = "SELECT STRFTIME('%Y', opened_on) FROM branch WHERE DATE(opened_on) > '2000-01-01' AND city <> 'nowhere'"
    assert prove(only("branch"), dated).row_count == 2


def test_a_query_that_never_ends_is_stopped_in_time() -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n"
    started = time.monotonic()
    assert refuted(endless, limits=Limits(seconds=0.2)).reason == "timeout"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("ddl", {"ddl": [*DDL, "CREATE TABLE loan (x)"]}),
        ("ddl", {"ddl": [*DDL, "CREATE VIEW v AS SELECT 1"]}),
        ("ddl", {"ddl": [*DDL, "CREATE TRIGGER t AFTER INSERT ON loan BEGIN DELETE FROM card; END"]}),
        ("ddl", {"ddl": [*DDL, "PRAGMA writable_schema = ON"]}),
        ("ddl", {"ddl": [*DDL, "CREATE VIRTUAL TABLE f USING fts5(x)"]}),
        ("ddl", {"ddl": [*DDL, "UPDATE sqlite_master SET sql = ''"]}),
        ("rows", {"inserts": [*INSERTS, "INSERT INTO loan VALUES (16, 99, 1, 'open', NULL)"]}),
        ("rows", {"inserts": [*INSERTS, "INSERT INTO branch VALUES (4, NULL, NULL)"]}),
        ("rows", {"inserts": [*INSERTS, "INSERT INTO branch VALUES (4, 'Mons', CURRENT_DATE)"]}),
        ("rows", {"inserts": [*INSERTS, "DELETE FROM card"]}),
        ("rows", {"inserts": [*INSERTS, "CREATE TABLE t (x)"]}),
        ("malformed", {"distractors": Distractors(tables=["nowhere"])}),
        ("malformed", {"distractors": Distractors(tables=["card"], columns=["loan.nothing"])}),
    ],
)
def test_an_unsound_world(reason: str, changes: dict[str, Any]) -> None:
    assert refuted(TOTALS, world(**changes)).reason == reason


def test_rows_may_come_before_their_parents() -> None:
    assert prove(world(inserts=INSERTS[::-1]), TOTALS).hash == prove(WORLD, TOTALS).hash


def test_keys_of_a_distractor_table_do_not_hold_it_up() -> None:
    """The distractor is the parent of a used table, and the key to it a distractor column with a constraint."""
    claimed = Distractors(tables=["branch", "card"], columns=["loan.branch_id", "loan.status", "loan.note"])
    assert prove(world(distractors=claimed), "SELECT loan_id, amount FROM loan").row_count == 6


def test_tables_without_rowid_and_odd_names() -> None:
    odd = SQLWorld(
        ddl=['CREATE TABLE "order lines" ("line ""no""" TEXT PRIMARY KEY, "select" INTEGER, b INTEGER) WITHOUT ROWID'],
        inserts=["""INSERT INTO "order lines" VALUES ('a', 1, 2), ('b', 3, 4)"""],
        distractors=Distractors(columns=["order lines.b", 'order lines.line "no"']),
    )
    assert prove(odd, 'SELECT "select" FROM "order lines"').row_count == 2


def test_schemas_as_people_write_them() -> None:
    """Serial keys, indexes, checks, generated columns, composite and self-referencing keys, strict tables."""
    written = SQLWorld(
        ddl=[
            "CREATE TABLE staff (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE COLLATE NOCASE, "
            "boss INTEGER REFERENCES staff(id), pay REAL CHECK (pay > 0) DEFAULT 1.5, "
            "yearly REAL GENERATED ALWAYS AS (pay * 12) VIRTUAL)",
            "CREATE TABLE shift (staff INTEGER NOT NULL, day TEXT NOT NULL, hours INTEGER NOT NULL, "
            "PRIMARY KEY (staff, day), FOREIGN KEY (staff) REFERENCES staff(id) ON DELETE CASCADE) STRICT",
            "CREATE INDEX by_day ON shift (day) WHERE hours > 1",
            "CREATE TABLE IF NOT EXISTS swap (staff INT, day TEXT, FOREIGN KEY (staff, day) REFERENCES shift)",
        ],
        inserts=[
            "INSERT INTO staff (name, boss, pay) VALUES ('Ann', NULL, 20), ('bo', 1, 10)",
            "INSERT INTO shift VALUES (1, '2024-01-01', 8), (2, '2024-01-01', 4), (2, '2024-01-02', 6)",
            "INSERT INTO swap SELECT staff, day FROM shift WHERE hours = 6",
        ],
        distractors=Distractors(tables=["swap"], columns=["staff.boss", "staff.pay", "shift.day"]),
    )
    query = (
        "SELECT name, yearly, SUM(hours) FROM staff JOIN shift ON staff = id WHERE name IN ('ANN', 'BO') GROUP BY id"
    )
    assert prove(written, query).result == [["Ann", 240.0, 8], ["bo", 120.0, 10]]


def test_what_a_query_reads() -> None:
    with SQLite(DDL, INSERTS, Limits()) as engine:
        assert engine.reads(TOTALS) == {
            ("branch", "city"),
            ("branch", "branch_id"),
            ("loan", "branch_id"),
            ("loan", "amount"),
        }
        assert engine.reads("SELECT COUNT(*) FROM card") == {("card", "")}
        assert engine.reads("SELECT value FROM json_each('[1]')") == set()


def test_changes_are_undone() -> None:
    with SQLite(DDL, INSERTS, Limits()) as engine:
        before = engine.run("SELECT * FROM loan")
        with engine.changed():
            engine.drop("card")
            engine.replace("loan", "SELECT amount FROM {} WHERE amount > 500")
            assert engine.run("SELECT * FROM loan")[1] == [(900.0,), (900.0,)]
        assert engine.run("SELECT * FROM loan") == before and "card" in engine.tables()


async def test_the_judge_proves_a_record_again() -> None:
    verdict = await judged(record())
    assert (verdict.name, verdict.passed, verdict.score) == ("sql_execution", True, 1.0)
    reworded = TOTALS.replace("loan JOIN branch", "branch JOIN loan").replace("total DESC", "SUM(loan.amount) DESC")
    assert (await judged(record(reworded))).passed is True, "another query with the same answer is right"


@pytest.mark.parametrize(
    ("reason", "given"),
    [
        ("wrong_result", lambda: record(TOTALS.replace("DESC", "ASC"))),
        ("wrong_result", lambda: record(TOTALS.replace("SUM", "MAX"))),
        ("wrong_result", lambda: record(result=[["Lille", 1.0]])),
        ("wrong_result", lambda: record(row_count=2)),
        ("wrong_result", lambda: record(hash="0" * 32)),
        ("rows", lambda: record(inserts=["INSERT INTO nowhere VALUES (1)"])),
        ("unused_table", lambda: record(distractors={"tables": [], "columns": []})),
        ("malformed", lambda: record(dialect="oracle")),
        ("malformed", lambda: Record(messages=[user("?"), assistant("x")], metadata={"sql": "SELECT 1"})),
        ("no_query", lambda: record().model_copy(update={"messages": [user("?")]})),
        ("no_query", lambda: record().model_copy(update={"messages": [user("?"), assistant(TOTALS)]})),
        ("several_queries", lambda: record(f"{TOTALS}\n```\n```sql\n{TOTALS}")),
        ("not_read_only", lambda: record("DELETE FROM loan")),
        (
            "timeout",
            lambda: record("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n"),
        ),
    ],
)
async def test_the_judge_refuses(reason: str, given: Any) -> None:
    verdict = await judged(given(), seconds=0.2)
    assert verdict.passed is False
    assert verdict.reason.startswith(f"{reason}: "), verdict.reason


async def test_undecided_without_a_proof() -> None:
    verdict = await judged(Record(messages=[user("Hello"), assistant("Hi")]))
    assert verdict.passed is None and verdict.reason.startswith("no_proof")


async def test_an_unordered_result_may_come_in_any_order() -> None:
    query = "SELECT branch.city, loan.amount FROM loan JOIN branch ON loan.branch_id = branch.branch_id"
    proof = prove(WORLD, query)
    assert not proof.ordered
    other = "SELECT branch.city, loan.amount FROM branch JOIN loan ON loan.branch_id = branch.branch_id ORDER BY 2, 1"
    assert (await judged(record(other, proof))).passed is True
    assert (await judged(record(query + " WHERE loan.amount > 1", proof))).passed is False


def test_long_results_keep_a_sample_and_a_hash_of_all() -> None:
    many = world(
        inserts=[
            INSERTS[0],
            "INSERT INTO loan VALUES " + ", ".join(f"({i}, 1, {i}, 's', NULL)" for i in range(1, 101)),
        ],
        distractors=Distractors(tables=["branch", "card"]),
    )
    proof = prove(many, "SELECT loan_id FROM loan")
    assert proof.row_count == 100 and len(proof.result) == SAMPLE_ROWS
    assert proof.hash != prove(many, "SELECT loan_id - (loan_id = 99) FROM loan").hash


@pytest.mark.parametrize(
    ("reply", "query"),
    [
        ("```sql\nSELECT 1\n```", "SELECT 1"),
        ("Here it is:\n\n```SQL\nSELECT 1;\n```\nDone.", "SELECT 1;"),
        ("```sqlite\nSELECT '``' AS x\n```", "SELECT '``' AS x"),
        ("```text\na\n```\n```sql\nSELECT 2\n```", "SELECT 2"),
    ],
)
def test_the_query_in_a_reply(reply: str, query: str) -> None:
    assert query_in(reply) == query


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=40), st.randoms())
def test_the_order_of_summation_does_not_show(cents: list[int], rng: Any) -> None:
    amounts = [value / 100 for value in cents]
    assert comparable([(sum(amounts),)]) == comparable([(sum(rng.sample(amounts, len(amounts))),)])


rows = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1), st.text(), st.none() | st.floats(allow_nan=False)), max_size=8
)


@given(rows, st.randoms())
def test_a_hash_ignores_order_only_where_asked(table: list[Any], rng: Any) -> None:
    shuffled = rng.sample(table, len(table))
    assert result_hash(table, ordered=False) == result_hash(shuffled, ordered=False)
    assert (result_hash(table, True) == result_hash(shuffled, True)) == (comparable(table) == comparable(shuffled))


def test_a_typical_proof_takes_milliseconds() -> None:
    started = time.process_time()
    for _ in range(20):
        prove(WORLD, TOTALS)
    assert (time.process_time() - started) / 20 < 0.02
