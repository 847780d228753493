"""The parts one after another, each only where it isn't done.

A part is done under a key: a hash of all that it comes from (for a run its fingerprint and how much it should make, for
the blend its config, its inputs and its code). OUT/done.json has the keys; it is written when a part has ended, so that
what stopped in the middle is gone on with by the part's own means.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path
from typing import TypeVar

import orjson

from gristmill.commands import run_command
from gristmill.commands.generate import result_table, run_plan
from gristmill.errors import TooFewRecords
from gristmill.factory.mix import MixAccount, account
from gristmill.factory.parts import Factory, Job
from gristmill.plan import sources_digest
from gristmill.runs import RunFolder, refresh, write_atomically
from schemas import content_hash
from schemas.blend_config import BlendConfig
from schemas.run_config import Budget, RunConfig

Limit = TypeVar("Limit", int, float)

BLEND = "blend"
_DATA = (".parquet", ".arrow", ".jsonl", ".json")


class Journal:
    """OUT/done.json: the key under which each part is done."""

    def __init__(self, out: Path) -> None:
        self._path = out / "done.json"
        self._keys: dict[str, str] = orjson.loads(self._path.read_bytes()) if self._path.is_file() else {}

    def has(self, name: str, key: str) -> bool:
        return self._keys.get(name) == key

    def add(self, name: str, key: str) -> None:
        self._keys[name] = key
        write_atomically(self._path, orjson.dumps(self._keys, option=orjson.OPT_INDENT_2).decode() + "\n")


def run_key(fingerprint: str, config: RunConfig) -> str:
    return content_hash([fingerprint, config.samples, config.max_tasks, config.tasks, config.quota.by])


def is_done(journal: Journal, job: Job) -> bool:
    """Whether the run has ended, and nothing else was done in its folder since."""
    key, folder = run_key(job.plan.fingerprint, job.plan.config), job.folder
    if not journal.has(job.part.name, key) or not folder.is_run() or not folder.summary.is_file():
        return False
    return run_key(folder.read_fingerprint(), folder.read_config()) == key


def generate(factory: Factory, job: Job, *, quiet: bool) -> str:
    """Runs a job, or goes on with it; what is to be told of it. Too few records are told, too: the blend decides.

    Raises what else stops a run.
    """
    try:
        summary = run_plan(replace(job.plan, config=affordable(factory, job)), job.folder, quiet=quiet)
    except TooFewRecords as error:
        return f"{error}"
    return result_table(summary, job.folder.path)


def affordable(factory: Factory, job: Job) -> RunConfig:
    """The run's config with its own budget, and at most what the other runs have left of the factory's."""
    spent = [_spent(other.folder) for other in factory.jobs if other.part.name != job.part.name]
    whole, own = factory.config.budget, job.plan.config.budget
    usd = None if whole.usd is None else max(0.0, whole.usd - sum(usd for usd, _ in spent))
    tokens = None if whole.tokens is None else max(1, whole.tokens - sum(tokens for _, tokens in spent))
    budget = Budget(usd=_smaller(own.usd, usd), tokens=_smaller(own.tokens, tokens))
    return job.plan.config.model_copy(update={"budget": budget})


def _smaller(one: Limit | None, other: Limit | None) -> Limit | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _spent(folder: RunFolder) -> tuple[float, int]:
    if not folder.is_run():
        return 0.0, 0
    summary = orjson.loads(refresh(folder.path).summary.read_bytes())
    return summary["usd"], summary["tokens"]["input"] + summary["tokens"]["output"]


def missing_sources(factory: Factory) -> dict[str, str]:
    """The sources that were made here and gave nothing, each with the reason. TooFewRecords where one of them is not
    `optional`, or nothing is left."""
    missing = {}
    for job in factory.jobs:
        summary = orjson.loads(job.folder.summary.read_bytes())
        if summary["records"]:
            continue
        reasons = ", ".join(f"{reason} {count}" for reason, count in summary["by_reason"].items())
        missing[job.part.name] = f"no record of {summary['tasks']:,} tasks ({reasons or 'none was tried'})"
        if not job.part.optional:
            raise TooFewRecords(
                f"source {job.part.name}: {missing[job.part.name]}. See {job.folder.rejects}. `optional: true` makes "
                "the blend without it: its part stays missing."
            )
    if len(missing) == sum(not part.is_missing for part in factory.config.sources):
        raise TooFewRecords("no source gave a record, so there is nothing to blend. See the runs' rejects.")
    return missing


def blend_key(config: BlendConfig) -> str:
    code = sources_digest(("blends", "gristmill", "schemas"))
    return content_hash([config.model_dump(mode="json", exclude={"executor"}), _inputs(config), code])


def is_blended(journal: Journal, config: BlendConfig) -> bool:
    return journal.has(BLEND, blend_key(config)) and (config.out / "manifest.json").is_file()


def blend(factory: Factory) -> None:
    run_command("blend", factory.config_of(BLEND))


def _inputs(config: BlendConfig) -> list[list[str]]:
    """Path and digest of every file that the sources are read from; of a hub dataset its pinned name."""
    found = []
    for source in config.sources:
        path = Path(source.path)
        run = RunFolder(path)
        if run.is_run():
            files = [*sorted(run.records.glob("*.parquet")), *([run.reviews] if run.reviews.is_file() else [])]
        elif path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix in _DATA)
        else:
            files = [path] if path.is_file() else []
        found += [[str(file), _sha256(file)] for file in files] or [[source.path, ""]]
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()


def mix_of(factory: Factory, missing: dict[str, str], blend: Path) -> MixAccount:
    """The account of the mix in the blend's folder; it goes into OUT/summary.json."""
    mix = account(factory.config, missing, orjson.loads((blend / "manifest.json").read_bytes()))
    write_atomically(factory.out / "summary.json", mix.model_dump_json(indent=2) + "\n")
    return mix


def train(factory: Factory, nproc: int) -> int:
    """Trains, or goes on with it; a training that is done says its results again. The exit status."""
    sys.stdout.flush()  # other processes may write next
    return run_command("sft", factory.config_of("training"), "--nproc", str(nproc))


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends what runs within as Ctrl-C does, and so with the command's sentence and exit status."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
