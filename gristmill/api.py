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
from schemas import Config, Record, Seed, Verdict

SeedT = TypeVar("SeedT", bound=Seed)
ParamsT = TypeVar("ParamsT", bound=Config)


class NoParams(Config):
    """For a plugin that takes no parameters."""


def _type_arguments(cls: type, base: type) -> tuple[Any, ...]:
    """The types with which `cls` fills in the type parameters of `base`."""
    for parent in getattr(cls, "__orig_bases__", ()):
        if get_origin(parent) is base:
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
    `endless` generators need `samples` or `tasks` in the config.
    """

    version: ClassVar[str] = "1"
    endless: ClassVar[bool] = False
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

    def files(self) -> list[Path]:
        """The user's files, besides the seeds, that results depend on: when one changes, every task runs again."""
        return []

    async def prepare(self, ctx: Context) -> None:
        """Once per run, before the first task: model-made material goes to `ctx.artifacts`."""

    @abstractmethod
    def tasks(self) -> Iterator[SeedT | BadSeed]:
        """The seeds in task order."""

    @abstractmethod
    async def run(self, seed: SeedT, ctx: Context) -> Record | list[Record]:
        """The records of one task; Reject(stage, reason) where there are none."""


class Judge(_Plugin, ABC, Generic[ParamsT]):
    """Looks at one record and gives a verdict. `gate` False (shadow) means that the verdict is recorded, not obeyed."""

    params_type: ClassVar[type[Config]]

    def __init_subclass__(cls) -> None:
        arguments = _type_arguments(cls, Judge)
        if len(arguments) == 1:
            cls.params_type = arguments[0]

    def __init__(self, params: ParamsT, *, gate: bool = True) -> None:
        self.params = params
        self.gate = gate

    def roles(self) -> list[str]:
        """The model roles that this judge asks."""
        return []

    @abstractmethod
    async def judge(self, record: Record, ctx: Context) -> Verdict:
        """The verdict; `passed` None where the judge can't decide."""
