"""How fast grammar mode makes SQLite records, each proved in all respects, before any model is called.

    python benchmarks/text_to_sql_grammar.py [--records 500] [--rounds 3]

Printed per round and as medians: records per second of CPU of one process, and the ratio to the floor. The floor loads
the same contexts into SQLite and runs the same queries once, by sqlite3 alone: it proves nothing.
"""

import argparse
import asyncio
import sqlite3
import statistics
import time
from itertools import islice
from random import Random
from typing import Any, cast

from generators.text_to_sql import Params, TextToSQL
from generators.text_to_sql.by_grammar import by_grammar
from generators.text_to_sql.cells import Cell
from gristmill import Context, Record
from gristmill.prompts import PromptFolder

WARM_UP = 100
"""Tasks before the clock starts: catalogs and vocabularies are built once per run."""


class Desk:
    """What by_grammar needs of a context as long as it asks no model."""

    def __init__(self, prompts: PromptFolder, rng: Random) -> None:
        self.prompts, self.rng = prompts, rng

    def prompt(self, name: str, **variables: Any) -> str:
        return self.prompts[name].render(variables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    generator = TextToSQL(Params(dialects=["sqlite"], paraphrase=False))
    cells = cast(list[Cell], list(islice(generator.tasks(), WARM_UP + arguments.records * arguments.rounds)))
    asyncio.run(made(generator, cells[:WARM_UP]))
    speeds, ratios = [], []
    for round_ in range(arguments.rounds):
        start = WARM_UP + round_ * arguments.records
        begun = time.process_time()
        records = asyncio.run(made(generator, cells[start : start + arguments.records]))
        spent = time.process_time() - begun
        speeds.append(len(records) / spent)
        ratios.append(spent / floor(records))
        print(f"round {round_ + 1}: {speeds[-1]:.0f} records/s, {ratios[-1]:.1f} times the floor")
    print(
        f"median: {statistics.median(speeds):.0f} records per second and core, {statistics.median(ratios):.1f} floors"
    )


async def made(generator: TextToSQL, cells: list[Cell]) -> list[Record]:
    prompts = PromptFolder(generator.folder() / "prompts")
    return [
        await by_grammar(cell, generator.databases, generator.params, cast(Context, Desk(prompts, Random(cell.index))))
        for cell in cells
    ]


def floor(records: list[Record]) -> float:
    """Seconds of CPU to load the contexts of the records and run their queries."""
    begun = time.process_time()
    for record in records:
        proof = cast(dict[str, str], record.metadata["sql"])
        connection = sqlite3.connect(":memory:")
        connection.executescript(proof["context"])
        connection.execute(proof["query"]).fetchall()
        connection.close()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
