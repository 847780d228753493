"""`gristmill audit RUN` shows a sample of what a run accepted and rejected; a person decides on each with one key.

    a accept    f fix (edits the messages in $EDITOR)    r reject    s skip    q quit

The command goes on where it stopped. Reviews lie in RUN/reviews.parquet; the rates that follow from them stand in the
run's summary, card and report.
"""

import getpass
import os
import shlex
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.commands import Command
from gristmill.terminal import printable, tell

if TYPE_CHECKING:
    from gristmill.audit import Candidate, Decision

_PROMPT = "[a]ccept [f]ix [r]eject [s]kip [q]uit "


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("-n", type=int, default=100, help="how many to review, half of them rejects (default 100)")
    parser.add_argument("--reviewer", default="", help="who decides (default: the user's name)")
    parser.add_argument("--seed", type=int, default=0, help="another number draws another sample")


def _audit(arguments: Namespace) -> int:
    import orjson

    from gristmill.audit import Review, Reviews, candidates, draw
    from gristmill.errors import ConfigError
    from gristmill.runs import refresh

    if arguments.n < 1:
        raise ConfigError("audit needs at least one candidate: -n 1.")
    folder = refresh(arguments.run)
    reviewer, reviews = arguments.reviewer or getpass.getuser(), Reviews(folder.reviews)
    drawn = draw([candidate for candidate, _ in candidates(folder)], arguments.n, arguments.seed)
    todo = {candidate for candidate in drawn if not reviews.has(candidate, reviewer)}
    rows = {candidate: row for candidate, row in candidates(folder) if candidate in todo}
    for number, candidate in enumerate(drawn, start=1):
        if candidate not in todo:
            continue
        print(_shown(candidate, rows[candidate], f"{number} of {len(drawn)}"))
        decision = _decide(rows[candidate])
        if decision == "quit":
            break
        if decision != "skip":
            now = datetime.now(UTC).isoformat(timespec="seconds")
            reviews.add(Review(*candidate, reviewer, now, *decision))
    refresh(arguments.run, anew=True)
    tell(audit_table(orjson.loads(folder.summary.read_bytes())["audit"]), 15)
    return 0


def _shown(candidate: "Candidate", row: dict[str, Any], place: str) -> str:
    from gristmill.commands.show import conversation_text

    told = f" {row['detail']}" if row.get("detail") else ""
    text = conversation_text(row) if "messages" in row else printable(_pretty(row))
    return printable(f"\n=== {place}: {candidate.side}, {candidate.stratum}{told}\n") + text


def _pretty(value: Any) -> str:
    import orjson

    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _decide(row: dict[str, Any]) -> "tuple[Decision, str, str | None] | str":
    """(decision, note, edited messages), or `skip` or `quit`."""
    while True:
        match _key():
            case "a":
                return "accept", "", None
            case "r":
                return "reject", _line("why: "), None
            case "f" if "messages" in row:
                edited = _edited(row["messages"])
                if edited is not None:
                    return "fix", _line("what was wrong: "), edited
            case "f":
                print("there is no conversation in it that could be mended")
            case "s":
                return "skip"
            case "q" | "\x03" | "\x04" | "":
                return "quit"


def _key() -> str:
    """One key from a terminal, the first letter of a line from anything else; "" at its end."""
    print(_PROMPT, end="", flush=True)
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line.strip()[:1] or ("" if not line else " ")
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        pressed = os.read(terminal, 1).decode(errors="replace")
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
    print(pressed)
    return pressed


def _line(prompt: str) -> str:
    print(prompt, end="", flush=True)
    return sys.stdin.readline().strip()


def _edited(messages: list[dict[str, Any]]) -> str | None:
    """The messages as JSON after $EDITOR; None where they were left as they were, or are no messages any more."""
    import orjson

    from gristmill.audit import mended

    before = mended(_pretty(messages))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "messages.json"
        path.write_text(_pretty(orjson.loads(before)), encoding="utf-8")
        subprocess.run([*shlex.split(os.environ.get("EDITOR") or "vi"), str(path)], check=False)
        try:
            after = mended(path.read_bytes())
        except ValueError as error:  # of JSON, or of messages
            print(f"these are no messages: {' '.join(str(error).split())[:200]}")
            return None
    if after == before:
        print("nothing was changed")
        return None
    return after


def audit_table(found: dict[str, Any]) -> str:
    """The rates, for the terminal."""
    lines = [f"reviewed       {found['reviewed']} by {', '.join(found['reviewers']) or 'nobody'}"]
    for name in ("false_accepts", "needs_fix", "false_rejects"):
        rate = found[name]
        if rate is not None:
            shown = f"{100 * rate['rate']:.1f} % [{100 * rate['low']:.1f} {100 * rate['high']:.1f}], n = {rate['n']}"
            lines.append(f"{name.replace('_', ' '):<14} {shown}")
    for pair in found["agreement"]:
        kappa = "-" if pair["kappa"] is None else f"{pair['kappa']:.2f}"
        lines.append(f"{' and '.join(pair['reviewers'])}: {pair['n']} in common, kappa {kappa}")
    return "\n".join(lines)


command = Command(
    "review a sample of what a run accepted and rejected",
    _configure,
    _audit,
    "gristmill audit runs/my -n 20",
)
