"""A run's plan: its config made into objects, and the fingerprint of everything that its results depend on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import file_digest, sha256
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from gristmill import registry
from gristmill.api import Generator
from gristmill.bench import make_judges
from gristmill.config import require_file, validate
from gristmill.errors import ConfigError
from gristmill.judging import NamedJudge
from gristmill.llm import Roles
from schemas.run_config import RunConfig, seeds_file

_SOURCES = (".py", ".jinja", ".yaml", ".npz", ".yml", ".json", ".jsonl", ".sql")
_WITHOUT_EFFECT = {"samples", "max_tasks", "tasks", "budget", "ledger", "executor", "max_failed", "patience"}
_MODEL_WITHOUT_EFFECT = {"endpoint", "api_key_env", "max_in_flight", "timeout", "idle_timeout", "stream"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What `gristmill generate` is about to do. Outcomes count only under the `fingerprint` they were made with; `code`
    is the digest of the code that takes part.
    """

    config: RunConfig
    generator: Generator[Any, Any]
    judges: list[NamedJudge]
    roles: Roles
    fingerprint: str
    code: str = ""


def make_plan(config: RunConfig) -> Plan:
    """ConfigError for an unknown generator or judge, wrong parameters, missing seeds or an unset key."""
    generator = make_generator(config)
    roles = Roles(config.models)
    judges = make_judges(config, roles)
    if generator.endless and config.samples is None and config.tasks is None and config.max_tasks is None:
        raise ConfigError(f"the tasks of {config.generator} never end: say `samples: N` or `tasks: N`.")
    path = seeds_file(config.seeds)
    inputs = [*([path] if path else []), *generator.files(), *(file for named in judges for file in named.files())]
    code = code_digest(generator, judges)
    return Plan(config, generator, judges, roles, fingerprint(config, inputs, code), code)


def make_generator(config: RunConfig) -> Generator[Any, Any]:
    kind: type[Generator[Any, Any]] = registry.load("generators", config.generator)
    params = validate(config.params, kind.params_type, "params")
    path = seeds_file(config.seeds)
    if path is not None:
        require_file(path, "seeds")
    return kind(params, seed=config.seed, seeds=config.seeds)


def fingerprint(config: RunConfig, inputs: list[Path], code: str) -> str:
    """A hash over the config (without what can't change a result), the files that the tasks come from, and the code's
    digest."""
    relevant = config.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
    relevant["models"] = {
        role: model.model_dump(mode="json", exclude=_MODEL_WITHOUT_EFFECT) for role, model in config.models.items()
    }
    digests = []
    for path in inputs:
        with path.open("rb") as content:
            digests.append(file_digest(content, "sha256").hexdigest())
    return sha256(orjson.dumps([relevant, digests, code])).hexdigest()[:32]  # as in a request, the order counts


def code_digest(generator: Generator[Any, Any], judges: list[NamedJudge]) -> str:
    """A hash over the sources of the generator, the judges (which generators use too) and the runtime."""
    folders = {generator.folder(), *(judge.folder() for named in judges for judge in named.all_judges())}
    return sources_digest(("gristmill", "judges", "schemas"), folders)


def sources_digest(packages: Iterable[str], others: Iterable[Path] = ()) -> str:
    """A hash over the sources of packages and of other folders."""
    folders = {Path(str(import_module(package).__file__)).parent for package in packages} | set(others)
    digest = sha256(version("gristmill").encode())
    for folder in sorted(folders, key=lambda folder: (folder.name, folder)):  # wherever it is installed
        for path in sorted(_sources(folder)):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _sources(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in _SOURCES)
