"""The code, packages and machine that made a certificate."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import olvido
from olvido.ledger.digests import Digest, canonical_json, merkle_root

_PACKAGE = Path(olvido.__file__).parent


def made_by(environment: Mapping[str, str]) -> dict[str, Any]:
    """Describe the code, the packages and the machine.

    Args:
        environment: the environment in which the model was trained.

    `source` is the Merkle root over this package's files in the order of their names, each leaf a
    name, a zero byte and the SHA-256 of its content; `packages` is over the sorted lines
    `name==version` of all that is installed; `hardware` over machine, processor and environment.
    """
    commit, changed = _commit()
    hardware = {"machine": platform.machine(), "system": platform.system(), **environment}
    return {
        "commit": commit,
        "changed": changed,
        "source": str(_source()),
        "packages": str(_packages()),
        "hardware": str(Digest.of(canonical_json(hardware))),
        # Makers of processors write other characters into names, which a plain name must not have.
        "environment": {
            k: re.sub(r"[^A-Za-z0-9_.,;+:/() @-]", "_", v) for k, v in environment.items()
        },
    }


def release() -> str:
    """The version of Olvido."""
    try:
        return version("olvido")
    except PackageNotFoundError:
        return "not installed"


@cache
def _source() -> Digest:
    files = sorted(p for p in _PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return merkle_root(
        [
            f"{p.relative_to(_PACKAGE).as_posix()}\0".encode() + sha256(p.read_bytes()).digest()
            for p in files
        ]
    )


@cache
def _packages() -> Digest:
    lines = {f"{one.metadata['Name'].lower()}=={one.version}" for one in distributions()}
    return Digest.of("\n".join(sorted(lines)).encode())


@cache
def _commit() -> tuple[str | None, bool | None]:
    """The commit of this code and whether the code was changed since; None where unknown."""
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    head = _git("rev-parse", "HEAD")
    return head, None if head is None else _git("diff", "--quiet", "HEAD", "--", ".") is None


def _git(*arguments: str) -> str | None:
    """The answer of git about the package's folder; None where it fails or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_PACKAGE), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
