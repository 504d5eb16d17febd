"""Make the closing line of the last of several test runs tell what all of them found.

    PYTHONPATH=.ci python -m pytest -p total --total FILE

Every run adds its results to FILE. What the runs before found stands in this run's short summary,
failures by name among it, and in its closing line; tracebacks and the exit status are its own.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

COUNTED = ("failed", "error", "passed", "skipped", "xfailed", "xpassed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--total", metavar="FILE", type=Path, required=True, help="earlier results")


# The reporter shows tracebacks before this, and the short summary and the closing line after it.
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # One of several processes: what it found is reported by the one that started it.
    file, stats, hook = config.option.total, terminalreporter.stats, config.hook
    earlier = pickle.loads(file.read_bytes()) if file.exists() else {}
    for outcome, reports in earlier.items():
        read = [hook.pytest_report_from_serializable(config=config, data=each) for each in reports]
        stats[outcome] = [*read, *stats.get(outcome, ())]
    written = {
        outcome: [_plain(config, report) for report in stats.get(outcome, ())]
        for outcome in COUNTED
    }
    file.write_bytes(pickle.dumps(written))


def _plain(config: pytest.Config, report: Any) -> dict[str, Any]:
    """Return a report as plain values; the connection to the process that made it is none."""
    made = config.hook.pytest_report_to_serializable(config=config, report=report)
    return {name: value for name, value in made.items() if name != "node"}
