"""`gristmill explain DIR UUID`: every call, verdict and token behind one record of a run; where a blend put it."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from gristmill.commands import Command
from gristmill.terminal import printable, tell


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run's folder, or a blend's")
    parser.add_argument("uuid", help="the record's uuid, or as much of its beginning as is unique")


def _explain(arguments: Namespace) -> int:
    import orjson

    from gristmill.commands.show import conversation_text
    from gristmill.ledger import Ledger
    from gristmill.llm import Reply
    from gristmill.runs import refresh

    if (arguments.folder / "blend.duckdb").is_file():
        tell(placed_text(arguments.folder, arguments.uuid), 9)
        return 0
    folder = refresh(arguments.folder)
    row = find_record(folder.records, folder.surplus, arguments.uuid)
    print(f"record   {row['uuid']}\ntask     {row['task_id']} of {row['generator']} {row['version']}\n")
    print(conversation_text(row), end="\n\n")
    ledger = Ledger(folder.ledger)
    try:
        used = set(orjson.loads(row["provenance"])["calls"])
        for call in ledger.calls(row["task_id"]):
            unused = "" if call.key.hex() in used else "  (not used by this record: asked under another config)"
            tell(f"call     {call.key.hex()} {call.stage}, role {call.role}, scope {call.scope}{unused}", 9)
            if call.finish_reason:
                reply = Reply.from_json(call.reply)
                paid = "" if call.paid else ", paid for by another run"
                tell(
                    f"         {reply.model}: {call.input} tokens in, {call.output} out ({call.reasoning} reasoning), "
                    f"{call.usd:.6f} USD{paid}, {call.seconds:.2f} s, {reply.finish_reason}",
                    9,
                )
                said = reply.text or str(reply.message.tool_calls)
            else:  # an effect other than a model call
                said = call.reply.decode()
            tell("         " + printable(" ".join(said.split()))[:300], 9)
    finally:
        ledger.close()
    provenance = orjson.loads(row["provenance"])
    tokens = provenance["tokens"]
    print(f"\ntotal    {tokens['input']} tokens in, {tokens['output']} out, {provenance['usd']:.6f} USD")
    return 0


def placed_text(blend: Path, uuid: str) -> str:
    """What became of a row in a blend: in which splits it is, from which source, or why it was dropped."""
    from gristmill.errors import ConfigError
    from gristmill.views import connect

    with connect(blend) as connection:
        drawn = connection.sql(
            "SELECT uuid, source, split, count(*), any_value(tokens), any_value(supervised_tokens), "
            "any_value(reasoning) FROM samples WHERE starts_with(uuid, ?) GROUP BY ALL ORDER BY ALL",
            params=[uuid],
        ).fetchall()
        lost = connection.sql(
            "SELECT uuid, source, reason, detail FROM dropped WHERE starts_with(uuid, ?) ORDER BY ALL", params=[uuid]
        ).fetchall()
    if not drawn and not lost:
        raise ConfigError(
            f'{blend} has read no row {uuid}. Its rows: gristmill query {blend} "SELECT uuid FROM samples".'
        )
    if len({row[0] for row in (*drawn, *lost)}) > 1:
        raise ConfigError(f"several rows of {blend} begin with {uuid}; give more of the uuid.")
    lines = [f"row      {(drawn or lost)[0][0]}"]
    for _, source, split, copies, tokens, supervised, reasoning in drawn:
        size = f", {tokens:,} tokens, {supervised:,} of them supervised" if tokens is not None else ""
        times = f" {copies} times" if copies > 1 else ""
        lines.append(f"placed   in {split}{times}, from source {source}; reasoning {reasoning}{size}")
    lines += [
        f"dropped  from source {source}: {reason}{f' ({detail})' if detail else ''}"
        for _, source, reason, detail in lost
    ]
    return "\n".join(lines)


def find_record(records: Path, surplus: Path, uuid: str) -> dict[str, Any]:
    """The row whose uuid begins with `uuid`; ConfigError where there is none or more than one."""
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    from gristmill.errors import ConfigError

    files = [str(path) for folder in (records, surplus) for path in sorted(folder.glob("*.parquet"))]
    begins = pc.starts_with(ds.field("uuid"), uuid)
    rows: list[dict[str, Any]] = ds.dataset(files).to_table(filter=begins).to_pylist()
    folder = records.parent
    if not rows:
        raise ConfigError(
            f'{folder} has no record {uuid}. Its records: gristmill query {folder} "SELECT uuid FROM records".'
        )
    if len({row["uuid"] for row in rows}) > 1:
        raise ConfigError(f"{len(rows)} records of {folder} begin with {uuid}; give more of the uuid.")
    return rows[0]


command = Command(
    "every call, verdict and token behind one record; where a blend put it",
    _configure,
    _explain,
    "gristmill explain runs/my 3f9c0a12",
)
