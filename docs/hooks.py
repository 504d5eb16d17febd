"""Pages that are made while the site is built.

The reference of the library has one page for each public module: a name is public if `__all__` of
the module lists it. The documents beside the README are pages as well.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("ARCHITECTURE", "CONTRIBUTING", "SECURITY", "CHANGELOG")
MODULES = {
    "olvido": "What the three readers of the README need.",
    "olvido.methods": "Methods of machine unlearning, and what they give back.",
    "olvido.audits": "Audits, and what they find.",
    "olvido.learners": "Ways to train, and what each keeps so that a model can forget.",
    "olvido.tasks": "How records become batches, losses and answers.",
    "olvido.curvature": "Per-record gradients, the Fisher information, EK-FAC and influence.",
    "olvido.sklearn": "Estimators on frozen features, in scikit-learn's manner.",
    "olvido.errors": "Every error that Olvido raises on purpose.",
}
"""Of each public module what it is for, in the order of the navigation."""


def public_names(module: str) -> list[str]:
    """Return the public names of a module: its `__all__`, or its public classes without one.

    The namespaces of `olvido` have pages of their own.
    """
    loaded = import_module(module)
    names = getattr(loaded, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(loaded).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module
        ]
    return [name for name in names if f"{module}.{name}" not in MODULES]


def reference_page(module: str) -> str:
    """Return the page of one module, which `mkdocstrings` fills from the docstrings."""
    names = "\n\n".join(f"::: {module}.{name}" for name in public_names(module))
    return f"# `{module}`\n\n{MODULES[module]}\n\n{names}\n"


def on_config(config: Any) -> Any:
    """Put the library's pages into the navigation."""
    pages = [{module: f"reference/python/{module}.md"} for module in MODULES]
    sections = {name: value for entry in config.nav for name, value in entry.items()}
    for entry in sections["Reference"]:
        if "Library" in entry:
            entry["Library"] = pages
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages to the site."""
    for module in MODULES:
        path = f"reference/python/{module}.md"
        files.append(File.generated(config, path, content=reference_page(module)))
    for name in DOCUMENTS:
        text = (ROOT / f"{name}.md").read_text("utf-8").replace("](docs/", "](../")
        files.append(File.generated(config, f"project/{name.lower()}.md", content=text))
    return files
