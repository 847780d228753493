"""`gristmill factory` runs generators, blends what they make towards a mix, and trains on the blend; again = resume."""

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from gristmill.commands import Command, add_config, check_extra

if TYPE_CHECKING:
    from rich.console import Console

    from gristmill.factory.parts import Factory
    from gristmill.factory.work import Journal

_WIDTH = 120


def _configure(parser: ArgumentParser) -> None:
    add_config(parser, "the factory's YAML file")
    parser.add_argument("--plan", action="store_true", help="say what it will take, and stop")
    parser.add_argument("--nproc", type=int, default=1, metavar="N", help="train in N processes, one per GPU")
    parser.add_argument("--quiet", action="store_true", help="no progress of the runs")


def _factory(arguments: Namespace) -> int:
    from rich.console import Console

    from gristmill.factory.mix import blend_config, missing_lines, mix_table
    from gristmill.factory.parts import load_factory
    from gristmill.factory.work import (
        BLEND,
        Journal,
        blend,
        blend_key,
        is_blended,
        missing_sources,
        mix_of,
        terminated_as_interrupted,
        train,
    )
    from gristmill.runs import RunFolder

    factory = load_factory(arguments.config, arguments.overrides)
    for extra in ("blend", "sft") if factory.training else ("blend",):
        check_extra(extra)
    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)
    with RunFolder(factory.out).lock(), terminated_as_interrupted():
        journal = Journal(factory.out)
        factory.write_configs({job.part.name: job.plan.config for job in factory.jobs})
        if factory.training:
            factory.write_configs({"training": factory.training})
        _print_plan(console, factory, journal)
        if arguments.plan:
            return 0
        _generate_all(console, factory, journal, quiet=arguments.quiet)
        missing = missing_sources(factory)
        there = {part.name for part in factory.config.sources if not part.is_missing} - missing.keys()
        config = blend_config(factory.config, there)
        factory.write_configs({BLEND: config})
        done = is_blended(journal, config)
        console.print(f"{'done:' if done else '$'} gristmill blend {factory.config_of(BLEND)}")
        if not done:
            blend(factory)
            journal.add(BLEND, blend_key(config))
        mix = mix_of(factory, missing, config.out)
        console.print()
        console.print(mix_table(mix))
        for line in missing_lines(mix):
            console.print(line)
        if factory.training:
            console.print(f"\n$ gristmill sft {factory.config_of('training')}")
            if status := train(factory, arguments.nproc):
                return status
        console.print()
        for line in _where(factory):
            console.print(line)
    return 0


def _print_plan(console: "Console", factory: "Factory", journal: "Journal") -> None:
    """The forecast: first what is done, then by the first tasks of what isn't."""
    from gristmill.factory.expected import bounds_lines, expected, expected_table, finished
    from gristmill.factory.mix import without_source
    from gristmill.factory.work import is_done

    config = factory.config
    found = []
    for number, job in enumerate(factory.jobs, start=1):
        done = is_done(journal, job)
        if not done and config.estimate:
            print(f"forecast {number} of {len(factory.jobs)}: {job.part.name}", file=sys.stderr, flush=True)
        found.append(finished(job) if done else expected(factory, job))
    rows = {name: round(part * config.total) for name, part in config.parts().items()}
    console.print(expected_table(found, rows))
    for line in bounds_lines(found):
        console.print(line)
    for share, source, part in without_source(config):
        console.print(f"missing   {share}: {source} ({round(part * config.total):,} {config.unit}): no source")
    if factory.training:
        stages = ", ".join(stage.name for stage in factory.training.stages)
        console.print(
            f"then      one blend, and the stages {stages}; when it is there, their steps and memory are told by\n"
            f"          gristmill sft {factory.config_of('training')} --plan"
        )
    console.print()


def _generate_all(console: "Console", factory: "Factory", journal: "Journal", *, quiet: bool) -> None:
    from gristmill.factory.work import generate, is_done, run_key

    for job in factory.jobs:
        where = f"{factory.config_of(job.part.name)} --run {job.folder.path}"
        if is_done(journal, job):
            console.print(f"done: gristmill generate {where}")
            continue
        console.print(f"$ gristmill generate {where}")
        console.print(generate(factory, job, quiet=quiet) + "\n")
        journal.add(job.part.name, run_key(job.plan.fingerprint, job.plan.config))


def _where(factory: "Factory") -> list[str]:
    """What to look at."""
    out = factory.out
    lines = [
        f"records   gristmill inspect {out}/runs/NAME, or {out}/runs/NAME/report.html",
        f"blend     gristmill inspect {out}/blend, or {out}/blend/report.html; the mix: {out}/summary.json",
    ]
    if factory.training:
        last = factory.training.stages[-1].name
        lines.append(f"model     {out}/training/stages/{last}; {out}/training/report.html")
    return lines


command = Command(
    "run generators, blend towards a mix, and train; again = resume",
    _configure,
    _factory,
    "gristmill factory recipes/factory.yaml --plan",
)
