"""What people read of a run: a dataset card and a report, each from a template beside this module."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined

from gristmill.runs import write_atomically

if TYPE_CHECKING:
    from gristmill.runs import RunFolder
    from schemas.run_config import RunConfig

_HERE = Path(__file__).parent


def page_environment(*folders: Path) -> Environment:
    """Templates from `folders`, then from here: a page extends `page.html.jinja`; what goes into HTML is escaped."""
    return Environment(
        loader=FileSystemLoader([*folders, _HERE]),
        bytecode_cache=FileSystemBytecodeCache(),
        autoescape=lambda name: bool(name) and ".html" in str(name),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_card(folder: "RunFolder", config: "RunConfig", summary: dict[str, Any]) -> None:
    """README.md: a dataset card with Hugging Face front matter."""
    template = page_environment().get_template("card.md.jinja")
    write_atomically(folder.card, template.render(_facts(folder, config, summary)))


def write_run_report(folder: "RunFolder", config: "RunConfig", summary: dict[str, Any]) -> None:
    """report.html: one file that works offline."""
    template = page_environment().get_template("run.html.jinja")
    write_atomically(folder.report, template.render(_facts(folder, config, summary)))


def _facts(folder: "RunFolder", config: "RunConfig", summary: dict[str, Any]) -> dict[str, Any]:
    return {"name": folder.path.name, "config": config, "summary": summary, "version": version("gristmill")}
