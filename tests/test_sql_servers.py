"""The same proofs on PostgreSQL and on MariaDB, and what queries from outside can't do to them."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from gristmill import Record
from gristmill.errors import ConfigError, GristmillError
from judges.sql_checks import check_query
from judges.sql_engine import Limits
from judges.sql_execution import SQLExecution, prove, prove_on
from judges.sql_server import Server, server_for
from judges.sql_world import Dialect, Refuted, SQLProof, SQLWorld, joined
from schemas import JsonObject, assistant, user
from tests.conftest import CLI

CONTEXT = joined(
    [
        "CREATE TABLE branch (branch_id INTEGER PRIMARY KEY, city VARCHAR(40) NOT NULL, opened_on DATE)",
        "CREATE TABLE loan (loan_id INTEGER PRIMARY KEY, branch_id INTEGER NOT NULL, amount DECIMAL(10, 2), "
        "status VARCHAR(10), note TEXT, FOREIGN KEY (branch_id) REFERENCES branch (branch_id))",
        "CREATE TABLE card (card_id INTEGER PRIMARY KEY, loan_id INTEGER, "
        "FOREIGN KEY (loan_id) REFERENCES loan (loan_id))",
        "INSERT INTO branch VALUES (1, 'Ghent', '1999-01-01'), (2, 'Lille', '2004-05-01'), (3, 'Bruges', '2011-09-01')",
        "INSERT INTO loan VALUES (10, 1, 500, 'open', NULL), (11, 1, 250.5, 'paid', 'x;'), (12, 2, 900, 'open', NULL), "
        "(13, 2, 900, 'paid', NULL), (14, 3, 100.1, 'open', 'y'), (15, 3, 0.2, 'open', NULL)",
        "INSERT INTO card VALUES (1, 10), (2, NULL)",
    ]
)
TOTALS = (
    "SELECT branch.city, SUM(loan.amount) AS total FROM loan JOIN branch ON loan.branch_id = branch.branch_id "
    "GROUP BY branch.city ORDER BY total DESC"
)
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n"
MANY = "SELECT a.loan_id FROM loan AS a CROSS JOIN loan AS b CROSS JOIN loan AS c CROSS JOIN loan AS d"
CROSSED = "SELECT COUNT(*) FROM " + ", ".join(f"loan AS t{number}" for number in range(13))


class OneServer:
    """What `prove` asks of a context: the server that the whole session shares."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def resource(self, *_: Any) -> Server:
        return self.server


class Engine:
    """A dialect with its server."""

    def __init__(self, dialect: Dialect, server: Server) -> None:
        self.dialect, self.server = dialect, server

    def world(self, context: str = CONTEXT, **changes: Any) -> SQLWorld:
        return SQLWorld(dialect=self.dialect, context=context, **changes)

    async def prove(self, query: str, world: SQLWorld | None = None, **limits: Any) -> SQLProof:
        context: Any = OneServer(self.server)
        return await prove(world or self.world(), query, context, Limits(**limits))

    async def refuted(self, query: str, world: SQLWorld | None = None, **limits: Any) -> Refuted:
        with pytest.raises(Refuted) as caught:
            await self.prove(query, world, **limits)
        return caught.value

    def run(self, query: str) -> list[Any]:
        """Past every check of the text, as one that outwits them would come."""
        limits = Limits(seconds=0.5)
        with self.server.database(CONTEXT, limits) as database:
            return database.run(query)[1]


BOTH = [pytest.param("postgres", marks=pytest.mark.postgres), pytest.param("mysql", marks=pytest.mark.mysql)]


@pytest.fixture(params=BOTH)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    name: Dialect = request.param
    return name


@pytest.fixture
def engine(request: pytest.FixtureRequest, dialect: Dialect) -> Engine:
    return Engine(dialect, request.getfixturevalue(f"{dialect}_server"))


async def test_proof_of_a_query(engine: Engine) -> None:
    claimed = engine.world(distractor_tables=["card"], distractor_columns=["loan.note", "branch.opened_on"])
    proof = await engine.prove(TOTALS, claimed)
    assert proof.result == [["Lille", 1800], ["Ghent", 750.5], ["Bruges", 100.3]]
    assert (proof.columns, proof.ordered, proof.row_count) == (["city", "total"], True, 3)
    shown = r"PostgreSQL \d+\.\d+" if engine.dialect == "postgres" else r"MariaDB \d+\.\d+\.\d+ \(stands in for MySQL\)"
    assert re.fullmatch(shown, proof.engine)
    assert (await engine.prove(TOTALS, claimed)).hash == proof.hash


@pytest.mark.parametrize(
    ("reason", "query"),
    [
        ("unparsed", "SELEC amount FROM loan"),
        ("several_statements", f"{TOTALS}; SELECT 1"),
        ("not_a_query", "-- nothing"),
        ("not_read_only", "DELETE FROM loan"),
        ("not_read_only", "SELECT amount FROM loan FOR UPDATE"),
        ("not_read_only", "COMMIT"),
        ("random", "SELECT UUID(), amount FROM loan"),
        ("depends_on_now", "SELECT loan_id FROM loan WHERE '2024-01-01' < CURRENT_DATE"),
        ("depends_on_now", "SELECT loan_id, NOW() FROM loan"),
        ("depends_on_now", "SELECT LOCALTIMESTAMP, loan_id FROM loan"),
        ("limit_without_order", "SELECT loan_id FROM loan LIMIT 2"),
        ("unknown_table", "SELECT amount FROM loans"),
        ("unknown_table", "SELECT table_name FROM information_schema.tables"),
        ("unknown_column", "SELECT missing FROM loan"),
        ("sql_error", "SELECT no_such_function(amount) FROM loan"),
        ("timeout", CROSSED),
        ("too_many_rows", MANY),
        ("no_rows", "SELECT * FROM loan WHERE amount < 0"),
        ("trivial_result", "SELECT MAX(amount) FROM loan WHERE amount < 0"),
        ("trivial_result", "SELECT COUNT(*) FROM loan WHERE amount < 0"),
        ("ties", "SELECT loan_id, ROW_NUMBER() OVER (ORDER BY amount) FROM loan"),
        ("ties", "SELECT branch_id, COUNT(*) AS n FROM loan GROUP BY branch_id ORDER BY n DESC LIMIT 1"),
        ("distractor_used", "SELECT status, amount FROM loan"),
        ("distractor_used", "SELECT COUNT(*) FROM loan, branch, card"),
        ("insensitive", "SELECT COUNT(amount) >= 0 AS always FROM loan"),
    ],
)
async def test_every_reason(reason: str, query: str, engine: Engine) -> None:
    claimed = engine.world(distractor_tables=["card"], distractor_columns=["loan.status"])
    assert (await engine.refuted(query, claimed, seconds=0.5)).reason == reason


@pytest.mark.parametrize(
    ("dialect", "reason", "query"),
    [
        pytest.param(*case, marks=getattr(pytest.mark, case[0]))
        for case in [
            ("postgres", "unstable", "SELECT STRING_AGG(city, ',') FROM branch"),
            ("postgres", "unstable", "SELECT DISTINCT ON (branch_id) branch_id, loan_id FROM loan"),
            ("postgres", "not_read_only", "WITH gone AS (DELETE FROM card RETURNING *) SELECT * FROM gone"),
            ("postgres", "not_read_only", "SELECT * INTO copy FROM loan"),
            ("postgres", "not_read_only", "COPY loan TO PROGRAM 'id'"),
            ("postgres", "not_read_only", "SET ROLE postgres"),
            ("postgres", "forbidden", "SELECT pg_read_file('/etc/passwd')"),
            ("postgres", "forbidden", "SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS t(a int)"),
            ("postgres", "depends_on_now", "SELECT city, AGE(opened_on) FROM branch"),
            ("postgres", "depends_on_now", "SELECT city FROM branch WHERE opened_on < 'today'::date"),
            ("postgres", "unknown_table", "SELECT rolname FROM pg_catalog.pg_roles"),
            ("mysql", "unstable", "SELECT GROUP_CONCAT(city) FROM branch"),
            ("mysql", "unstable", "SELECT branch_id, loan_id FROM loan GROUP BY branch_id"),
            ("mysql", "forbidden", "SELECT LOAD_FILE('/etc/passwd')"),
            ("mysql", "forbidden", "SELECT SLEEP(100)"),
            ("mysql", "forbidden", "SELECT amount /*! INTO OUTFILE '/tmp/x' */ FROM loan"),
            ("mysql", "forbidden", "SELECT /*+ MAX_EXECUTION_TIME(0) */ amount FROM loan"),
            ("mysql", "forbidden", "SELECT @@version"),
            ("mysql", "unparsed", "SELECT amount FROM loan INTO OUTFILE '/tmp/x'"),
            ("mysql", "unknown_table", "SELECT user FROM mysql.user"),
            ("mysql", "timeout", ENDLESS),
        ]
    ],
)
async def test_reasons_of_one_dialect(reason: str, query: str, engine: Engine) -> None:
    assert (await engine.refuted(query, seconds=0.5)).reason == reason


@pytest.mark.parametrize(
    ("dialect", "reason", "query"),
    [
        pytest.param(*case, marks=getattr(pytest.mark, case[0]))
        for case in [
            ("postgres", "timeout", ENDLESS),
            ("postgres", "timeout|out_of_memory", "SELECT COUNT(*) FROM generate_series(1, 100000000000)"),
            ("postgres", "timeout|out_of_memory", "SELECT * FROM generate_series(1, 100000000000)"),
            ("postgres", "too_many_rows", "SELECT generate_series(1, 100000000000)"),
            ("postgres", "out_of_memory", "SELECT repeat('x', 1000000000)"),
            ("postgres", "too_large", "SELECT repeat('x', 3000000)"),
            ("postgres", "forbidden", "SELECT pg_sleep(100)"),
            ("postgres", "forbidden", "SELECT pg_read_file('/etc/passwd')"),
            ("postgres", "forbidden", "SELECT pg_ls_dir('/')"),
            ("postgres", "forbidden", "SELECT lo_import('/etc/passwd')"),
            ("postgres", "forbidden", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"),
            ("postgres", "forbidden", "SELECT set_config('statement_timeout', '0', false)"),
            ("postgres", "forbidden", "SELECT query_to_xml('DELETE FROM loan', true, true, '')"),
            ("postgres", "forbidden", "SELECT rolpassword FROM pg_authid"),
            ("postgres", "forbidden", "COPY loan TO PROGRAM 'id'"),
            ("postgres", "forbidden", "COPY loan TO '/tmp/gristmill-copy'"),
            ("postgres", "not_read_only", "COPY loan TO STDOUT"),
            ("postgres", "not_read_only", "COPY loan FROM STDIN"),
            ("postgres", "forbidden", "SET ROLE postgres"),
            ("postgres", "forbidden", "SET SESSION AUTHORIZATION postgres"),
            ("postgres", "not_a_query", "RESET ROLE"),
            ("postgres", "not_a_query", "SET statement_timeout = 0"),
            ("postgres", "not_a_query", "COMMIT"),
            ("postgres", "not_read_only", "DELETE FROM loan"),
            ("postgres", "not_read_only", "DO $$ BEGIN DELETE FROM loan; END $$"),
            ("postgres", "not_read_only", "CREATE EXTENSION dblink"),
            ("postgres", "sql_error", "SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS t(a int)"),
            ("postgres", "several_statements", "SELECT 1; DROP TABLE loan"),
            ("mysql", "timeout", ENDLESS),
            ("mysql", "timeout", CROSSED),
            ("mysql", "timeout", "SELECT SLEEP(100)"),
            ("mysql", "too_many_rows", "SELECT seq FROM seq_1_to_100000000000"),
            ("mysql", "out_of_memory", "SELECT REPEAT('x', 1000000000)"),
            ("mysql", "too_large", "SELECT REPEAT('x', 3000000)"),
            ("mysql", "forbidden", "SELECT * FROM loan INTO OUTFILE '/tmp/gristmill-outfile'"),
            ("mysql", "forbidden", "SELECT Password FROM mysql.global_priv"),
            ("mysql", "forbidden", "SET GLOBAL max_statement_time = 0"),
            ("mysql", "sql_error", "KILL 1"),
            ("mysql", "forbidden", "SHUTDOWN"),
            ("mysql", "forbidden", "DELETE FROM loan"),
            ("mysql", "forbidden", "CREATE TABLE other (x INT)"),
            ("mysql", "not_a_query", "COMMIT"),
            ("mysql", "not_a_query", "SET SESSION max_statement_time = 0"),
            ("mysql", "sql_error", "SELECT 1; DROP TABLE loan"),
        ]
    ],
)
def test_the_engine_itself_lets_nothing_through(reason: str, query: str, engine: Engine) -> None:
    started = time.monotonic()
    with pytest.raises(Refuted) as caught:
        engine.run(query)
    assert caught.value.reason in reason.split("|"), "whichever limit a machine of its speed meets first"
    assert time.monotonic() - started < 10, "it was stopped"
    assert not [*Path("/tmp").glob("gristmill-copy"), *Path("/tmp").glob("gristmill-outfile")]
    assert len(engine.run(TOTALS)) == 3, "the engine is as it was"
    with pytest.raises(Refuted, match="timeout"):
        engine.run(CROSSED)  # and its limits hold


@pytest.mark.mysql
def test_what_mariadb_answers_with_nothing(mysql_server: Server) -> None:
    """A file that its user may not read is NULL, and a benchmark that is cut short is 0; neither can be proved."""
    engine = Engine("mysql", mysql_server)
    assert engine.run("SELECT LOAD_FILE('/etc/passwd')") == [(None,)]
    started = time.monotonic()
    assert engine.run("SELECT BENCHMARK(100000000000, MD5('x'))") == [(0,)]
    assert time.monotonic() - started < 10


@pytest.mark.postgres
@pytest.mark.parametrize(
    "query",
    [
        "SELECT b.*, COUNT(*) FROM branch AS b JOIN loan AS l ON l.branch_id = b.branch_id GROUP BY b.branch_id",
        "WITH loan AS (SELECT amount FROM loan WHERE amount > 200) SELECT SUM(amount) FROM loan",
        "SELECT city, n FROM branch CROSS JOIN LATERAL (SELECT COUNT(*) AS n FROM loan WHERE loan.branch_id = "
        "branch.branch_id) AS counted",
        "SELECT branch_id, ARRAY_AGG(amount ORDER BY amount, loan_id) FROM loan GROUP BY branch_id",
        "SELECT status, COUNT(*) FILTER (WHERE amount > 200) FROM public.loan GROUP BY status",
        "SELECT key, value FROM branch, jsonb_each(jsonb_build_object('city', city, 'id', branch_id))",
        "SELECT city, opened_on, opened_on::timestamptz, 'infinity'::date, INTERVAL '1 day', TRUE FROM branch",
        "SELECT json_agg(city ORDER BY city) AS cities FROM branch",
        "SELECT SUM(amount::real / 3), AVG(amount::real / 7) FROM loan",
        "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY amount) FROM loan",
    ],
)
async def test_what_postgres_can(query: str, postgres_server: Server) -> None:
    """Also what stands on a primary key, or can't be ordered, or is no JSON."""
    assert (await Engine("postgres", postgres_server).prove(query)).row_count > 0


@pytest.mark.mysql
@pytest.mark.parametrize(
    "query",
    [
        "SELECT b.*, COUNT(*) FROM branch AS b JOIN loan AS l ON l.branch_id = b.branch_id GROUP BY b.branch_id",
        "SELECT status, GROUP_CONCAT(amount ORDER BY amount, loan_id SEPARATOR ';') FROM loan GROUP BY status",
        "SELECT City, TIMESTAMPDIFF(MONTH, opened_on, '2020-01-01') FROM branch",
        "SELECT status, SUM(amount) FROM loan GROUP BY status WITH ROLLUP",
        "SELECT JSON_OBJECT('city', city) FROM branch WHERE opened_on > DATE_SUB('2005-01-01', INTERVAL 1 YEAR)",
        'SELECT amount FROM loan WHERE status = "open" # a comment; here',
        "SELECT `city`, IF(branch_id > 1, 'new', 'old'), opened_on FROM branch",
    ],
)
async def test_what_mariadb_can(query: str, mysql_server: Server) -> None:
    assert (await Engine("mysql", mysql_server).prove(query)).row_count > 0


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (TOTALS.replace("loan JOIN branch", "branch JOIN loan"), ""),
        (TOTALS.replace("total DESC", "total DESC LIMIT 3"), "wrong_result: with other values in the tables"),
        (TOTALS.replace("GROUP", "WHERE loan.amount < 1000 GROUP"), "wrong_result: with other values in the tables"),
    ],
)
async def test_an_answer_that_is_right_by_luck_is_refused(answer: str, fault: str, engine: Engine) -> None:
    claim: JsonObject = {"dialect": engine.dialect, "context": CONTEXT, "query": TOTALS}
    record = Record(messages=[user("?"), assistant(f"```sql\n{answer}\n```")], metadata={"sql": claim})
    context: Any = OneServer(engine.server)
    verdict = await SQLExecution(Limits()).judge(record, context)
    assert verdict.passed is not bool(fault) and verdict.reason.startswith(fault), verdict.reason


async def test_a_frozen_clock(engine: Engine) -> None:
    query = "SELECT city, CURRENT_DATE, NOW() FROM branch WHERE opened_on < CURRENT_DATE - INTERVAL '1' YEAR"
    proof = await engine.prove(query, frozen_clock=datetime(2005, 1, 2, 3, 4, 5))
    rows = "CREATE TABLE t (x DATE);\nINSERT INTO t VALUES (CURRENT_DATE), (CURRENT_DATE - INTERVAL '1' DAY);"
    loaded = await engine.prove("SELECT x FROM t ORDER BY x", engine.world(rows), frozen_clock=datetime(2005, 1, 2))
    assert loaded.result == [["2005-01-01"], ["2005-01-02"]]
    assert (await engine.refuted("SELECT x FROM t", engine.world(rows))).reason == "context"
    ((city, day, moment),) = proof.result
    assert (city, day) == ("Ghent", "2005-01-02") and str(moment).startswith("2005-01-02 03:04:05")


@pytest.mark.parametrize(
    ("said", "statement"),
    [
        ("already exists", "CREATE TABLE loan (x INT)"),
        ("", "INSERT INTO loan VALUES (16, 99, 1, 'open', NULL)"),
        ("", "INSERT INTO nowhere VALUES (1)"),
        ("only tables and rows", "GRANT ALL ON loan TO PUBLIC"),
        ("only tables and rows", "/* first */ DO 1"),
        ("", "INSERT INTO branch VALUES (4, 'Mons"),
    ],
)
async def test_a_context_that_does_not_load_names_its_statement(said: str, statement: str, engine: Engine) -> None:
    fault = await engine.refuted(TOTALS, engine.world(f"{CONTEXT}\n{statement};\nINSERT INTO card VALUES (3, NULL);"))
    assert fault.reason == "context" and said in fault.detail
    assert statement.removeprefix("/* first */ ")[:24] in fault.detail
    assert (await engine.prove(TOTALS)).row_count == 3


async def test_checks_leave_nothing_behind(engine: Engine) -> None:
    """The next context may use the same names for something else."""
    await engine.prove(TOTALS)
    other = engine.world("CREATE TABLE loan (x INT);\nINSERT INTO loan VALUES (1), (2);")
    for _ in range(3):
        assert (await engine.prove("SELECT x FROM loan", other)).row_count == 2
    assert (await engine.refuted("SELECT city FROM branch", other)).reason == "unknown_table"


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        ("INSERT INTO card VALUES (3, 12)", [["+", "card", "row", 3, 12]]),
        ("DELETE FROM card WHERE loan_id IS NULL", [["-", "card", "row", 2, None]]),
        (
            "UPDATE loan SET amount = amount + 1 WHERE loan_id = 15",
            [["-", "loan", "row", 15, 3, 0.2, "open", None], ["+", "loan", "row", 15, 3, 1.2, "open", None]],
        ),
        ("DROP TABLE card", None),
        ("ALTER TABLE card ADD COLUMN kind VARCHAR(9)", None),
    ],
)
async def test_a_statement_that_writes(statement: str, changes: list[Any] | None, engine: Engine) -> None:
    proof = await engine.prove(statement, engine.world(writes=True))
    assert proof.row_count > 0 and (changes is None or proof.result == changes)
    assert (await engine.prove("SELECT * FROM card")).row_count == 2, "nothing of it stays"


@pytest.mark.postgres
async def test_numbers_that_a_sequence_gives(postgres_server: Server) -> None:
    """A sequence isn't rolled back with its transaction; the second run must not see the first one's numbers."""
    engine = Engine("postgres", postgres_server)
    context = "CREATE TABLE item (id SERIAL PRIMARY KEY, name TEXT);\nINSERT INTO item (name) VALUES ('a'), ('b');"
    world = engine.world(context, writes=True)
    proof = await engine.prove("INSERT INTO item (name) VALUES ('c')", world)
    assert proof.result == [["+", "item", "row", 3, "c"]]
    assert (await engine.prove("INSERT INTO item (name) VALUES ('c')", world)).hash == proof.hash


def test_a_broken_connection_is_replaced(engine: Engine) -> None:
    """What ran on it is refuted, and the next check has another one."""

    def hang_up(database: Any) -> None:
        time.sleep(0.3)
        postgres = engine.dialect == "postgres"
        wire = database._connection._pg.socket if postgres else database._reader._my._sock.fileno()
        with socket.socket(fileno=os.dup(wire)) as same:
            same.shutdown(socket.SHUT_RDWR)

    with engine.server.database(CONTEXT, Limits(seconds=2)) as database:
        killer = threading.Thread(target=hang_up, args=(database,))
        killer.start()
        with pytest.raises(Refuted) as caught:
            database.run(CROSSED)
        killer.join()
    assert caught.value.reason == "crashed", caught.value
    time.sleep(2)  # the query itself knows nothing of it, and holds its tables until its own time is up
    for _ in range(2):
        assert len(engine.run(TOTALS)) == 3


async def test_a_proof_survives_one_break(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks = [Refuted("crashed", "the server ended the connection")]

    def breaking_once(*arguments: Any, **options: Any) -> Any:
        if breaks:
            raise breaks.pop()
        return check_query(*arguments, **options)

    monkeypatch.setattr("judges.sql_execution.check_query", breaking_once)
    assert (await engine.prove(TOTALS)).row_count == 3 and not breaks
    breaks = [Refuted("crashed", "again"), Refuted("crashed", "the server ended the connection")]
    assert (await engine.refuted(TOTALS)).reason == "crashed"


# --- the life of a server --------------------------------------------------------------------------------------------

_HOLDER = """
import sys, time
from judges.{module} import {name}
with {name}("local", 1) as server:
    print("up", flush=True)
    time.sleep(600)
"""


def processes(folder: str) -> list[int]:
    """Those that have the folder on their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if folder in (place / "cmdline").read_bytes().decode(errors="replace"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


@contextmanager
def holder(dialect: Dialect, place: Path, *, ready: bool) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has started a server in `place`, or (not `ready`) is still preparing it."""
    script = _HOLDER.format(module=f"{dialect}_engine", name=dialect)
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(place)})
    assert process.stdout
    try:
        if ready:
            assert process.stdout.readline() == b"up\n"
        while not [*place.glob("*/data/*")]:
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("ready", [True, False])
def test_no_server_outlives_its_process(dialect: Dialect, ready: bool) -> None:
    """Killed without a word, it leaves neither a process nor a file."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        with holder(dialect, place, ready=ready) as process:
            (folder,) = place.iterdir()
            assert processes(str(folder)) and folder.stat().st_mode & 0o077 == 0
            process.send_signal(signal.SIGKILL)
            process.wait()
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline and (folder.exists() or processes(str(folder))):
                time.sleep(0.1)
        assert not folder.exists() and not processes(str(folder))


def users_server(engine: Engine, name: str, *, superuser: bool) -> str:
    """The URL of a role or user of that name, made on the session's server."""
    with engine.server.database("", Limits()) as database:
        inside: Any = database
    if engine.dialect == "postgres":
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        from judges.postgres_server import run_commands as run_postgres

        folder = conninfo_to_dict(inside._connection._address.decode())["host"]
        admin = make_conninfo(host=folder, user="postgres", dbname="postgres")
        rights = "SUPERUSER" if superuser else "CREATEDB"
        run_postgres(admin, f"CREATE ROLE {name} LOGIN {rights}", f"GRANT CONNECT ON DATABASE postgres TO {name}")
        return f"postgresql://{name}@/postgres?host={folder}"
    from judges.mysql_server import RIGHTS
    from judges.mysql_server import run_commands as run_mysql

    place = inside._loader._options["unix_socket"]
    rights = "ALL PRIVILEGES ON *.*" if superuser else f"{RIGHTS} ON `gristmill\\_proof\\_%`.*"
    options = {"unix_socket": place, "user": "root"}
    run_mysql(options, f"CREATE USER '{name}'@'%' IDENTIFIED BY 'a b'", f"GRANT {rights} TO '{name}'@'%'")
    return f"mysql://{name}:a%20b@localhost/?unix_socket={place}"


def test_a_server_of_the_users(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by a variable; proofs leave no database behind."""
    from judges.sql_server import starter

    monkeypatch.setenv("OWN_SERVER", users_server(engine, "own", superuser=False))
    with starter(engine.dialect)("OWN_SERVER", 2) as server:
        assert prove_on(server, engine.world(), TOTALS).row_count == 3
        with pytest.raises(Refuted, match=r"forbidden|not_read_only"):
            Engine(engine.dialect, server).run("DELETE FROM loan")
    shown = {"postgres": "SELECT datname FROM pg_database", "mysql": "SHOW DATABASES"}[engine.dialect]
    assert not [row for row in engine.run(shown) if "gristmill_proof" in row[0]]


def test_a_server_where_a_query_might_do_anything(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from judges.sql_server import starter

    monkeypatch.setenv("OWN_SERVER", users_server(engine, "mighty", superuser=True))
    with pytest.raises(ConfigError, match=r"superuser|too much"), starter(engine.dialect)("OWN_SERVER", 2):
        pass


def test_a_docker_that_does_not_answer_is_one_sentence(dialect: Dialect, monkeypatch: pytest.MonkeyPatch) -> None:
    from judges.sql_server import starter

    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(GristmillError, match=r"docker run: .*nowhere|no Docker"), starter(dialect)("docker:none", 1):
        pass


async def test_a_missing_server_is_one_sentence(dialect: Dialect, monkeypatch: pytest.MonkeyPatch) -> None:
    import judges.mysql_server
    import judges.postgres_server
    from gristmill.resources import Resources

    class Asking:
        def __init__(self) -> None:
            self.resource = Resources().get

    context: Any = Asking()
    for module in (judges.postgres_server, judges.mysql_server):
        monkeypatch.setattr(module, "programs", lambda: None)
    with pytest.raises(GristmillError, match="apt-get install"):
        await server_for(dialect, Limits(), context)
    with pytest.raises(ConfigError, match="NOWHERE_DSN"):
        await server_for(dialect, Limits(postgres="NOWHERE_DSN", mysql="NOWHERE_DSN"), context)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.mysql
def test_a_file_of_records_in_three_dialects(cli: CLI, tmp_path: Path) -> None:
    cases = []
    for dialect in ("sqlite", "postgres", "mysql"):
        for query in (TOTALS, TOTALS.replace("loan.amount", "loan.amounts")):
            claim = {
                "dialect": dialect, "context": CONTEXT, "query": query,
                "distractor_tables": ["card"], "distractor_columns": ["loan.note"],
            }  # fmt: skip
            messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": query}]
            cases.append({"messages": messages, "metadata": {"sql": claim}})
    (tmp_path / "cases.jsonl").write_bytes(b"\n".join(map(orjson.dumps, cases)))
    (tmp_path / "config.yaml").write_text("judges: [{name: sql_execution, seconds: 2}]\n")
    done = cli("judge", "cases.jsonl", "config.yaml", "--run", "out")
    assert done.returncode == 0, done.stderr
    summary = orjson.loads((tmp_path / "out/summary.json").read_bytes())
    assert (summary["accepted"], summary["rejected"], summary["failed"]) == (3, 3, 0)
    shown = cli(
        "query", "out", "SELECT DISTINCT unnest(verdicts).reason AS r FROM records ORDER BY r", "--format", "csv"
    )
    assert "proved on MariaDB" in shown.stdout and "PostgreSQL" in shown.stdout and "SQLite" in shown.stdout
