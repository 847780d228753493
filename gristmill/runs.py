"""A run's folder: where its files lie, who may write to it, and how it is brought up to date."""

import errno
import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import yaml

from gristmill.errors import ConfigError, GristmillError
from gristmill.ledger import Ledger
from gristmill.plan import Plan
from gristmill.terminal import warn
from schemas.run_config import RunConfig


class RunFolder:
    """The paths of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.ledger = path / "ledger.sqlite"
        self.records = path / "records"
        self.rejects = path / "rejects"
        self.surplus = path / "surplus"
        self.artifacts = path / "artifacts"
        self.calls = path / "calls.parquet"
        self.log = path / "log.jsonl"
        self.reviews = path / "reviews.parquet"
        self.summary = path / "summary.json"
        self.card = path / "README.md"
        self.report = path / "report.html"

    def is_run(self) -> bool:
        return self.ledger.is_file() and self.config.is_file()

    def read_config(self) -> RunConfig:
        """The config as it was resolved when the run was last started."""
        kept = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        return RunConfig.model_validate(kept["config"])

    def read_fingerprint(self) -> str:
        return str(yaml.safe_load(self.config.read_text(encoding="utf-8"))["fingerprint"])

    def write_config(self, plan: Plan) -> None:
        """The resolved config with the hashes of prompts and code; keys are in it by variable name only."""
        prompts = {
            path.stem: plan.generator.prompts[path.stem].digest
            for path in sorted((plan.generator.folder() / "prompts").glob("*.jinja"))
        }
        kept = {
            "config": plan.config.model_dump(mode="json", exclude_defaults=True),
            "fingerprint": plan.fingerprint,
            "code": plan.code,
            "prompts": prompts,
        }
        write_atomically(self.config, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """For the one process that may write; GristmillError where another one does."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                raise GristmillError(f"{self.path} is in use by another process; wait for it or stop it.") from None
            yield

    def move_aside(self) -> Path | None:
        """For --fresh: the folder becomes DIR.1 (or the next free number); its new place, None where there was none."""
        if not self.path.exists():
            return None
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        self.path.rename(aside)
        return aside


def write_atomically(path: Path, text: str) -> None:
    """The whole text or the old file, whatever happens in between."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def refresh(path: Path, *, anew: bool = False) -> RunFolder:
    """Brings records/, rejects/ and the summary up to date with the ledger, as after a crash; `anew` even where nothing
    was added.

    While another process works on the run its last export is what there is. ConfigError where `path` is no run.
    """
    folder = RunFolder(path)
    if not folder.is_run():
        raise ConfigError(f"{path} is no run: it has no ledger.sqlite and config.yaml.")
    from gristmill.export import export_run
    from gristmill.salvage import mend_ledger

    try:
        with folder.lock():
            if not anew and _is_exported(folder):
                return folder
            if sentence := mend_ledger(folder.ledger):
                warn(sentence)
            with closing(Ledger(folder.ledger)) as ledger:
                export_run(folder, ledger, folder.read_config(), folder.read_fingerprint())
    except GristmillError:
        if not folder.summary.is_file():
            raise
    return folder


def _is_exported(folder: RunFolder) -> bool:
    """Whether nothing was added since the last export. Looking through the whole ledger would take far longer."""
    try:
        with closing(Ledger(folder.ledger)) as ledger:
            return folder.summary.is_file() and ledger["exported"] == ledger.version()
    except (GristmillError, sqlite3.DatabaseError):
        return False
