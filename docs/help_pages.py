"""The help of every command, as pages of the reference.

python docs/help_pages.py

writes them to `docs/reference/cli/`; a test holds the pages there to the commands.
"""

from __future__ import annotations

from pathlib import Path

import typer
from typer.cli import get_docs_for_click
from typer.core import TyperGroup
from typer.main import get_command

from olvido.cli import app

FOLDER = Path(__file__).with_name("reference") / "cli"
PAGES = {
    "workspace": ("Workspace and data", ("init", "data", "log", "key")),
    "models": ("Training and models", ("learn", "models", "verify-exact", "curvature", "trace")),
    "forgetting": ("Forgetting and audits", ("forget", "audit", "compare", "verify-report")),
    "requests": ("Requests", ("request",)),
    "answers": ("Answering requests", ("run", "remind", "certificate", "notice")),
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
        parts = [f"# {heading}\n\nGenerated from the command line: `python docs/help_pages.py`.\n"]
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


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, content in help_pages().items():
        (FOLDER / file).write_text(content, "utf-8")
