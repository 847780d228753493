"""What a proof costs on each engine, and how fast grammar mode is before any model call.

    python benchmarks/text_to_sql.py [--records 60] [--rounds 5]

A record is five tables, two distractors and some sixty rows, different in each record, with one of five queries; every
check is on. Printed, as medians over rounds: for SQLite CPU milliseconds per record; for the servers, warm and with two
workers, wall milliseconds per record and of one record from its start to its proof; and what the choice of a
rolled-back transaction over a fresh database saves. Grammar mode: records per second of CPU, all checks on, no model.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from judges.mysql_engine import mysql
from judges.postgres_engine import postgres
from judges.postgres_server import opened
from judges.sql_engine import Limits
from judges.sql_execution import prove_in_sqlite, prove_on
from judges.sql_server import Server
from judges.sql_world import Dialect, SQLWorld, joined

CITIES = ("Ghent", "Lille", "Bruges", "Namur", "Arras", "Mons")
LIMITS = Limits()
QUERIES = (
    "SELECT name, opened_on FROM branch WHERE city = 'Ghent' OR branch_id > 3",
    "SELECT b.city, COUNT(*) AS loans, SUM(l.amount) AS total FROM loan AS l JOIN branch AS b "
    "ON b.branch_id = l.branch_id WHERE l.status <> 'paid' GROUP BY b.city ORDER BY total DESC, b.city LIMIT 3",
    "SELECT c.name FROM customer AS c WHERE NOT EXISTS (SELECT 1 FROM loan AS l WHERE l.customer_id = c.customer_id "
    "AND l.amount > 700) ORDER BY c.customer_id",
    "WITH totals AS (SELECT customer_id, SUM(amount) AS total FROM loan GROUP BY customer_id) SELECT c.name, t.total "
    "FROM totals AS t JOIN customer AS c ON c.customer_id = t.customer_id WHERE t.total > "
    "(SELECT AVG(total) FROM totals) ORDER BY t.total DESC, c.customer_id",
    "SELECT loan_id, branch_id, RANK() OVER (PARTITION BY branch_id ORDER BY amount DESC) AS place FROM loan",
)
TABLES = (
    "CREATE TABLE branch (branch_id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, city VARCHAR(40), opened_on DATE, "
    "floor_space INTEGER, note TEXT)",
    "CREATE TABLE customer (customer_id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, born_on DATE, "
    "city VARCHAR(40), phone VARCHAR(20), note TEXT)",
    "CREATE TABLE loan (loan_id INTEGER PRIMARY KEY, branch_id INTEGER NOT NULL, customer_id INTEGER NOT NULL, "
    "amount DECIMAL(10, 2) NOT NULL, status VARCHAR(10), note TEXT, FOREIGN KEY (branch_id) REFERENCES branch "
    "(branch_id), FOREIGN KEY (customer_id) REFERENCES customer (customer_id))",
    "CREATE TABLE payment (payment_id INTEGER PRIMARY KEY, loan_id INTEGER, paid_on DATE, amount DECIMAL(10, 2), "
    "FOREIGN KEY (loan_id) REFERENCES loan (loan_id))",
    "CREATE TABLE clerk (clerk_id INTEGER PRIMARY KEY, branch_id INTEGER, name VARCHAR(40), hired_on DATE, "
    "FOREIGN KEY (branch_id) REFERENCES branch (branch_id))",
    "CREATE TABLE card (card_id INTEGER PRIMARY KEY, customer_id INTEGER, kind VARCHAR(10), "
    "FOREIGN KEY (customer_id) REFERENCES customer (customer_id))",
    "CREATE TABLE vault (vault_id INTEGER PRIMARY KEY, branch_id INTEGER, size INTEGER, "
    "FOREIGN KEY (branch_id) REFERENCES branch (branch_id))",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    in_process(arguments.records, arguments.rounds)
    starters: dict[Dialect, Callable[..., Any]] = {"postgres": postgres, "mysql": mysql}
    for dialect, start in starters.items():
        begun = time.monotonic()
        with start("local", 2) as server:
            on_server(dialect, server, time.monotonic() - begun, arguments.records, arguments.rounds)
    transaction_or_database(20)
    by_grammar(200)


def records(dialect: Dialect, count: int, seed: int) -> Iterator[tuple[SQLWorld, str]]:
    """Worlds that differ from each other, so that nothing is answered from a cache."""
    rng = random.Random(seed)
    for number in range(count):
        yield (
            SQLWorld(
                dialect=dialect,
                context=joined([*TABLES, *_rows(rng)]),
                distractor_tables=["card", "vault"],
                distractor_columns=[
                    "branch.floor_space",
                    "branch.note",
                    "customer.phone",
                    "customer.note",
                    "loan.note",
                ],
            ),
            QUERIES[number % len(QUERIES)],
        )


def _rows(rng: random.Random) -> Iterator[str]:
    def day() -> str:
        return f"'20{rng.randrange(10, 24)}-0{rng.randrange(1, 10)}-1{rng.randrange(10)}'"

    rows: dict[str, list[str]] = {
        "branch": [
            f"{i}, 'Branch {i}', '{rng.choice(CITIES)}', {day()}, {rng.randrange(99)}, NULL" for i in range(1, 7)
        ],
        "customer": [
            f"{i}, 'Name {i}', {day()}, '{rng.choice(CITIES)}', '0{rng.randrange(99)}', 'x'" for i in range(10)
        ],
        "loan": [
            f"{i}, {rng.randrange(1, 7)}, {rng.randrange(10)}, {rng.randrange(1, 999)}.5, "
            f"'{rng.choice(('open', 'paid', 'late'))}', NULL"
            for i in range(20)
        ],
        "payment": [f"{i}, {rng.randrange(20)}, {day()}, {rng.randrange(99)}" for i in range(10)],
        "clerk": [f"{i}, {rng.randrange(1, 7)}, 'Clerk {i}', {day()}" for i in range(8)],
        "card": [f"{i}, {rng.randrange(10)}, 'gold'" for i in range(5)],
        "vault": [f"{i}, {rng.randrange(1, 7)}, {i}" for i in range(4)],
    }
    return (f"INSERT INTO {table} VALUES ({'), ('.join(lines)})" for table, lines in rows.items())


def in_process(count: int, rounds: int) -> None:
    costs = []
    for number in range(rounds + 1):  # the first warms up
        worlds = list(records("sqlite", count, number))
        begun = time.process_time()
        for world, query in worlds:
            prove_in_sqlite(world, query, LIMITS)
        costs.append((time.process_time() - begun) / count * 1000)
    print(f"SQLite       {statistics.median(costs[1:]):6.2f} ms CPU per record (at most 3)")


def on_server(dialect: Dialect, server: Server, started: float, count: int, rounds: int) -> None:
    costs, whole, engine = [], [], ""
    for number in range(rounds + 1):
        worlds = list(records(dialect, count, number))

        def work(world: SQLWorld, query: str) -> tuple[str, float]:
            begun = time.monotonic()
            return prove_on(server, world, query, LIMITS).engine, (time.monotonic() - begun) * 1000

        begun = time.monotonic()
        proofs = [future.result() for future in [server.workers.submit(work, *pair) for pair in worlds]]
        costs.append((time.monotonic() - begun) / count * 1000)
        whole += [spent for _, spent in proofs] if number else []
        engine = proofs[0][0]
    print(
        f"{dialect:<12} {statistics.median(costs[1:]):6.1f} ms wall per record with 2 workers (at most 60), "
        f"{statistics.median(whole):.1f} ms for one; started in {started:.1f} s; {engine}"
    )


def transaction_or_database(count: int) -> None:
    """Loading a context into a transaction that is rolled back, and into a database that is made from a template."""
    from judges.postgres_engine import Postgres
    from judges.postgres_server import reachable
    from judges.postgres_wire import Connection

    worlds = [world for world, _ in records("postgres", count, 99)]
    with reachable("local", 1) as (address,):
        connection = Connection(address)

        def load(context: str) -> None:
            connection.begin(LIMITS)
            Postgres(connection, LIMITS).load(context)
            connection.end()

        rolled_back = _median_of(load, [world.context for world in worlds])
        connection.close()
        admin = opened(
            address.replace(b"user=gristmill", b"user=postgres").replace(b"dbname=proof_0", b"dbname=postgres")
        )

        def fresh(_: str) -> None:
            admin.exec_(b"CREATE DATABASE fresh TEMPLATE proof_0")
            admin.exec_(b"DROP DATABASE fresh")

        made = _median_of(fresh, ["" for _ in worlds])
        admin.finish()
    print(
        f"postgres     {rolled_back:6.1f} ms to load and roll back, {made:.1f} ms to make and drop a database besides"
    )


def _median_of(work: Callable[[str], None], arguments: list[str]) -> float:
    spent = []
    for argument in arguments:
        begun = time.monotonic()
        work(argument)
        spent.append((time.monotonic() - begun) * 1000)
    return statistics.median(spent)


def by_grammar(count: int) -> None:
    from gristmill.testing import run_scripted

    config = {
        "generator": "text_to_sql",
        "tasks": count,
        "params": {"mode": "grammar", "paraphrase": False, "dialects": ["sqlite"]},
    }
    with TemporaryDirectory() as folder:
        run_scripted({**config, "tasks": 20}, Path(folder) / "warm")
        begun = time.process_time()
        summary = run_scripted(config, Path(folder) / "run")
        spent = time.process_time() - begun
    print(
        f"grammar      {summary['accepted'] / spent:6.0f} SQLite records per second of CPU, whole runs (at least 200)"
    )


if __name__ == "__main__":
    main()
