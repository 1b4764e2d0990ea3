"""Write the list of modules and the arrows between folders into docs/architecture.md.

    python docs/list_modules.py

Both come from the code: its docstrings and its imports. A test fails where the page and the code differ.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LIBRARY = PROJECT / "scripts/ablations"
PAGE = PROJECT / "docs/architecture.md"
BEGIN, END = "<!-- begin: modules -->", "<!-- end: modules -->"

# From the bottom. A module imports from its own folder, and from those in rows above its own here.
ROWS = (
    ("readable",),
    ("errors",),
    ("files", "search_path"),
    ("kinds",),
    ("runs",),
    ("config",),
    ("data", "analysis", "tracking"),
    ("training", "commands", "presentation"),
    ("command_line",),
)


@cache
def modules() -> dict[str, Path]:
    """Every module of the library, by its dotted name without `ablations.`"""
    found = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """The modules of the library that a module imports, at its top or within functions."""
    known = modules()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ablations":
            source = (node.module or "").removeprefix("ablations").lstrip(".")
            for alias in node.names:
                name = f"{source}.{alias.name}".lstrip(".")
                if (target := name if name in known else source) in known:
                    yield target
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name.removeprefix("ablations.")
                if alias.name.startswith("ablations.") and name in known:
                    yield name


def folder(module: str) -> str:
    """The folder of a module; a module at the top is its own."""
    return module.partition(".")[0]


def row(module: str) -> int:
    """The row of a module's folder, from the bottom. Raises StopIteration for a folder that has none."""
    return next(i for i, folders in enumerate(ROWS) if folder(module) in folders)


def arrows() -> dict[str, set[str]]:
    """Folder -> the folders that it imports from."""
    found: dict[str, set[str]] = {}
    for name, path in modules().items():
        found.setdefault(folder(name), set()).update(folder(target) for target in imports(path))
    return {source: targets - {source} for source, targets in found.items()}


def listing() -> str:
    """The list and the graph, as Markdown."""
    lines = ["", "```mermaid", "graph TD"]
    lines += [
        f"    {source} --> {target}" for source, to in sorted(arrows().items()) for target in sorted(to)
    ]
    lines += ["```", "", "| module | contents |", "|---|---|"]
    for name, path in modules().items():
        summary = (ast.get_docstring(parsed(path)) or "").partition("\n\n")[0]
        lines.append(f"| `{name}` | {' '.join(summary.split()).replace('|', chr(92) + '|')} |")
    return "\n".join([*lines, ""])


def page() -> str:
    """The text that docs/architecture.md has to have."""
    text = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(f"({re.escape(BEGIN)}\n).*?({re.escape(END)})", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}{listing()}\n{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
