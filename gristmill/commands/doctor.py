"""`gristmill doctor`: what this machine has for Gristmill, one line each, ending with the command that mends it.

    ok      PostgreSQL          initdb (PostgreSQL) 17.5, /usr/lib/postgresql/17/bin
    absent  Docker              installed, but no daemon answers; fix: systemctl start docker
    ok      API keys            HF_TOKEN, OPENAI_API_KEY

With a config, each endpoint of its models is asked for one token:

    ok      models.writer       http://127.0.0.1:8000/v1 answers as Qwen/Qwen3-30B-A3B in 0.21 s
    wrong   models.judge        the environment variable JUDGE_KEY is not set; fix: export JUDGE_KEY=...

Keys are shown by name, never by value.
"""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gristmill.commands import Command, add_config
from gristmill.terminal import Style, printable, styled, width, wrapped

if TYPE_CHECKING:
    from gristmill.machine import Finding

_STYLES: dict[str, Style] = {"ok": "good", "absent": "doubtful", "wrong": "bad"}
_NARROW = 70  # columns; what is found stands below its name there


def _doctor(arguments: Namespace) -> int:
    status = 0
    for finding in _machine():
        _print(finding)
    if arguments.config:
        from gristmill.probe import Probe, probe_config

        found: list[Probe] = asyncio.run(probe_config(arguments.config, arguments.overrides))
        for finding, failed in found:
            _print(finding)
            status = status or failed
    return status


def _machine() -> "Iterator[Finding]":
    from gristmill.machine import CHECKS

    with ThreadPoolExecutor(len(CHECKS)) as pool:
        for findings in pool.map(lambda check: check(), CHECKS):
            yield from findings


def _print(finding: "Finding") -> None:
    """One line; on a terminal as many as it takes."""
    mark, name, detail, fix = finding
    said = " ".join(printable(detail).split())
    told = f"{said.rstrip('.')}; fix: {fix}" if fix else said
    text = wrapped(f"{mark:<7} {name:<19} {told}", sys.stdout, 8 if width(sys.stdout) < _NARROW else 28)
    print(styled(mark, _STYLES[mark], sys.stdout) + text.removeprefix(mark))


def _configure(parser: ArgumentParser) -> None:
    add_config(parser, "ask the endpoints of this config's models for one token each", optional=True)
    parser.epilog = (
        "Nothing here is required: every part says itself what it misses when it is used. Exit status: 0, or 2 or 4 "
        "where an endpoint of the config can't be used."
    )


command = Command("what this machine has, and how to get the rest", _configure, _doctor, "gristmill doctor my.yaml")
