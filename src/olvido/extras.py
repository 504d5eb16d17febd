"""The optional parts of Olvido: the packages that each extra brings, and the error without them.

The core trains, forgets, audits and compares. Whatever needs a package outside of the core imports
it where it is used, inside `extra`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from olvido.errors import MissingExtra


@dataclass(frozen=True, slots=True)
class Extra:
    """One extra of the distribution.

    Attributes:
        modules: the names that its packages are imported as; the first stands for all of them.
        purpose: what needs it, as part of a message.
    """

    modules: tuple[str, ...]
    purpose: str


EXTRAS = {
    "service": Extra(
        (
            *("sqlalchemy", "alembic", "cryptography", "rfc8785", "dbos"),
            *("fastapi", "uvicorn", "starlette", "python_multipart"),
        ),
        "the ledger, requests, certificates and the HTTP service",
    ),
    "report": Extra(("matplotlib",), "charts in reports and comparisons"),
    "tofu": Extra(("datasets",), "reading the TOFU benchmark from the Hugging Face hub"),
    "smollm2": Extra(("gguf",), "converting the model smollm2, and reading weights in GGUF"),
    "images": Extra(("PIL",), "reading pictures"),
    "private": Extra(("opacus",), "accounting for training with differential privacy"),
    "pandas": Extra(("pandas",), "a comparison's table as a DataFrame"),
    "mlflow": Extra(("mlflow",), "registering models with 'olvido models export --mlflow'"),
}


def is_installed(name: str) -> bool:
    """Whether every package of an extra is installed, without importing any of them."""
    return all(find_spec(module) is not None for module in EXTRAS[name].modules)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import packages of an extra; the error names a missing one and the command that brings it.

    Args:
        name: of the extra, a key of `EXTRAS`.

    Raises:
        MissingExtra: a package of the extra is not installed.

    >>> with extra("report"):
    ...     import matplotlib
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS[name].modules:
            raise
        raise MissingExtra(name, missing, EXTRAS[name].purpose) from error
