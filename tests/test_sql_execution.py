"""Execution as proof: what holds passes, and whatever is wrong with a record is refuted by a reason of its own."""

import sqlite3
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import Record
from judges.sql_engine import Limits
from judges.sql_execution import SQLExecution, prove_in_sqlite, query_in
from judges.sql_world import SAMPLE_ROWS, Refuted, SQLProof, SQLWorld, comparable, joined, result_hash
from judges.sqlite_engine import SQLite
from judges.sqlite_like import install
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
CONTEXT = joined([*DDL, *INSERTS])
WORLD = SQLWorld(
    context=CONTEXT,
    distractor_tables=["card"],
    distractor_columns=["branch.opened_on", "loan.loan_id", "loan.status", "loan.note"],
)
BARE = SQLWorld(context=CONTEXT)
TOTALS = """
SELECT branch.city, SUM(loan.amount) AS total
FROM loan JOIN branch ON loan.branch_id = branch.branch_id
GROUP BY branch.city ORDER BY total DESC
""".strip()
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n"


def world(**changes: Any) -> SQLWorld:
    return WORLD.model_copy(update=changes)


def loaded(*statements: str, **changes: Any) -> SQLWorld:
    return SQLWorld(context=joined(statements), **changes)


def refuted(query: str, where: SQLWorld = WORLD, limits: Limits | None = None) -> Refuted:
    with pytest.raises(Refuted) as caught:
        prove_in_sqlite(where, query, limits)
    return caught.value


def record(query: str = TOTALS, proof: SQLProof | None = None, **changes: Any) -> Record:
    claim = (proof or prove_in_sqlite(WORLD, TOTALS)).model_dump(mode="json")
    return Record(messages=[user("?"), assistant(f"```sql\n{query}\n```")], metadata={"sql": {**claim, **changes}})


def foreign(reply: str = "", **changes: Any) -> Record:
    claim = {**BARE.model_dump(mode="json", exclude={"writes"}), "query": TOTALS, **changes}
    return Record(messages=[user("?"), assistant(reply)], metadata={"sql": claim})


async def judged(given: Record, **limits: Any) -> Verdict:
    context: Any = None  # this judge asks no model, and SQLite needs no server
    return await SQLExecution(Limits(**limits)).judge(given, context)


def test_proof_of_a_query() -> None:
    proof = prove_in_sqlite(WORLD, TOTALS)
    assert proof.columns == ["city", "total"] and proof.ordered and proof.row_count == 3
    assert proof.result == [["Lille", 1800.0], ["Ghent", 750.5], ["Bruges", 100.3]]
    assert (proof.context, proof.query) == (CONTEXT, TOTALS) and proof.engine.startswith("SQLite 3.")
    assert SQLProof.model_validate(proof.model_dump(mode="json")) == proof


def test_order_counts_only_where_it_is_complete() -> None:
    assert prove_in_sqlite(BARE, "SELECT amount FROM loan").ordered is False
    tied = prove_in_sqlite(BARE, "SELECT loan_id, amount FROM loan ORDER BY amount")
    assert tied.ordered is False, "two loans of 900 may come in either order"
    assert prove_in_sqlite(BARE, "SELECT loan_id, amount FROM loan ORDER BY amount, loan_id").ordered is True
    assert prove_in_sqlite(BARE, "SELECT amount FROM loan ORDER BY amount").ordered is True


@pytest.mark.parametrize(
    ("reason", "query"),
    [
        ("unparsed", "SELEC amount FROM loan"),
        ("unparsed", "SELECT " + "(" * 5000 + "1" + ")" * 5000),
        ("several_statements", f"{TOTALS}; SELECT 1"),
        ("not_a_query", "-- nothing"),
        ("not_a_query", "loan"),
        ("not_read_only", "DELETE FROM loan"),
        ("not_read_only", "INSERT INTO branch VALUES (9, 'Mons', NULL) RETURNING branch_id"),
        ("not_read_only", "WITH one AS (SELECT 1) UPDATE loan SET amount = 1 RETURNING amount"),
        ("not_read_only", "/* quietly */ DROP TABLE card"),
        ("not_read_only", "CREATE TABLE t AS SELECT 1"),
        ("not_read_only", "ATTACH DATABASE '/tmp/x.sqlite' AS x"),
        ("not_read_only", "PRAGMA table_info(loan)"),
        ("not_read_only", "VACUUM INTO '/tmp/copy.sqlite'"),
        ("not_read_only", "BEGIN"),
        ("forbidden", "SELECT name FROM pragma_table_info('loan')"),
        ("forbidden", "SELECT load_extension('x') FROM loan"),
        ("random", "SELECT random() FROM loan"),
        ("random", "SELECT amount FROM loan ORDER BY randomblob(4)"),
        ("depends_on_now", "SELECT * FROM loan WHERE '2024-01-01' < CURRENT_DATE"),
        ("depends_on_now", "SELECT loan_id FROM loan WHERE DATE('NOW') > '2000-01-01'"),
        ("depends_on_now", "SELECT loan_id FROM loan WHERE julianday( ) > 1"),
        ("depends_on_now", "SELECT loan_id, STRFTIME('%Y') FROM loan"),
        ("limit_without_order", "SELECT loan_id FROM loan LIMIT 2"),
        ("limit_without_order", "SELECT city FROM branch WHERE branch_id IN (SELECT branch_id FROM loan LIMIT 1)"),
        ("unknown_table", "SELECT sql FROM sqlite_master"),
        ("unknown_table", "SELECT amount FROM loans"),
        ("unknown_table", "SELECT note FROM main.loan"),
        ("unknown_column", "SELECT missing FROM loan"),
        ("unknown_column", 'SELECT amount FROM loan WHERE status = "opened"'),
        ("unknown_column", "SELECT rowid FROM loan"),
        ("unknown_column", 'SELECT amount FROM loan WHERE status <> "city"'),
        ("sql_error", "SELECT no_such_function(amount) FROM loan"),
        ("sql_error", "SELECT b.amount FROM loan AS a JOIN branch AS b USING (branch_id)"),
        ("too_large", "SELECT zeroblob(2000000)"),
        (
            "too_large",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT zeroblob(2e5) FROM n",
        ),
        (
            "too_many_rows",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n",
        ),
        ("no_rows", "SELECT * FROM loan WHERE amount < 0"),
        ("trivial_result", "SELECT MAX(amount) FROM loan WHERE amount < 0"),
        ("trivial_result", "SELECT COUNT(*) FROM loan WHERE amount < 0"),
        ("trivial_result", "SELECT SUM(amount) * 0 FROM loan"),
        ("unstable", "SELECT GROUP_CONCAT(city) FROM branch"),
        ("ties", "SELECT loan_id, ROW_NUMBER() OVER (ORDER BY amount) FROM loan"),
        ("unstable", "SELECT branch_id, loan_id FROM loan GROUP BY branch_id"),
        ("ties", "SELECT branch_id, COUNT(*) AS n FROM loan GROUP BY branch_id ORDER BY n DESC LIMIT 1"),
        ("distractor_used", "SELECT status, amount FROM loan"),
        ("distractor_used", "SELECT * FROM branch JOIN loan USING (branch_id)"),
        ("distractor_used", "SELECT COUNT(*) FROM loan, branch, card"),
        ("unused_table", "WITH idle AS (SELECT city FROM branch) SELECT amount FROM loan"),
        ("insensitive", "SELECT COUNT(amount) >= 0 AS any FROM loan"),
        ("insensitive", "SELECT 'open' AS status, 5 AS n"),
    ],
)
def test_every_reason(reason: str, query: str) -> None:
    assert refuted(query).reason == reason


def test_the_concept_that_was_asked_for() -> None:
    assert prove_in_sqlite(BARE, TOTALS, concept="join_group").row_count == 3
    with pytest.raises(Refuted) as caught:
        prove_in_sqlite(BARE, "SELECT amount FROM loan", concept="join_group")
    assert caught.value.reason == "concept_missing"


async def test_the_judge_knows_what_a_record_was_made_for() -> None:
    made = foreign()
    for concept, passed in (("join_group", True), ("pivot_columns", False), ("somebody_elses", True)):
        made.metadata["cell"] = {"concept": concept}
        verdict = await judged(made)
        assert verdict.passed is passed, verdict.reason


def test_a_concept_that_may_find_nothing() -> None:
    nobody = "SELECT city FROM branch AS b LEFT JOIN loan AS l ON l.branch_id = b.branch_id WHERE l.loan_id IS NULL"
    assert refuted(nobody, BARE).reason == "no_rows"
    assert prove_in_sqlite(BARE, nobody, concept="anti_join").row_count == 0


def test_the_other_rows_may_be_left_out() -> None:
    query = "SELECT COUNT(amount) >= 0 AS any FROM loan"
    assert prove_in_sqlite(WORLD, query, Limits(sensitivity=False)).result == [[1]]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT STRFTIME('%Y', opened_on) FROM branch WHERE DATE(opened_on) > '2000-01-01' AND city <> 'now'",
        "SELECT city FROM branch AS b WHERE EXISTS (SELECT 1 FROM loan WHERE loan.branch_id = b.branch_id LIMIT 1)",
        "SELECT COUNT(*) FROM loan LIMIT 1",
        "SELECT loan_id, ROW_NUMBER() OVER (ORDER BY amount, loan_id), RANK() OVER (ORDER BY amount) FROM loan",
        "SELECT status, COUNT(*), LAG(COUNT(*)) OVER (ORDER BY status) FROM loan GROUP BY status",
        "SELECT BRANCH.CITY FROM Branch",
        'SELECT "City" FROM "branch" WHERE "branch"."city" > \'A\'',
        "SELECT 'a;b' AS x, city FROM branch;",
        "SELECT city, value FROM branch, json_each('[1, 2]')",
        "SELECT city FROM branch UNION SELECT status FROM loan",
        "SELECT 1 AS n EXCEPT SELECT branch_id + 5 FROM branch",
    ],
)
def test_what_is_no_reason(query: str) -> None:
    """Dates in the data are no clock, a semicolon in a string ends nothing, letters' case doesn't count ..."""
    assert prove_in_sqlite(BARE, query, Limits(sensitivity=False)).row_count > 0


def test_a_frozen_clock_shows_its_moment_everywhere() -> None:
    clock = Limits(frozen_clock=datetime(2012, 3, 4, 5, 6, 7))
    recent = "SELECT city FROM branch WHERE opened_on > DATE('now', '-1 year') ORDER BY city"
    assert prove_in_sqlite(BARE, recent, clock).result == [["Bruges"]]
    shown = (
        "SELECT city, CURRENT_DATE, CURRENT_TIME, CURRENT_TIMESTAMP, DATE(), strftime('%Y'), unixepoch() FROM branch"
    )
    proof = prove_in_sqlite(BARE, shown, clock)
    assert proof.engine.endswith(", clock at 2012-03-04 05:06:07")
    (first, *_) = proof.result
    assert first[1:] == [
        "2012-03-04", "05:06:07", "2012-03-04 05:06:07", "2012-03-04", "2012", 1330837567,
    ]  # fmt: skip


def test_a_frozen_clock_is_that_of_the_context_too() -> None:
    clock = Limits(frozen_clock=datetime(2012, 3, 4))
    made = loaded(
        "CREATE TABLE visit (seen_on DATE, made_at TEXT DEFAULT CURRENT_TIMESTAMP, word TEXT)",
        "INSERT INTO visit (seen_on, word) VALUES (DATE('now', '-3 days'), 'now'), (CURRENT_DATE, 'today')",
    )
    proof = prove_in_sqlite(made, "SELECT * FROM visit ORDER BY seen_on", clock)
    assert proof.result == [
        ["2012-03-01", "2012-03-04 00:00:00", "now"],
        ["2012-03-04", "2012-03-04 00:00:00", "today"],
    ]


@pytest.mark.parametrize(
    "query",
    [
        ENDLESS,
        "SELECT COUNT(*) FROM " + ", ".join(f"loan AS t{number}" for number in range(13)),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n ORDER BY i DESC LIMIT 3",
    ],
)
def test_a_query_that_never_ends_is_stopped(query: str) -> None:
    assert refuted(query, BARE, limits=Limits(seconds=0.2)).reason == "timeout"


def test_a_pattern_can_not_hold_the_engine_up() -> None:
    """SQLite's own LIKE would take years, and can't be interrupted."""
    letters = "REPLACE(HEX(ZEROBLOB(2000)), '0', 'a')"
    for pattern in (f"LIKE '{'%a' * 20}%b'", f"GLOB '{'*a' * 20}*b'"):
        assert refuted(f"SELECT city FROM branch WHERE {letters} {pattern}", BARE).reason == "no_rows"


patterns = st.text(alphabet="ab_%x[]^-*?É", max_size=8)


@given(st.text(alphabet="abxABé[]^-*?É", max_size=8), patterns, st.sampled_from(["", "x", "%"]))
def test_like_and_glob_are_those_of_sqlite(text: str, pattern: str, escape: str) -> None:
    own, ours = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
    install(ours)
    queries: list[tuple[str, tuple[str, ...]]] = [
        ("SELECT ? LIKE ?", (text, pattern)),
        ("SELECT ? GLOB ?", (text, pattern)),
    ]
    queries += [("SELECT ? LIKE ? ESCAPE ?", (text, pattern, escape))] if escape else []
    for query, values in queries:
        assert own.execute(query, values).fetchone() == ours.execute(query, values).fetchone(), (query, values)


@pytest.mark.parametrize(
    ("said", "statement"),
    [
        ("already exists", "CREATE TABLE loan (x)"),
        ("not allowed", "CREATE TRIGGER t AFTER INSERT ON loan BEGIN DELETE FROM card; END"),
        ("not allowed", "PRAGMA writable_schema = ON"),
        ("not allowed", "CREATE VIRTUAL TABLE f USING fts5(x)"),
        ("not allowed", "ATTACH DATABASE '/tmp/x' AS x"),
        ("may not be modified", "UPDATE sqlite_master SET sql = ''"),
        ("points to no row of branch", "INSERT INTO loan VALUES (16, 99, 1, 'open', NULL)"),
        ("NOT NULL", "INSERT INTO branch VALUES (4, NULL, NULL)"),
        ("depends on the day", "INSERT INTO branch VALUES (4, 'Mons', CURRENT_DATE)"),
        ("depends on the day", "INSERT INTO branch VALUES (4, 'Mons', DATE('now', '-3 days'))"),
        ("another value each time", "INSERT INTO branch VALUES (4, 'Mons', RANDOM())"),
        ("not allowed", "DELETE FROM card"),
        ("unrecognized token", "INSERT INTO branch VALUES (4, 'Mons"),
    ],
)
def test_a_context_that_does_not_load_names_its_statement(said: str, statement: str) -> None:
    fault = refuted(TOTALS, loaded(*DDL, *INSERTS, statement))
    assert fault.reason == "context" and said in fault.detail
    assert statement[:12] in fault.detail or "row 16 of loan" in fault.detail


@pytest.mark.parametrize(
    "changes",
    [{"distractor_tables": ["nowhere"]}, {"distractor_columns": ["loan.nothing"]}, {"distractor_columns": ["loan"]}],
)
def test_distractors_that_are_not_there(changes: dict[str, Any]) -> None:
    assert refuted(TOTALS, world(**changes)).reason == "malformed"


def test_distractors_in_other_letters() -> None:
    assert (
        refuted("SELECT status, amount FROM loan", world(distractor_columns=["Loan.STATUS"])).reason
        == "distractor_used"
    )


def test_rows_may_come_before_their_parents() -> None:
    reversed_rows = world(context=joined([*DDL, *INSERTS[::-1]]))
    assert prove_in_sqlite(reversed_rows, TOTALS).hash == prove_in_sqlite(WORLD, TOTALS).hash


def test_the_frame_of_a_dump() -> None:
    dump = joined(["PRAGMA foreign_keys=OFF", "BEGIN TRANSACTION", *DDL, *INSERTS, "COMMIT"])
    assert prove_in_sqlite(world(context=dump), TOTALS).row_count == 3


def test_keys_of_a_distractor_table_do_not_hold_it_up() -> None:
    """The distractor is the parent of a used table, and the key to it a distractor column with a constraint."""
    claimed = world(
        distractor_tables=["branch", "card"], distractor_columns=["loan.branch_id", "loan.status", "loan.note"]
    )
    assert prove_in_sqlite(claimed, "SELECT loan_id, amount FROM loan").row_count == 6


def test_tables_without_rowid_and_odd_names() -> None:
    odd = loaded(
        'CREATE TABLE "order; lines" ("line ""no""" TEXT PRIMARY KEY, "select" INTEGER, b INTEGER) WITHOUT ROWID',
        """INSERT INTO "order; lines" VALUES ('a', 1, 2), ('b', 3, 4)""",
        distractor_columns=["order; lines.b", 'order; lines.line "no"'],
    )
    assert prove_in_sqlite(odd, 'SELECT "select" FROM "order; lines"').row_count == 2


def test_schemas_as_people_write_them() -> None:
    """Serial keys, indexes, checks, generated columns, composite and self-referencing keys, strict tables, views."""
    written = loaded(
        "CREATE TABLE staff (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE COLLATE NOCASE, "
        "boss INTEGER REFERENCES staff(id), pay REAL CHECK (pay > 0) DEFAULT 1.5, "
        "yearly REAL GENERATED ALWAYS AS (pay * 12) VIRTUAL)",
        "CREATE TABLE shift (staff INTEGER NOT NULL, day TEXT NOT NULL, hours INTEGER NOT NULL, "
        "PRIMARY KEY (staff, day), FOREIGN KEY (staff) REFERENCES staff(id) ON DELETE CASCADE) STRICT",
        "CREATE INDEX by_day ON shift (day) WHERE hours > 1",
        "CREATE TABLE IF NOT EXISTS swap (staff INT, day TEXT, FOREIGN KEY (staff, day) REFERENCES shift)",
        "CREATE VIEW long_shift AS SELECT * FROM shift WHERE hours > 5",
        "INSERT INTO staff (name, boss, pay) VALUES ('Ann', NULL, 20), ('bo', 1, 10)",
        "INSERT INTO shift VALUES (1, '2024-01-01', 8), (2, '2024-01-01', 4), (2, '2024-01-02', 6)",
        "INSERT INTO swap SELECT staff, day FROM shift WHERE hours = 6",
        distractor_tables=["swap"],
        distractor_columns=["staff.boss", "staff.pay"],
    )
    query = (
        "SELECT name, yearly, SUM(hours) FROM staff JOIN shift ON staff = id WHERE name IN ('ANN', 'BO') GROUP BY id"
    )
    assert prove_in_sqlite(written, query).result == [["Ann", 240.0, 8], ["bo", 120.0, 10]]
    assert prove_in_sqlite(written, "SELECT SUM(hours) FROM long_shift").result == [[14]]


def test_what_a_query_reads() -> None:
    with SQLite(CONTEXT, Limits()) as engine:
        assert engine.reads(TOTALS) == {
            ("branch", "city"),
            ("branch", "branch_id"),
            ("loan", "branch_id"),
            ("loan", "amount"),
        }
        assert engine.reads("SELECT COUNT(*) FROM card") == {("card", "")}
        assert engine.reads("SELECT value FROM json_each('[1]')") == set()


def test_changes_are_undone() -> None:
    with SQLite(CONTEXT, Limits()) as engine:
        before = engine.run("SELECT * FROM loan")
        with engine.without({"card"}, {"loan.note"}):
            assert len(engine.run("SELECT * FROM loan")[0]) == 4
        with engine.thinned({"loan"}, 1):
            assert 0 < len(engine.run("SELECT * FROM loan")[1]) < 6
        with engine.thinned({"loan"}, None):
            assert engine.run("SELECT * FROM loan")[1] == []
        with engine.written("DELETE FROM loan") as state:
            assert not [row for row in state if row[:2] == ("loan", "row")]
        assert engine.run("SELECT * FROM loan") == before


# --- statements that write -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        ("INSERT INTO card VALUES (3, 12)", [["+", "card", "row", 3, 12]]),
        ("DELETE FROM card WHERE loan_id IS NULL", [["-", "card", "row", 2, None]]),
        (
            "UPDATE branch SET city = 'Gent' WHERE city = 'Ghent'",
            [["-", "branch", "row", 1, "Ghent", "1999-01-01"], ["+", "branch", "row", 1, "Gent", "1999-01-01"]],
        ),
        ("CREATE TABLE fee (fee_id INTEGER)", [["+", "fee", "column", "fee_id", ""]]),
        ("REPLACE INTO card VALUES (2, 12)", [["-", "card", "row", 2, None], ["+", "card", "row", 2, 12]]),
    ],
)
def test_a_statement_that_writes_is_proved_by_what_it_leaves(statement: str, changes: list[Any]) -> None:
    proof = prove_in_sqlite(SQLWorld(context=CONTEXT, writes=True), statement)
    assert proof.result == changes and proof.row_count == len(changes)
    assert proof.columns == ["change", "table", "kind", "values"]


@pytest.mark.parametrize(
    ("reason", "statement"),
    [
        ("no_effect", "DELETE FROM loan WHERE amount < 0"),
        ("no_effect", "SELECT amount FROM loan"),
        ("distractor_used", "INSERT INTO loan SELECT card_id, 1, 1, 'x', 'y' FROM card"),
        ("distractor_used", "DELETE FROM card"),
        ("distractor_used", "UPDATE loan SET amount = 1 WHERE status = 'open'"),
        ("depends_on_now", "UPDATE loan SET note = CURRENT_DATE"),
        ("random", "UPDATE loan SET amount = random()"),
        ("not_read_only", "ATTACH DATABASE '/tmp/x' AS x"),
        ("not_read_only", "PRAGMA user_version = 3"),
        ("sql_error", "INSERT INTO branch VALUES (1, 'Ghent', NULL)"),
        ("several_statements", "DELETE FROM card; DELETE FROM loan"),
    ],
)
def test_a_statement_that_writes_is_refuted(reason: str, statement: str) -> None:
    assert refuted(statement, world(writes=True)).reason == reason


# --- the judge -------------------------------------------------------------------------------------------------------


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
        ("context", lambda: record(context="INSERT INTO nowhere VALUES (1);")),
        ("malformed", lambda: record(dialect="oracle")),
        ("malformed", lambda: Record(messages=[user("?"), assistant("x")], metadata={"sql": "SELECT 1"})),
        ("no_query", lambda: record().model_copy(update={"messages": [user("?")]})),
        ("no_query", lambda: record().model_copy(update={"messages": [user("?"), assistant(TOTALS)]})),
        ("several_queries", lambda: record(f"{TOTALS}\n```\n```sql\n{TOTALS}")),
        ("not_read_only", lambda: record("DELETE FROM loan")),
        ("timeout", lambda: record(ENDLESS)),
        ("malformed", lambda: foreign(query=None)),
        ("malformed", lambda: foreign(context=None)),
        ("malformed", lambda: foreign(dialect="oracle")),
        ("no_rows", lambda: foreign(query="SELECT city FROM branch WHERE city = 'Mons'")),
        ("wrong_result", lambda: foreign(f"```sql\n{TOTALS.replace('SUM', 'MIN')}\n```")),
        ("wrong_result", lambda: foreign("```sql\nSELECT city, 1 FROM branch\n```")),
    ],
)
async def test_the_judge_refuses(reason: str, given: Any) -> None:
    verdict = await judged(given(), seconds=0.2)
    assert verdict.passed is False
    assert verdict.reason.startswith(f"{reason}: "), verdict.reason


@pytest.mark.parametrize(
    "given",
    [
        foreign(),
        foreign("The answer is in the metadata."),
        foreign(f"```sql\n{TOTALS};\n```"),
        foreign(f"```sql\n{TOTALS.replace('total DESC', '2 DESC')}\n```"),
        foreign(note="a key of somebody else's"),
        foreign(distractor_tables=["card"], distractor_columns=["loan.note"]),
    ],
)
async def test_a_foreign_record_needs_no_recorded_result(given: Record) -> None:
    verdict = await judged(given)
    assert verdict.passed is True and verdict.reason.startswith("proved on SQLite 3."), verdict.reason


FEWEST = "SELECT city FROM branch ORDER BY branch_id DESC LIMIT 1"
BY_LUCK = [
    (TOTALS, TOTALS.replace("total DESC", "total DESC LIMIT 3")),
    (TOTALS, TOTALS.replace("GROUP", "WHERE branch.city IN ('Ghent', 'Lille', 'Bruges') GROUP")),
    (TOTALS, TOTALS.replace("GROUP", "WHERE loan.amount < 1000 GROUP")),
    (FEWEST, "SELECT city FROM branch WHERE branch_id = 3"),
    (FEWEST, "SELECT MIN(city) FROM branch"),
    ("SELECT COUNT(*) FROM loan", "SELECT COUNT(*) + 3 FROM branch"),
    ("SELECT COUNT(*) FROM loan WHERE amount > 250", "SELECT COUNT(*) FROM loan WHERE amount >= 250"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "answer"), BY_LUCK)
async def test_an_answer_that_is_right_by_luck_is_refused(query: str, answer: str) -> None:
    for claim in (foreign(f"```sql\n{answer}\n```", query=query), record(answer, prove_in_sqlite(BARE, query))):
        verdict = await judged(claim)
        assert verdict.passed is False and verdict.reason.startswith("wrong_result: with "), verdict.reason


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        (FEWEST, "SELECT city FROM branch WHERE branch_id = (SELECT MAX(branch_id) FROM branch)"),
        ("SELECT COUNT(*) FROM loan WHERE amount > 250", "SELECT SUM(amount > 250) FROM loan"),
        (TOTALS, TOTALS.replace("loan JOIN branch", "loan LEFT JOIN branch")),
        (TOTALS, TOTALS.replace("SUM(loan.amount)", "SUM(COALESCE(loan.amount, 0))")),
        (TOTALS, f"SELECT * FROM ({TOTALS.partition(' ORDER')[0]}) ORDER BY 2 DESC, 1"),
    ],
)
async def test_an_answer_in_other_words_is_as_good(query: str, answer: str) -> None:
    verdict = await judged(foreign(f"```sql\n{answer}\n```", query=query))
    assert verdict.passed is True, verdict.reason


async def test_variants_that_cannot_be_made_say_nothing() -> None:
    rules = ["CREATE TABLE pair (a INTEGER, b INTEGER CHECK (b = a * a), PRIMARY KEY (a, b))"]
    rules += ["INSERT INTO pair VALUES (1, 1), (2, 4), (3, 9)", "CREATE VIEW large AS SELECT * FROM pair WHERE b > 2"]
    changes = {"context": joined(rules), "query": "SELECT a FROM large"}
    assert (await judged(foreign("```sql\nSELECT a FROM pair WHERE b > 2\n```", **changes))).passed is True
    assert (await judged(foreign("```sql\nSELECT a FROM pair WHERE b > 3\n```", **changes))).passed is True
    assert (await judged(foreign("```sql\nSELECT a FROM pair WHERE a <> 1\n```", **changes))).passed is True


async def test_undecided_without_a_proof() -> None:
    verdict = await judged(Record(messages=[user("Hello"), assistant("Hi")]))
    assert verdict.passed is None and verdict.reason.startswith("no_proof")


async def test_an_unordered_result_may_come_in_any_order() -> None:
    query = "SELECT branch.city, loan.amount FROM loan JOIN branch ON loan.branch_id = branch.branch_id"
    proof = prove_in_sqlite(WORLD, query)
    assert not proof.ordered
    other = "SELECT branch.city, loan.amount FROM branch JOIN loan ON loan.branch_id = branch.branch_id ORDER BY 2, 1"
    assert (await judged(record(other, proof))).passed is True
    assert (await judged(record(query + " WHERE loan.amount > 1", proof))).passed is False


def test_long_results_keep_a_sample_and_a_hash_of_all() -> None:
    many = world(
        context=joined(
            [
                *DDL,
                INSERTS[0],
                "INSERT INTO loan VALUES " + ", ".join(f"({i}, 1, {i}, 's', NULL)" for i in range(1, 101)),
            ]
        ),
        distractor_tables=["branch", "card"],
        distractor_columns=[],
    )
    proof = prove_in_sqlite(many, "SELECT loan_id FROM loan")
    assert proof.row_count == 100 and len(proof.result) == SAMPLE_ROWS
    assert proof.hash != prove_in_sqlite(many, "SELECT loan_id - (loan_id = 99) FROM loan").hash


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
