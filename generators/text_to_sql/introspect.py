"""A user's own SQLite file as a `Database`: keys by introspection, words from the names, kinds from the values.

    InvoiceLine.UnitPrice NUMERIC(10,2)   ->   "unit price" of an "invoice line", a measure that is not added up

Only tables are read (views and columns with blobs are left out), and of a large table a part: runs of neighbouring
rows spread over it, because neighbours share parents, and the rows that they point to. Rows whose parent is missing
are left out, so that foreign keys hold.
"""

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from generators.text_to_sql.schema import Column, Database, ForeignKey, Kind, Table, Value, distinct
from gristmill.errors import ConfigError
from judges.sqlite_engine import quoted

READ_ROWS = 50_000
"""Rows read of a table; the sample is taken from these."""
RUN = 10

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}( \d{2}:\d{2}(:\d{2})?)?")
_UPPER, _LOWER = "A-ZÀ-ÖØ-Þ", "a-zß-öø-ÿ"
_WORD = re.compile(rf"[{_UPPER}]+(?=[{_UPPER}][{_LOWER}])|[{_UPPER}]?[{_LOWER}]+|[{_UPPER}]+|\d+|[^\W\d_]+")
_NOISE = {"tbl", "tb", "dim", "fact", "is", "has", "was"}
_NAMES = {"name", "title", "label", "surname"}
_CODES = {"id", "number", "no", "code", "zip", "phone", "fax", "isbn", "sku", "postcode"}
_DURATIONS = {"milliseconds", "seconds", "minutes", "hours", "days"}
_UNITS = _DURATIONS | {"bytes", "kg", "grams", "km", "meters", "miles", "liters", "percent", "euros", "dollars"}
_AMOUNTS = {
    "amount",
    "total",
    "subtotal",
    "quantity",
    "qty",
    "count",
    "sales",
    "revenue",
    "cost",
    "fee",
    "tax",
    "bytes",
}
_PERSON = re.compile(r"\b(first|last|full|fore) ?name\b|\bsurname\b|\bbirth|\bgender\b")
_IRREGULAR = {"people": "person", "children": "child", "men": "man", "women": "woman"}
_UNCHANGED = {"media", "news", "series", "species", "data", "staff", "equipment"}


def read_sqlite(path: Path, max_rows: int, industry: str = "") -> Database:
    """The tables of the file that have rows; ConfigError where it is no SQLite database or holds none.

    `industry` is what questions call the trade; without it, the file's name.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            tables = {name: _read_table(db, name) for name in names if not name.startswith("sqlite_")}
    except sqlite3.Error as error:
        raise ConfigError(f"params.database: {path} can't be read as an SQLite database: {error}.") from None
    return database_of(tables, path.stem, max_rows, industry)


def database_of(tables: dict[str, Table], name: str, max_rows: int, industry: str = "") -> Database:
    """Tables as they were read: their keys resolved, sampled, and with words; ConfigError where none has rows."""
    tables = {name: table for name, table in _keys_resolved(tables).items() if table.rows and table.columns}
    if not tables:
        raise ConfigError(f"params.database: {name} holds no table with rows.")
    industry = industry or " ".join(split_words(name))
    return Database(name, industry, tuple(described(table) for table in _sample(tables, max_rows)))


def _read_table(db: sqlite3.Connection, name: str) -> Table:
    """The table as it lies there: kinds and words come later; a key without a column means the primary key."""
    info = db.execute(f"PRAGMA table_info({quoted(name)})").fetchall()
    rows = db.execute(f"SELECT {', '.join(quoted(c[1]) for c in info)} FROM {quoted(name)}").fetchmany(READ_ROWS)
    kept = [i for i in range(len(info)) if not any(isinstance(row[i], bytes) for row in rows)]
    found = db.execute(f"PRAGMA foreign_key_list({quoted(name)})").fetchall()
    numbers = [key[0] for key in found]
    return Table(
        name,
        "",
        "",
        columns=tuple(Column(info[i][1], info[i][2], "", "text") for i in kept),
        primary_key=tuple(c[1] for c in sorted((info[i] for i in kept if info[i][5]), key=lambda c: int(c[5]))),
        foreign_keys=tuple(ForeignKey(key[3], key[2], key[4] or "") for key in found if numbers.count(key[0]) == 1),
        rows=tuple(tuple(row[i] for i in kept) for row in rows),
    )


def _keys_resolved(tables: dict[str, Table]) -> dict[str, Table]:
    """Keys with the names as the tables spell them; those that point to nothing that was read are left out."""
    named = {name.lower(): name for name in tables}
    spelled = {(name, c.name.lower()): c.name for name, table in tables.items() for c in table.columns}

    def resolved(table: Table, key: ForeignKey) -> ForeignKey | None:
        target = named.get(key.table.lower(), "")
        wanted = key.to_column or (tables[target].primary_key[0] if target and tables[target].primary_key else "")
        column, to_column = spelled.get((table.name, key.column.lower())), spelled.get((target, wanted.lower()))
        return ForeignKey(column, target, to_column) if column and to_column else None

    return {
        name: replace(table, foreign_keys=tuple(k for key in table.foreign_keys if (k := resolved(table, key))))
        for name, table in tables.items()
    }


def _sample(tables: dict[str, Table], max_rows: int) -> list[Table]:
    """About `max_rows` rows of each table such that every key finds its row."""
    tables = _without_orphans(tables)
    at = {
        (name, key.to_column): {value: i for i, value in enumerate(tables[key.table].values(key.to_column))}
        for table in tables.values()
        for key in table.foreign_keys
        for name in [key.table]
    }
    chosen = {name: set(_runs(len(table.rows), max_rows)) for name, table in tables.items()}
    pending = [(name, i) for name, rows in chosen.items() for i in sorted(rows)]
    while pending:
        name, i = pending.pop()
        table = tables[name]
        for key in table.foreign_keys:
            value = table.rows[i][[c.name for c in table.columns].index(key.column)]
            if value is not None and (parent := at[key.table, key.to_column][value]) not in chosen[key.table]:
                chosen[key.table].add(parent)
                pending.append((key.table, parent))
    return [replace(table, rows=tuple(table.rows[i] for i in sorted(chosen[name]))) for name, table in tables.items()]


def _runs(count: int, wanted: int) -> list[int]:
    """About `wanted` of the numbers below `count`, in evenly spread runs of neighbours."""
    if count <= wanted:
        return list(range(count))
    runs = max(1, wanted // RUN)
    starts = [round(run * (count - RUN) / max(1, runs - 1)) for run in range(runs)]
    return sorted({start + step for start in starts for step in range(min(RUN, wanted))})


def _without_orphans(tables: dict[str, Table]) -> dict[str, Table]:
    """Drops rows whose parent is missing until none is left; a key of NULL points nowhere and is fine."""
    while True:
        present = {
            (k.table, k.to_column): {*tables[k.table].values(k.to_column), None}
            for t in tables.values()
            for k in t.foreign_keys
        }
        kept = {name: _with_parents(table, present) for name, table in tables.items()}
        if all(len(kept[name].rows) == len(table.rows) for name, table in tables.items()):
            return {name: table for name, table in tables.items() if table.rows}
        tables = kept


def _with_parents(table: Table, present: dict[tuple[str, str], set[Value]]) -> Table:
    columns = [column.name for column in table.columns]
    keys = [(columns.index(key.column), present[key.table, key.to_column]) for key in table.foreign_keys]
    return replace(table, rows=tuple(row for row in table.rows if all(row[i] in values for i, values in keys)))


def described(table: Table) -> Table:
    """The table with words, kinds and values."""
    words = [word for word in split_words(table.name) if word not in _NOISE] or ["row"]
    singular = " ".join([*words[:-1], _singular(words[-1])])
    keys = {key.column for key in table.foreign_keys}
    columns = tuple(_describe(column, table, singular, column.name in keys) for column in table.columns)
    return replace(
        table,
        singular=singular,
        plural=" ".join([*words[:-1], _plural(_singular(words[-1]))]),
        columns=columns,
        foreign_keys=tuple(replace(key, words=_role(key)) for key in table.foreign_keys),
        person=any(_PERSON.search(column.words) for column in columns),
    )


def _describe(column: Column, table: Table, owner: str, is_key: bool) -> Column:
    values = table.values(column.name)
    known = distinct(values)
    words = split_words(column.name)
    kind = _kind(column, words, table, known, is_key)
    if kind == "flag":
        words = [word for word in words if word not in _NOISE] or words
    if words == ["id"]:
        words = [*owner.split(), "id"]
    return replace(
        column,
        words=" ".join(words),
        kind=kind,
        unit=_unit(words) if kind == "measure" else None,
        additive=kind == "measure" and _adds_up(set(words)),
        nullable=len(known) == 0 or None in values,
        values=known,
    )


def _adds_up(words: set[str]) -> bool:
    return bool(words & (_AMOUNTS | _DURATIONS)) and not words & {"per", "unit", "rate"}


def _kind(column: Column, words: list[str], table: Table, known: Sequence[Value], is_key: bool) -> Kind:
    last = words[-1] if words else ""
    count = sum(value is not None for value in table.values(column.name))
    if is_key:
        return "key"
    if table.primary_key == (column.name,):
        return "id"
    if set(known) <= {0, 1} and (len(known) == 2 or (known and "BOOL" in column.type.upper())):
        return "flag"
    if known and all(isinstance(value, str) and _ISO_DATE.fullmatch(value) for value in known):
        return "date"
    if len(known) == 1 and count > 1:
        return "key"  # the same in every row: there is nothing to ask
    if last in _CODES or not known:
        return "text"
    if all(isinstance(value, int | float) for value in known):
        return "measure"
    if last in _NAMES:
        return "name"
    short = all(len(str(value)) <= 40 for value in known)
    return "category" if short and len(known) <= 40 and 2 * len(known) <= count else "text"


def _unit(words: list[str]) -> str | None:
    if "year" in words:
        return "year"
    return next((word for word in words if word in _UNITS), None)


def _role(key: ForeignKey) -> str | None:
    """ "support rep" for SupportRepId -> Employee; None where the column only repeats the table's name."""
    words = [word for word in split_words(key.column) if word not in _CODES]
    target = [word for word in split_words(key.table) if word not in _NOISE]
    plain = [*target[:-1], _singular(target[-1])] if target else []
    return None if words in ([], plain, target) else " ".join(words)


def split_words(name: str) -> list[str]:
    """["invoice", "line"] for InvoiceLine, invoice_line and INVOICE_LINE."""
    return [word.lower() for word in _WORD.findall(name)]


def _singular(word: str) -> str:
    if word in _IRREGULAR or word in _UNCHANGED:
        return _IRREGULAR.get(word, word)
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(s|x|z|ch|sh)es$", word):
        return word[:-2]
    return word[:-1] if re.search(r"[^sui]s$", word) else word


def _plural(word: str) -> str:
    irregular = {one: many for many, one in _IRREGULAR.items()}
    if word in irregular or word in _UNCHANGED:
        return irregular.get(word, word)
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if re.search(r"(s|x|z|ch|sh)$", word) else "s")
