"""The plugin API: what a generator and a judge are."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from gristmill.context import Context
from gristmill.prompts import PromptFolder
from gristmill.seeds import BadSeed
from schemas import Config, JsonObject, Record, Seed, Verdict

SeedT = TypeVar("SeedT", bound=Seed)
ParamsT = TypeVar("ParamsT", bound=Config)


class NoParams(Config):
    """For a plugin that takes no parameters."""


def _type_arguments(cls: type, base: type) -> tuple[Any, ...]:
    """The types with which `cls` fills in the type parameters of `base`, or of a class between the two."""
    for parent in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(parent)
        if isinstance(origin, type) and issubclass(origin, base):
            return tuple(argument for argument in get_args(parent) if isinstance(argument, type))
    return ()


class _Plugin:
    """What generators and judges share: a name and a folder with `prompts/` and data files beside the module."""

    name: ClassVar[str]

    @classmethod
    def folder(cls) -> Path:
        return Path(inspect.getfile(cls)).resolve().parent

    @cached_property
    def prompts(self) -> PromptFolder:
        return PromptFolder(self.folder() / "prompts")


class Generator(_Plugin, ABC, Generic[SeedT, ParamsT]):
    """A pipeline: enumerates tasks and turns each into records.

    `class Haiku(Generator[Topic, NoParams])` says what a task starts from and which parameters the config may hold.
    `tasks` is lazy and a pure function of config, seed and artifacts; `run` reaches the world only through `ctx`.
    `endless` generators need `samples` or `tasks` in the config; those that don't read `seeds` are given none.
    """

    version: ClassVar[str] = "1"
    endless: ClassVar[bool] = False
    reads_seeds: ClassVar[bool] = True
    seed_type: ClassVar[type[Seed]]
    params_type: ClassVar[type[Config]]

    def __init_subclass__(cls) -> None:
        arguments = _type_arguments(cls, Generator)
        if len(arguments) == 2:
            cls.seed_type, cls.params_type = arguments

    def __init__(self, params: ParamsT, *, seed: int = 0, seeds: str | None = None) -> None:
        self.params = params
        self.seed = seed
        self.seeds = seeds

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process it goes as its class and what it was made from; it is made anew there."""
        return _remade, (type(self), self.params, self.seed, self.seeds)

    def files(self) -> list[Path]:
        """The user's files, besides the seeds, that results depend on: when one changes, every task runs again."""
        return []

    def coverage_axes(self) -> dict[str, list[Any]]:
        """For each axis of the records' `metadata.cell` all that it can be, for the table of coverage; {} for none."""
        return {}

    async def prepare(self, ctx: Context) -> None:
        """Once per run, before the first task: model-made material goes to `ctx.artifacts`."""

    @abstractmethod
    def tasks(self) -> Iterator[SeedT | BadSeed]:
        """The seeds in task order."""

    @abstractmethod
    async def run(self, seed: SeedT, ctx: Context) -> Record | list[Record]:
        """The records of one task; Reject(stage, reason) where there are none."""


def _remade(kind: type[Generator[Any, Any]], params: Config, seed: int, seeds: str | None) -> Generator[Any, Any]:
    return kind(params, seed=seed, seeds=seeds)


class _Reviewer(_Plugin, ABC, Generic[ParamsT]):
    """What both kinds of judges share: checked parameters."""

    params_type: ClassVar[type[Config]]

    def __init_subclass__(cls) -> None:
        arguments = _type_arguments(cls, _Reviewer)
        if len(arguments) == 1:
            cls.params_type = arguments[0]

    def __init__(self, params: ParamsT) -> None:
        """ConfigError where the parameters name what isn't there, such as a rubric."""
        self.params = params

    def __reduce__(self) -> tuple[Any, ...]:
        """As for a generator."""
        return type(self), (self.params,)

    def roles(self) -> list[str]:
        """The model roles that this judge asks."""
        return []

    def embedders(self) -> list[str]:
        """The roles that this judge embeds with; they say nothing, so they are no matter of trust."""
        return []

    def files(self) -> list[Path]:
        """The user's files that verdicts depend on, such as a rubric: when one changes, every task runs again."""
        return []


class Judge(_Reviewer[ParamsT]):
    """Looks at one record and gives a verdict. What is made once (schemas, patterns) is made in `__init__`."""

    async def prepare(self, ctx: Context) -> None:
        """Once per run, before the first task: what takes calls to make."""

    @abstractmethod
    async def judge(self, record: Record, ctx: Context) -> Verdict:
        """The verdict; `passed` None where the judge can't decide. It sees traces only where it reads them itself."""


class RunJudge(_Reviewer[ParamsT]):
    """Looks at all candidates of a run in task order, twice; it asks no model and keeps only what it needs to compare.

    First `observe` is called with every candidate, then `verdict` with every candidate that the run's judges before
    this one kept. An object judges one run.
    """

    def observe(self, record: Record) -> None:
        """Takes note of a candidate."""

    def observe_loss(self, payload: JsonObject) -> None:
        """Takes note of what was lost before it became a candidate: a reject's payload, with the task's `seed` or with
        the `metadata` of the record."""

    @abstractmethod
    def verdict(self, record: Record) -> Verdict:
        """The verdict on a candidate, when all have been observed. It may add to the record's metadata what only the
        whole run shows."""

    def figures(self) -> JsonObject:
        """What it found over all, after the verdicts: for the summary and the report; {} for nothing."""
        return {}
