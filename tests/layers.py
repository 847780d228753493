"""The layers of the code, from its imports: `python -m tests.layers` draws docs/images/layers.svg and the table of
docs/architecture.md anew.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, PICTURE = ROOT / "docs/architecture.md", ROOT / "docs/images/layers.svg"
PACKAGES = ("schemas", "gristmill", "blends", "judges", "sft", "generators")  # in the order in which they are drawn

WIDTH, HEIGHT, GAP, RISE = 190, 40, 26, 44  # of a box, between two boxes, between two rows
STYLE = """
  rect, path { fill: none; stroke: #57606a; stroke-width: 1.5; }
  text { font: 15px sans-serif; fill: #24292f; text-anchor: middle; }
  @media (prefers-color-scheme: dark) { rect, path { stroke: #9198a1; } text { fill: #e6edf3; } }
"""


def imported(path: Path) -> set[str]:
    """The top-level packages that a module names in any import, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def arrows() -> dict[str, set[str]]:
    """Of our packages, those that each imports somewhere."""
    return {
        package: set().union(*map(imported, (ROOT / package).rglob("*.py"))) & set(PACKAGES) - {package}
        for package in PACKAGES
    }


def level(package: str, uses: dict[str, set[str]]) -> int:
    """0 for what imports nothing of ours, else one above the highest that it imports."""
    return 1 + max((level(below, uses) for below in uses[package]), default=-1)


def picture() -> str:
    """A box for each package, above all that it imports; an arrow for each import that no longer way implies."""
    uses = arrows()
    rows: dict[int, list[str]] = {}
    for package in PACKAGES:
        rows.setdefault(level(package, uses), []).append(package)
    width = max(map(len, rows.values())) * (WIDTH + GAP) + GAP
    height = len(rows) * (HEIGHT + RISE) - RISE + 20
    corners = {
        package: (
            (width - len(row) * (WIDTH + GAP) + GAP) // 2 + place * (WIDTH + GAP),
            10 + (max(rows) - at) * (HEIGHT + RISE),
        )
        for at, row in rows.items()
        for place, package in enumerate(row)
    }

    def shapes() -> Iterator[str]:
        for package, (x, y) in corners.items():
            middle = x + WIDTH // 2
            yield f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
            yield f'<text x="{middle}" y="{y + 25}">{package}</text>'
            implied = set[str]().union(*(uses[between] for between in uses[package]))
            for below in sorted(uses[package] - implied):
                to_x, to_y = corners[below]
                yield f'<path d="M{middle} {y + HEIGHT}L{to_x + WIDTH // 2} {to_y - 2}m-5 -8l5 8l5 -8"/>'

    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
    return "\n".join(
        [head, "<title>Which package imports which</title>", f"<style>{STYLE}</style>", *shapes(), "</svg>\n"]
    )


def table() -> str:
    """Each package and those in it, by the first line of their docstrings."""
    rows = ["| package | what it is | imports |", "|---|---|---|"]
    for package, uses in arrows().items():
        below = ", ".join(name for name in PACKAGES if name in uses) or "nothing of ours"
        rows.append(f"| **{package}** | {first_line(ROOT / package)} | {below} |")
        rows += [
            f"| {package}/{at.parent.name} | {first_line(at.parent)} | |"
            for at in sorted((ROOT / package).glob("*/__init__.py"))
        ]
    return "\n".join(rows)


def first_line(package: Path) -> str:
    told = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8")))
    assert told, f"{package} says nothing of itself"
    return told.partition("\n")[0].rstrip(".")


def page() -> str:
    """The page with its table made anew."""
    before, begin, rest = PAGE.read_text("utf-8").partition("<!-- made: packages -->\n")
    _, end, after = rest.partition("\n<!-- end -->")
    assert begin and end
    return before + begin + table() + end + after


if __name__ == "__main__":
    PICTURE.write_text(picture(), "utf-8")
    PAGE.write_text(page(), "utf-8")
