"""Does the data teach? A small model is asked for SQL before and after 2,000 of our records, and a control beside it.

    python recipes/sft/proof.py          # one GPU: 2,000 records of all tiers, 200 questions
    python recipes/sft/proof.py --cpu    # one CPU core, under half an hour: short basic records, 40 questions

Records come from the grammar mode of text_to_sql, free of charge. Those about three of its databases are the exam: no
stage sees their schemas, and every answer is executed. The control arm trains on the same records with the answers
dealt out anew, so it learns how an answer looks but not what it has to do with its question. What it loses against the
other arm is what the data taught.
"""

import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from gristmill.commands.judge import records_in
from schemas import Record
from schemas.arrow import records_to_table

OUT = Path("out/proof")
RUN = Path("runs/proof-text-to-sql")
ABSENT = frozenset({"hospital", "retail_bank", "university"})
GENERATED = 4000
ARMS = ("matched", "shuffled")


class Size(NamedTuple):
    """What a variant trains and asks; `overrides` are of recipes/sft/proof.yaml."""

    tiers: frozenset[str]
    characters: int  # of a record at most, its answer included
    records: int
    questions: int
    overrides: Sequence[str] = ()


GPU = Size(frozenset({"basic", "intermediate", "advanced"}), 100_000, 2000, 200)
CPU = Size(frozenset({"basic"}), 900, 260, 40, ["stages.sql.global_batch=1", "stages.sql.epochs=1"])


def main() -> int:
    """Exit status of the first command that fails, else 0."""
    parser = ArgumentParser(description="SmolLM2-135M on text_to_sql records, against shuffled ones.")
    parser.add_argument("--cpu", action="store_true", help="the reduced variant")
    size = CPU if parser.parse_args().cpu else GPU
    rules_alone = ["params.paraphrase=false", f"samples={GENERATED}"]
    made = ["generate", "recipes/generate/demo-text-to-sql.yaml", *rules_alone, "--run", str(RUN)]
    if status := gristmill(*made):
        return status
    records = [one for one in records_in(sorted((RUN / "records").glob("*.parquet"))) if isinstance(one, Record)]
    write_data(records, size, OUT / "data")
    for arm in ARMS:
        of_arm = [f"out={OUT / arm}", f"data.blend={OUT / 'data' / arm}", *size.overrides]
        if status := gristmill("sft", "recipes/sft/proof.yaml", *of_arm):
            return status
    return gristmill("evaluate", "recipes/sft/proof_evaluate.yaml")


def gristmill(*arguments: str) -> int:
    print(f"$ gristmill {' '.join(arguments)}", flush=True)
    return subprocess.run([sys.executable, "-m", "gristmill.cli", *arguments], check=False).returncode


def write_data(records: Sequence[Record], size: Size, folder: Path) -> None:
    """ARM/train and ARM/valid for both arms, and exam.parquet, of `records` in their order.

    The valid split of both arms is the exam itself, with its own answers: a loss on it is comparable between them.
    """
    fitting = [record for record in records if record.category in size.tiers and characters(record) <= size.characters]
    train = [record for record in fitting if database(record) not in ABSENT][: size.records]
    exam = [any_query(record) for record in fitting if database(record) in ABSENT][: size.questions]
    if len(train) < size.records or len(exam) < size.questions:
        raise SystemExit(f"only {len(train)} records and {len(exam)} questions: raise GENERATED.")
    write(folder / "exam.parquet", exam)
    for arm, taught in zip(ARMS, (train, shuffled(train)), strict=True):
        write(folder / arm / "train/records.parquet", taught)
        write(folder / arm / "valid/records.parquet", exam)


def shuffled(records: Sequence[Record]) -> list[Record]:
    """Each question with the answer of another one."""
    order = np.random.default_rng(0).permutation(len(records))
    answer_of = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))  # one cycle: none keeps its own
    return [
        Record(
            messages=[*record.messages[:-1], records[answer_of[number]].messages[-1]],
            category=record.category,
            reasoning=record.reasoning,
            license=record.license,
        )
        for number, record in enumerate(records)
    ]


def any_query(record: Record) -> Record:
    """Without the concept that the record was made for: whatever query gives the rows is right."""
    return record.model_copy(update={"metadata": {key: record.metadata[key] for key in ("mode", "sql")}})


def characters(record: Record) -> int:
    return sum(len(message.content) for message in record.messages)


def database(record: Record) -> str:
    cell = record.metadata["cell"]
    assert isinstance(cell, dict)
    return str(cell["database"])


def write(path: Path, records: Iterable[Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(records_to_table(records), path)


if __name__ == "__main__":
    sys.exit(main())
