"""`gristmill judge-bench CONFIG` asks judges about records whose right verdict is known, and says how good they are.

    labelled: [sql, mine.jsonl]     bundled sets by name (judges/bench/sets.py), files of one's own by path
    precision: 0.95                 wanted: the threshold that reaches it is suggested
    judges: [{name: rubric, rubric: text_to_sql/sql, role: gpt}]
    models: {gpt: {...}}

A labelled record is any that `gristmill judge` reads, with `label` as a column or in `metadata`: true, false, or
{right: bool, grade, category, reason, id, attack, of}. The bench is a run like any other, so it resumes and keeps a
budget; every judge is asked about every record, gates are shadows and panels don't stop early.
DIR/bench.json has all figures (judges/bench/figures.py explains them), DIR/bench.html shows them with curves.
"""

from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gristmill.commands import Command, add_config
from schemas import Config, Data, Record

_OUTCOMES = ("accepted", "rejected", "undecided")


class Label(Data):
    """What is known of a record; see `judges.bench.figures.Decision`. `reason` says why, for people."""

    right: bool
    grade: float | None = None
    category: str = ""
    reason: str = ""
    id: str = ""
    attack: str = ""
    of: str = ""


class BenchKeys(Config):
    """The keys of the config that `gristmill judge` doesn't have."""

    labelled: Annotated[list[str], Field(min_length=1)]
    precision: Annotated[float, Field(gt=0, le=1)] = 0.95


def _configure(parser: ArgumentParser) -> None:
    add_config(parser, "a YAML file with `labelled`, `judges` and `models`")
    parser.add_argument("--run", type=Path, metavar="DIR", help="the bench's folder (default: runs/<config stem>)")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _bench(arguments: Namespace) -> int:
    from gristmill.config import read_yaml, validate

    content = read_yaml(arguments.config, arguments.overrides)
    own = {key: content.pop(key) for key in BenchKeys.model_fields if key in content}
    keys = validate(own, BenchKeys, str(arguments.config))
    folder = arguments.run or Path("runs") / arguments.config.stem
    measured = bench(keys, content, folder, str(arguments.config), quiet=arguments.quiet)
    print(result_table(measured, keys.precision))
    print(f"report    {folder}/bench.html")
    return 0


def bench(keys: BenchKeys, content: dict[str, Any], folder: Path, where: str, **how: Any) -> dict[str, dict[str, Any]]:
    """{judge: its figures}, after a run in `folder`; `content` is the rest of the config, `how` goes to `run_plan`."""
    import orjson

    from gristmill.commands.generate import run_plan
    from gristmill.commands.judge import judge_plan
    from gristmill.runs import RunFolder, write_atomically
    from judges.bench.figures import figures

    run, source = RunFolder(folder), folder / "labelled.jsonl"
    with run.lock():
        write_atomically(source, "".join(_labelled_lines(keys.labelled)))
    judged = {**content, "judges": [_asked_always(judge) for judge in content.get("judges") or []]}
    run_plan(judge_plan(judged, source, where), run, **how)
    measured = {
        name: figures(decisions, precision=keys.precision) for name, decisions in _decisions(folder / "records").items()
    }
    write_atomically(folder / "bench.json", orjson.dumps(measured, option=orjson.OPT_INDENT_2).decode())
    _write_report(folder, measured, keys)
    return measured


def _asked_always(judge: Any) -> Any:
    """A judge of the config that is asked about every record and never stops one."""
    if not isinstance(judge, dict):
        return judge  # for the config's own check to complain about
    panel = {"early_exit": False} if judge.get("members") or judge.get("roles") else {}
    return {**judge, **panel, "mode": "shadow"}


def _labelled_lines(names: Sequence[str]) -> Iterator[str]:
    """The records of the sets, one JSON line each. ConfigError where a set isn't there or a row has no label."""
    import orjson

    from gristmill.config import first_fault
    from gristmill.errors import ConfigError
    from gristmill.seeds import BadSeed, read_rows
    from judges.bench.sets import bundled_rows, bundled_sets

    known = bundled_sets()
    for name in names:
        if name not in known and not Path(name).is_file():
            raise ConfigError(f"labelled: {name} is neither a file nor one of the bundled sets {', '.join(known)}.")
        rows = enumerate(bundled_rows(name)) if name in known else read_rows(name)
        for where, row in rows:
            if isinstance(row, BadSeed):
                raise ConfigError(f"{name}: {row.where}: {row.detail}")
            try:
                label = _label(row)
            except ValueError as error:
                fault = first_fault(error)
                raise ConfigError(f"{name}: {where}: no label (true, false or {{right: ...}}): {fault}.") from None
            yield orjson.dumps({**row, "label": label.model_dump()}, option=orjson.OPT_APPEND_NEWLINE).decode()


def _label(row: dict[str, Any]) -> Label:
    import orjson

    metadata = row.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = orjson.loads(metadata)
    found = row.get("label", metadata.get("label"))
    return Label.model_validate({"right": found} if isinstance(found, bool) else found)


def _decisions(records: Path) -> dict[str, list[Any]]:
    """By the verdict's name: a panel, its members and a rubric's dimensions each for themselves, what counts alone."""
    import pyarrow.parquet as pq

    from gristmill.verdicts import SUPERSEDED
    from judges.bench.figures import Decision
    from schemas.arrow import row_to_record

    found: dict[str, list[Any]] = defaultdict(list)
    for row in pq.read_table(records).to_pylist():
        record = row_to_record(row)
        label = Label.model_validate(record.metadata["label"])
        known = label.model_dump(exclude={"reason"})
        for verdict in record.verdicts:
            if SUPERSEDED.search(verdict.name):
                continue
            found[verdict.name].append(
                Decision(**known, passed=verdict.passed, score=verdict.score, cost=verdict.cost, length=_length(record))
            )
    return dict(found)


def _length(record: Record) -> int:
    return len(record.messages[-1].content)


def result_table(measured: dict[str, dict[str, Any]], precision: float) -> str:
    """For the terminal: one line a judge."""
    lines = [f"{'judge':28} {'n':>5} {'undecided':>9}  agreement        kappa            precision        recall"]
    for name, one in measured.items():
        shown = "  ".join(f"{_interval(one[key]):15}" for key in ("agreement", "kappa", "precision", "recall"))
        lines.append(f"{name:28} {one['n']:>5} {one['undecided']:>9}  {shown}")
        if point := one["suggested"]:
            lines.append(
                f"{'':28} precision {precision:g} from score {point['score']:g} on, recall {point['recall']:.2f}"
            )
    return "\n".join(lines)


def _interval(figure: list[float] | None) -> str:
    return "-" if figure is None else f"{figure[0]:.2f} [{figure[1]:.2f} {figure[2]:.2f}]"


def _write_report(folder: Path, measured: dict[str, dict[str, Any]], keys: BenchKeys) -> None:
    from importlib.metadata import version

    from gristmill.report import page_environment
    from gristmill.runs import write_atomically

    page = page_environment(Path(__file__).parent).get_template("bench.html.jinja")
    facts = {
        "measured": {name: {**one, **_points(one)} for name, one in measured.items()},
        "outcomes": [f"{label} {outcome}" for label in ("right", "wrong") for outcome in _OUTCOMES],
        "interval": _interval,
        "version": version("gristmill"),
    }
    write_atomically(folder / "bench.html", page.render(**facts, **keys.model_dump()))


def _points(one: dict[str, Any]) -> dict[str, Any]:
    """What the two curves of a judge go through."""
    last = max(len(one["calibration"]) - 1, 1)
    return {
        "pr_points": [
            {**point, "title": f"from {point['score']:g} on"}
            for point in one["thresholds"]
            if point["recall"] is not None
        ],
        "calibration_points": [
            {"x": place / last, "right": point["right"], "title": f"{point['score']:g}: {point['n']} records"}
            for place, point in enumerate(one["calibration"])
        ],
    }


command = Command(
    "measure judges on labelled records",
    _configure,
    _bench,
    "gristmill judge-bench recipes/judge/bench_sql.yaml",
)
