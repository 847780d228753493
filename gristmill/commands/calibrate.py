"""`gristmill calibrate CONFIG --out FILE`: at which similarity an embedder's neighbours are copies.

models: {embedder: {endpoint: "http://127.0.0.1:8000/v1", model: my-embedder}}
against: [humaneval.jsonl, mbpp.jsonl]
clean: ours.jsonl                       # conversations that copy nothing; else each benchmark is clean for the others
"""

import asyncio
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.commands import Command, add_config
from gristmill.terminal import tell

if TYPE_CHECKING:
    from schemas.decontamination import CalibrateConfig, Calibration


def _configure(parser: ArgumentParser) -> None:
    add_config(parser, "a YAML file with models.embedder, against and, if there is one, clean")
    parser.add_argument("--out", type=Path, default=Path("calibration.yaml"), metavar="FILE", help="the calibration")


def _calibrate(arguments: Namespace) -> int:
    import yaml

    from gristmill.config import load_config
    from schemas.decontamination import CalibrateConfig

    made = asyncio.run(_measure(load_config(arguments.config, arguments.overrides, CalibrateConfig)))
    arguments.out.write_text(yaml.safe_dump(made.model_dump(), sort_keys=False), encoding="utf-8")
    found = ", ".join(f"{way} {share:.1%}" for way, share in made.found.items())
    tell(
        f"threshold {made.threshold:.3f} for {made.model}: flags {made.flagged:.2%} of {made.clean:,} clean texts\n"
        f"found     {found} of {made.planted:,} planted copies\n"
        f"written   {arguments.out}; use it by `similarity: {arguments.out}`",
        10,
    )
    return 0


async def _measure(config: "CalibrateConfig") -> "Calibration":
    from gristmill.decontamination.benchmarks import read_benchmark
    from gristmill.decontamination.calibration import calibrate
    from gristmill.embedding import ROLE, Embedder
    from gristmill.errors import ConfigError

    if ROLE not in config.models:
        raise ConfigError(f"models.{ROLE} is missing: the model to calibrate.")
    benchmarks = [read_benchmark(location) for location in config.against]
    clean = _passages(config.clean) if config.clean else None
    async with Embedder(config.models[ROLE]) as embedder:
        return await calibrate(benchmarks, clean, embedder.model, embedder.embed, config.seed)


def _passages(location: str) -> list[str]:
    from gristmill.decontamination.similarity import record_passages
    from gristmill.errors import ConfigError
    from gristmill.seeds import BadSeed, read_rows
    from schemas.arrow import foreign_row_to_record

    passages = []
    for where, row in read_rows(location):
        if isinstance(row, BadSeed):
            raise ConfigError(f"clean: {location}, {where}: {row.detail}.")
        try:
            record = foreign_row_to_record(row)
        except ValueError as error:
            raise ConfigError(f"clean: {location}, {where} is no conversation: {error}.") from None
        passages += record_passages([message.to_openai() for message in record.messages])
    return passages


command = Command(
    "measure at which similarity an embedder finds copies",
    _configure,
    _calibrate,
    "gristmill calibrate calibrate.yaml --out calibration.yaml",
)
