"""`gristmill diff BLEND_A BLEND_B`: what a release added, removed and changed, by source.

Rows are told apart by their uuid, which is the hash of a conversation when it was made. A row is *changed* if what is
trained on differs under the same uuid (a stripped trace, masked text, another effort), and *moved* if only its source,
its split or its number of copies does.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from gristmill.commands import Command

_TRAINED = "messages", "tools", "reasoning"
_ROWS = f"""
    SELECT uuid, min(source) AS source, min(split) AS split, count(*) AS copies,
           bit_xor(md5_number(concat_ws('/', {", ".join(f"{column}::VARCHAR" for column in _TRAINED)}))) AS trained
    FROM {{samples}} GROUP BY uuid
"""
_DIFF = f"""
    CREATE TEMP TABLE diff AS
    SELECT coalesce(b.source, a.source) AS source, uuid,
           CASE WHEN a.uuid IS NULL THEN 'added' WHEN b.uuid IS NULL THEN 'removed'
                WHEN a.trained <> b.trained AND a.copies = b.copies THEN 'changed'
                WHEN a.source <> b.source OR a.split <> b.split OR a.copies <> b.copies THEN 'moved'
                ELSE 'same' END AS what
    FROM ({_ROWS.format(samples="before")}) AS a FULL JOIN ({_ROWS.format(samples="after")}) AS b USING (uuid)
"""
_BY_SOURCE = """
    PIVOT diff ON what IN ('same', 'moved', 'changed', 'added', 'removed') USING count(*)
    GROUP BY source ORDER BY source
"""


def diff(before: Path, after: Path) -> list[dict[str, Any]]:
    """A row for each source, and one for all. ConfigError where one of the folders is no blend."""
    import duckdb

    from gristmill.errors import ConfigError
    from gristmill.views import BLEND_FILE, OFFLINE, samples_sql, sentence, sql_text

    with duckdb.connect(config={**OFFLINE}) as store:
        for name, folder in (("before", before), ("after", after)):
            if not (folder / BLEND_FILE).is_file():
                raise ConfigError(f"{folder} is no blend (it has no {BLEND_FILE}).")
            try:
                store.execute(f"ATTACH {sql_text(str(folder / BLEND_FILE))} AS of_{name} (READ_ONLY)")
                store.execute(f"CREATE VIEW {name} AS {samples_sql(folder.absolute(), f'of_{name}.placement')}")
            except duckdb.Error as error:
                raise ConfigError(f"{folder} can't be opened: {sentence(error)}") from None
        store.execute(_DIFF)
        rows: list[dict[str, Any]] = store.sql(_BY_SOURCE).to_arrow_table().to_pylist()
    counts = [name for name in rows[0] if name != "source"] if rows else []
    return [*rows, {"source": "all", **{name: sum(row[name] for row in rows) for name in counts}}]


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("before", type=Path, metavar="BLEND_A", help="a blend's folder")
    parser.add_argument("after", type=Path, metavar="BLEND_B", help="the blend that came after it")
    parser.add_argument("--format", choices=["text", "json"], default="text", help="default: text")


def _diff(arguments: Namespace) -> int:
    import orjson

    rows = diff(arguments.before, arguments.after)
    if arguments.format == "json":
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return 0
    width = max(len(row["source"]) for row in rows)
    print(f"{'source':<{width}}" + "".join(f"{name:>12}" for name in rows[0] if name != "source"))
    for row in rows:
        print(f"{row['source']:<{width}}" + "".join(f"{n:>12,}" for name, n in row.items() if name != "source"))
    return 0


command = Command(
    "what one blend added, removed and changed against another",
    _configure,
    _diff,
    "gristmill diff blends/first blends/second",
)
