"""`gristmill judge` judges records again, without generating them again.

It is a run whose tasks are records: so it resumes, keeps a budget, and writes the same folder. What passes all gates is
in DIR/records, the rest in DIR/rejects; the records keep their uuid, their generator and their provenance.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.api import Generator, NoParams
from gristmill.commands import Command, add_config
from gristmill.context import Context
from gristmill.seeds import BadSeed
from gristmill.terminal import tell
from schemas import Record, Seed

if TYPE_CHECKING:
    from gristmill.plan import Plan

_OF_GENERATION = (
    "generator",
    "seeds",
    "params",
    "samples",
    "max_tasks",
    "tasks",
    "quota",
)  # keys that say nothing of judging


class Judged(Seed):
    record: Record


class Recorded(Generator[Judged, NoParams]):
    """Gives records that exist already, one per task."""

    name = "judge"

    def tasks(self) -> Iterator[Judged | BadSeed]:
        for found in records_in(record_files(Path(self.seeds or ""))):
            yield found if isinstance(found, BadSeed) else Judged(record=found)

    async def run(self, seed: Judged, ctx: Context) -> Record:
        return seed.record.model_copy()  # judges replace verdicts and metadata; they change nothing inside


def records_in(files: Iterable[Path]) -> Iterator[Record | BadSeed]:
    """The records of files, of anybody's making; a BadSeed for each row that is none."""
    from gristmill.config import first_fault
    from gristmill.seeds import read_rows
    from schemas.arrow import foreign_row_to_record

    for file in files:
        for where, row in read_rows(str(file)):
            if isinstance(row, BadSeed):
                yield row
                continue
            try:
                yield foreign_row_to_record(row)
            except ValueError as error:
                yield BadSeed(where, f"no record: {first_fault(error)}")


def record_files(path: Path) -> list[Path]:
    """The files of a run's records, or the one file that `path` is; ConfigError where it is neither."""
    from gristmill.errors import ConfigError
    from gristmill.runs import refresh

    if path.is_dir():
        return sorted(refresh(path).records.glob("*.parquet"))
    if not path.is_file():
        raise ConfigError(f"{path} is neither a run nor a file of records (.jsonl or .parquet).")
    return [path]


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, metavar="RUN|FILE", help="a run's folder, or a .jsonl or .parquet of records"
    )
    add_config(parser, "a YAML file with `judges` and `models`")
    parser.add_argument("--run", type=Path, metavar="DIR", required=True, help="where the verdicts go")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def judge_plan(content: dict[str, Any], source: Path, where: str) -> "Plan":
    """The plan of a run that judges the records of `source`; `content` is a config, of which generation is ignored."""
    from gristmill.bench import make_judges
    from gristmill.config import validate
    from gristmill.errors import ConfigError
    from gristmill.llm import Roles
    from gristmill.plan import Plan, code_digest, fingerprint
    from schemas.run_config import RunConfig

    kept = {key: value for key, value in content.items() if key not in _OF_GENERATION}
    config = validate({**kept, "generator": Recorded.name}, RunConfig, where)
    if not config.judges:
        raise ConfigError(
            f"{where}: the key judges is missing; name at least one, such as `judges: [{{name: rubric}}]`."
        )
    generator = Recorded(NoParams(), seed=config.seed, seeds=str(source))
    roles = Roles(config.models)
    judges = make_judges(config, roles, generating=False)
    code = code_digest(generator, judges)
    inputs = [*record_files(source), *(file for named in judges for file in named.files())]
    return Plan(config, generator, judges, roles, fingerprint(config, inputs, code), code)


def _judge(arguments: Namespace) -> int:
    from gristmill.commands.generate import result_table, run_plan
    from gristmill.config import read_yaml
    from gristmill.errors import ConfigError
    from gristmill.runs import RunFolder

    if arguments.run.resolve() == arguments.source.resolve():
        raise ConfigError(f"--run: {arguments.run} is what is judged; choose another folder for the verdicts.")
    content = read_yaml(arguments.config, arguments.overrides)
    folder = RunFolder(arguments.run)
    summary = run_plan(judge_plan(content, arguments.source, str(arguments.config)), folder, quiet=arguments.quiet)
    tell(result_table(summary, folder.path), 10)
    return 0


command = Command(
    "judge a finished run, or any file of records, again",
    _configure,
    _judge,
    "gristmill judge runs/my judges.yaml --run runs/my-judged",
)
