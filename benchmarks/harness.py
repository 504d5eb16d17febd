"""What the benchmarks share: arguments, what was measured where, resuming, storing and tables.

A benchmark is a script of its own. It builds its parser with `arguments`, reads it with `parsed`,
describes its run with `header`, and ends with `finish`. What takes long is done piece by piece with
`once`, so that a script that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from olvido.files import finite, read_document
from olvido.files import write as write_file


def arguments(
    doc: str | None, *, folder: bool = False, threads: int = 1, seed: int | None = None
) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all benchmarks have.

    Args:
        doc: the script's docstring, whose first line describes it.
        folder: whether `--out` is a folder of models and pieces, and must be given. Else it is the
            file of the results, and without it they are printed.
        threads: how many the script computes with, unless `--threads` says another number.
        seed: the default of `--seed`; None: the script takes none.
    """
    parser = argparse.ArgumentParser(description=(doc or "").strip().splitlines()[0])
    told = "models, pieces and results go here" if folder else "results go here; else to the screen"
    parser.add_argument("--out", type=Path, required=folder, help=told)
    parser.add_argument("--threads", type=int, default=threads)
    if seed is not None:
        parser.add_argument("--seed", type=int, default=seed)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line, and compute with as many threads as it says."""
    args = parser.parse_args()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(args.threads)
    return args


def command() -> str:
    """Return the command that remakes what this run makes."""
    words = [f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    return " ".join(["python", *(f'"{word}"' if " " in word else word for word in words)])


def header(**settings: Any) -> dict[str, Any]:
    """Return what a result is to be read with: command, date, machine, load, versions.

    Args:
        settings: what else decided the result (seed, sizes).
    """
    found: dict[str, Any] = {
        "command": command(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": processor(),
        "python": platform.python_version(),
        "load": [round(one, 1) for one in os.getloadavg()],
    }
    if "torch" in sys.modules:
        from olvido.training.environment import environment

        found["environment"] = environment()
    return found | settings


def processor() -> str:
    """Return the processor's name and how many there are, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x{len(names)}" if names else platform.processor() or platform.machine()


class Clock:
    """Seconds since it was made: of the wall, and of this process and its ended children."""

    def __init__(self) -> None:
        self._wall, self._processor = time.monotonic(), processor_seconds()

    def read(self) -> dict[str, float]:
        """Return both as a result has them."""
        return {
            "seconds": time.monotonic() - self._wall,
            "processor_seconds": processor_seconds() - self._processor,
        }


def processor_seconds() -> float:
    """Return the processor time of this process and of its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def write(document: Mapping[str, Any], file: Path) -> None:
    """Write a document compactly, one line for each entry, whole or not at all."""
    lines = (f"{json.dumps(key)}:{_compact(value)}" for key, value in document.items())
    write_file(file, "{\n" + ",\n".join(lines) + "\n}\n")


def _compact(value: Any) -> str:
    return json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read(file: Path) -> dict[str, Any]:
    """Return what is in a file of results so far: nothing where there is none."""
    return read_document(file) if file.exists() else {}


def add(file: Path, name: str, found: Any) -> None:
    """Put an entry into a file of results, which another process may have changed meanwhile."""
    write(read(file) | {name: found}, file)


def once(
    file: Path,
    make: Callable[[], Mapping[str, Any]],
    show: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Return the piece in that file, made now where it is missing.

    Args:
        file: where the piece is kept.
        make: makes it.
        show: what of a piece just made is printed; None: its file's name.
    """
    if not file.exists():
        write(make(), file)
        print(file.stem if show is None else _line(show(read_document(file))), flush=True)
    return read_document(file)


def _line(value: object) -> str:
    return value if isinstance(value, str) else _compact(value)


def pieces(folder: Path, pattern: str = "*.json") -> list[dict[str, Any]]:
    """Return all pieces that were made so far, in the order of their files' names."""
    return [read_document(file) for file in sorted(folder.glob(pattern))]


def finish(document: Mapping[str, Any], args: argparse.Namespace, name: str | None = None) -> None:
    """Write the results where `--out` says, or print them.

    Args:
        document: the results with their header.
        args: of the command line.
        name: of the file, where `--out` is a folder.
    """
    if args.out is None:
        print(json.dumps(finite(document), ensure_ascii=False, indent=1))
    else:
        write(document, args.out if name is None else args.out / name)


def show(*tables: str) -> None:
    """Print tables as Markdown, below the command that remakes them."""
    print("\n\n".join((f"    {command()}", *tables)), flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown.

    >>> print(table(["k", "share"], [[1, "2%"]]))
    | k | share |
    |---|---|
    | 1 | 2% |
    """
    lines = [list(columns), *([str(cell) for cell in row] for row in rows)]
    shown = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join((shown[0], "|" + "---|" * len(columns), *shown[1:]))


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return the mean, and half the width of its 95% interval (Student's t)."""
    from scipy.stats import t as student

    if len(values) < 2:
        return {"mean": values[0], "half": math.nan}
    spread = stdev(values) / math.sqrt(len(values))
    return {"mean": fmean(values), "half": float(student.ppf(0.975, len(values) - 1)) * spread}


def share(count: int, of: int) -> dict[str, Any]:
    """Return how many of how many, with the 95% interval of Clopper and Pearson 1934."""
    from scipy.stats import binomtest

    if not of:
        return {"count": 0, "of": 0}
    low, high = binomtest(count, of).proportion_ci(0.95, "exact")
    return {"count": count, "of": of, "share": count / of, "interval": [low, high]}


def within(found: Mapping[str, Any]) -> str:
    """Return a share as tables show it.

    >>> within(share(3, 3))
    '3/3 (29% to 100%)'
    """
    low, high = found["interval"]
    return f"{found['count']}/{found['of']} ({low:.0%} to {high:.0%})"


def plus_minus(found: Mapping[str, float], form: str = ".2f", unit: float = 1.0) -> str:
    """Return a mean with half of its interval as tables show it."""
    return f"{unit * found['mean']:{form}} ± {unit * found['half']:{form}}"
