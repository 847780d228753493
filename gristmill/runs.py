"""A run's folder: where its files lie, who may write to it, and how it is brought up to date."""

import errno
import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gristmill.config import read_yaml, validate
from gristmill.errors import ConfigError, GristmillError
from gristmill.folders import is_anothers
from gristmill.ledger import Ledger
from gristmill.terminal import warn
from schemas.run_config import RunConfig

if TYPE_CHECKING:
    from gristmill.plan import Plan


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
        return validate(self._kept("config"), RunConfig, str(self.config))

    def read_fingerprint(self) -> str:
        return str(self._kept("fingerprint"))

    def _kept(self, key: str) -> Any:
        kept = read_yaml(self.config, [])
        if key not in kept:
            raise ConfigError(f"{self.config} is not as a run leaves it; repeat its command, which writes it anew.")
        return kept[key]

    def write_config(self, plan: "Plan") -> None:
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
        """For the one process that may write; GristmillError where another one does, or where something else lies."""
        if is_anothers(self.path, self.ledger.name, ".lock"):  # our files would replace theirs
            raise ConfigError(f"{self.path} holds something else and no run; choose another folder or remove it.")
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
        if Path.cwd().is_relative_to(self.path.resolve()):
            raise ConfigError(f"--fresh would move {self.path}, where this command runs; start it from outside.")
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        with self.lock():
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

    While another process works on the run, where we may only read, and where the ledger is damaged, its last export is
    what there is. ConfigError where `path` is no run.
    """
    folder = RunFolder(path)
    if not folder.is_run():
        raise ConfigError(f"{path} is no run: it has no ledger.sqlite and config.yaml.")
    from gristmill.export import export_run
    from gristmill.salvage import is_damaged, mend_ledger

    try:
        with folder.lock():
            if not anew and _is_exported(folder):
                return folder
            if not folder.summary.is_file():
                if sentence := mend_ledger(folder.ledger):
                    warn(sentence)
            elif is_damaged(folder.ledger):
                warn(
                    f"{folder.ledger} is damaged, so this is what was exported last. Repeat the run's `gristmill "
                    "generate`: it saves what can be read."
                )
                return folder
            with closing(Ledger(folder.ledger)) as ledger:
                export_run(folder, ledger, folder.read_config(), folder.read_fingerprint())
    except GristmillError:
        if not folder.summary.is_file():
            raise
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS) or not folder.summary.is_file():
            raise
    return folder


def _is_exported(folder: RunFolder) -> bool:
    """Whether nothing was added since the last export, or removed. Looking through the whole ledger would take far
    longer."""
    exported = (folder.summary, folder.records, folder.rejects, folder.calls)
    if folder.ledger.stat().st_size == 0 or not all(path.exists() for path in exported):
        return False
    try:
        with closing(Ledger(folder.ledger)) as ledger:
            return ledger["exported"] == ledger.version()
    except (GristmillError, sqlite3.DatabaseError):
        return False
