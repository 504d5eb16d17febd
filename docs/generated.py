"""The parts of the documentation that are made from the code.

python docs/generated.py

writes the help of every command to `docs/reference/cli/`, and the order of imports into
`ARCHITECTURE.md`. A test compares them with the code.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import typer
from typer.cli import get_docs_for_click
from typer.core import TyperGroup
from typer.main import get_command

from olvido.cli import app

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- begin: order of imports -->\n", "<!-- end: order of imports -->\n"
PAGES = {
    "workspace": ("Workspace and data", ("init", "data", "log", "key")),
    "models": (
        "Training and models",
        ("learn", "models", "budget", "verify-exact", "curvature", "trace"),
    ),
    "forgetting": (
        "Forgetting and audits",
        ("forget", "audit", "audit-privacy", "compare", "verify-report"),
    ),
    "requests": ("Requests", ("request",)),
    "answers": ("Answering requests", ("run", "retention", "remind", "certificate", "notice")),
    "service": ("The service", ("serve", "account", "token")),
    "catalogue": ("What there is", ("methods", "audits", "learners", "laws", "doctor", "demo")),
}
"""Of each page its heading and the commands on it."""


def help_pages() -> dict[str, str]:
    """Return the text of every page by the name of its file.

    Raises:
        ValueError: a command stands on no page, or a page names one that there is not.
    """
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    placed = [name for _, names in PAGES.values() for name in names]
    if sorted(placed) != sorted(command.commands):
        odd = sorted(set(placed) ^ set(command.commands))
        raise ValueError(f"give each command one page in PAGES: {', '.join(odd)}")
    pages = {}
    for page, (heading, names) in PAGES.items():
        parts = [f"# {heading}\n\nGenerated from the command line: `python docs/generated.py`.\n"]
        for name in names:
            one = command.commands[name]
            context = typer.Context(one, info_name=f"olvido {name}")
            text = get_docs_for_click(obj=one, ctx=context, name=name, call_prefix="olvido")
            parts.append(_lowered(text))
        pages[f"{page}.md"] = "\n".join(part.strip() + "\n" for part in parts)
    return pages


def _lowered(text: str) -> str:
    """Put every heading one level down, outside of code."""
    lines, code = [], False
    for line in text.splitlines():
        code ^= line.startswith("```")
        lines.append(f"#{line}" if line.startswith("#") and not code else line.rstrip())
    return "\n".join(lines)


def architecture() -> str:
    """Return the text of `ARCHITECTURE.md` with the layers of the import contract drawn in."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one["type"] == "layers")
    rows = [" ".join(layer.replace("olvido.", "").replace("|", "").split()) for layer in layers]
    drawn = "\n".join(
        f"    {'imports ↓' if number else '':<12}{row}" for number, row in enumerate(rows)
    )
    before, _, rest = (ROOT / "ARCHITECTURE.md").read_text("utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{drawn}\n\n{END}{rest.partition(END)[2]}"


def generated() -> dict[Path, str]:
    """Return the text of every generated file by its path."""
    folder = ROOT / "docs" / "reference" / "cli"
    pages = {folder / name: text for name, text in help_pages().items()}
    return pages | {ROOT / "ARCHITECTURE.md": architecture()}


if __name__ == "__main__":
    for file, content in generated().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, "utf-8")
