"""The whole road on this machine: seeds → records → judges → blend → query → two-stage SFT and healing → a report.

Runs the commands that a user would type, and ends with a table of what came out. Everything is made by the embedded
model and by rules, so it shows the road and the files, not good data: real teachers go into `models:`.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

TEMPLATE, SQL = Path("runs/demo-template"), Path("runs/demo-text-to-sql")
BLEND, SFT = Path("out/demo-blend"), Path("out/demo-sft")
BY_SOURCE = "select source, split, count(*) as records from samples group by all order by all"

COMMANDS = [
    ["generate", "recipes/generate/demo-template.yaml"],
    ["generate", "recipes/generate/demo-text-to-sql.yaml"],
    ["blend", "recipes/blend/demo.yaml"],
    ["query", str(BLEND), BY_SOURCE],
    ["sft", "recipes/sft/demo.yaml"],
]


def main() -> int:
    """Exit status of the first command that fails, else 0."""
    started = time.monotonic()
    print("The embedded model has 135M parameters: what it writes is poor. It shows the road; real teachers go into")
    print("`models:` of the recipes.\n")
    for arguments in COMMANDS:
        print(f"$ gristmill {' '.join(f'{a!r}' if ' ' in a else a for a in arguments)}", flush=True)
        status = subprocess.run([sys.executable, "-m", "gristmill.cli", *arguments], check=False).returncode
        if status:
            return status
        print(flush=True)
    print_table(time.monotonic() - started)
    return 0


def print_table(seconds: float) -> None:
    """What came out, from the files that the commands wrote."""
    table = Table(title=f"The demo, {seconds:.0f} s", show_header=False)
    for name, run in (("template", TEMPLATE), ("text_to_sql", SQL)):
        summary = read(run / "summary.json")
        reasons = ", ".join(f"{reason} {count}" for reason, count in summary["by_reason"].items()) or "nothing"
        tokens = summary["tokens"]
        table.add_row(
            f"{name}: tasks", f"{summary['tasks']}, accepted {summary['accepted']}, failed {summary['failed']}"
        )
        table.add_row("  rejected, by reason", f"{summary['rejected']}: {reasons}")
        table.add_row("  tokens", f"{tokens['input']} in, {tokens['output']} out, {summary['calls']} calls")
    manifest = read(BLEND / "manifest.json")
    for source in manifest["sources"]:
        table.add_row(f"blend: {source['name']}", f"{source['rows']} records, {source['share']:.1%}")
    add_training(table, read(SFT / "summary.json"))
    table.add_section()
    for what, where in (
        ("records", f"{TEMPLATE}/records, {SQL}/records"),
        ("blend", f"{BLEND}/train, {BLEND}/valid, {BLEND}/blend.duckdb"),
        ("checkpoint", f"{SFT}/stages/heal"),
        ("reports", f"{TEMPLATE}/report.html, {SQL}/report.html, {BLEND}/report.html, {SFT}/report.html"),
    ):
        table.add_row(what, where)
    Console(width=118, soft_wrap=False).print(table)
    print(
        "Next: gristmill show text_to_sql; gristmill explain runs/demo-text-to-sql UUID; then put a real endpoint into"
    )
    print("`models:` of recipes/generate/text_to_sql_teacher.yaml, and see `gristmill --help`.")


def add_training(table: Table, sft: dict[str, Any]) -> None:
    """Losses on the validation split, which no stage trains on; acceptance before and after the last stage, healing."""
    before = sft["start"]
    for stage in sft["stages"]:
        losses = [f"{part['held_out']['per_token']:.3f}" for part in (before, stage)]
        shortest = [f"{part['held_out']['per_conversation_shortest_third']:.3f}" for part in (before, stage)]
        shown = f"{' → '.join(losses)} per token, {' → '.join(shortest)} per conversation on the shortest third"
        table.add_row(f"held-out loss, stage {stage['name']}", shown if stage["train"] == "all" else "unchanged")
        before = stage
    table.add_row("unigram entropy of its targets", f"{sft['unigram_entropy']:.3f} nats per token")
    accepted = [f"{stage['acceptance']['rates'][0]:.3f}" for stage in sft["stages"][-2:]]
    table.add_row("MTP acceptance at depth 1", f"{' → '.join(accepted)} by healing")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
