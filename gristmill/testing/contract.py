"""What every generator keeps, checked in one line: `check_generator("my_generator", config, tmp_path)`."""

from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gristmill.plan import make_generator
from gristmill.seeds import BadSeed
from gristmill.testing.scripted import ScriptedModel, run_scripted
from schemas import content_hash
from schemas.arrow import row_to_record
from schemas.run_config import RunConfig

TASKS = 50


def check_generator(config: dict[str, Any], folder: Path, model: ScriptedModel | None = None) -> dict[str, Any]:
    """Runs the config twice in `folder`, and asserts the contract; the summary of the first run.

    Tasks are deterministic and distinct and survive JSON; every task ends in one status; every record reads back from
    parquet as it was; a second run gives the same records.
    """
    run_config = RunConfig.model_validate(config)
    first, second = (list(islice(make_generator(run_config).tasks(), TASKS)) for _ in range(2))
    assert first == second, "the tasks are not a pure function of config and seed"
    seeds = [seed for seed in first if not isinstance(seed, BadSeed)]
    assert len({content_hash(seed.model_dump(mode="json")) for seed in seeds}) == len(seeds), "two tasks are the same"
    for seed in seeds:
        assert type(seed).model_validate_json(seed.model_dump_json()) == seed, "a seed changes on its way through JSON"

    summary = run_scripted(config, folder / "one", model)
    again = run_scripted(config, folder / "two", model)
    assert summary["accepted"] + summary["rejected"] + summary["failed"] == summary["tasks"]
    assert summary["by_reason"] == again["by_reason"]
    tables = [pq.read_table(folder / name / "records") for name in ("one", "two")]
    assert tables[0].equals(tables[1]), "two runs of one config differ"
    for row in tables[0].to_pylist():
        record = row_to_record(row)
        assert record.uuid and record.generator == run_config.generator and record.task_id
    return summary
