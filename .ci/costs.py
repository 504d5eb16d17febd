"""Measure the processor time of every test, of what it starts and of what it has made for it.

    PYTHONPATH=.ci python -m pytest -p costs --costs build/test-costs.json tests/ledger

Seconds of processor time, user and system, of the test's process and of the processes that it
started and waited for: they hang less on what else the machine does than seconds of a clock do.
What a fixture for more than one test costs is counted for the fixture, not for the test that asks
first. The file has `tests` (node id to seconds) and `fixtures` (name to a list, one number for
each time it was made); what costs most is printed at the end.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Generator
from multiprocessing.forkserver import _forkserver
from pathlib import Path
from typing import Any

import pytest

PRINTED = 30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--costs", metavar="FILE", help="write the processor time of every test here")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Costs(config), "costs-of-tests")


def seconds() -> float:
    """Return the processor time so far of this process and of its children that have ended.

    Those that a fork server begins are its own: what it and they used is read from the system.
    """
    used = os.times()
    found = used.user + used.system + used.children_user + used.children_system
    try:
        about = Path(f"/proc/{_forkserver._forkserver_pid}/stat").read_text("utf-8")
    except FileNotFoundError:  # None was begun, or the system is another one.
        return found
    ticks = about.rpartition(")")[2].split()[11:15]
    return found + sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


class Costs:
    """Measures in every process and adds up in the one that reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.nested = 0.0
        self.made: list[tuple[str, float]] = []
        self.tests: defaultdict[str, float] = defaultdict(float)
        self.fixtures: defaultdict[str, list[float]] = defaultdict(list)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        if fixturedef.scope == "function":
            return (yield)
        # Another shared fixture made on the way is counted for itself.
        outside, self.nested = self.nested, 0.0
        before = seconds()
        try:
            return (yield)
        finally:
            whole = seconds() - before
            self.made.append((f"{fixturedef.baseid}::{fixturedef.argname}", whole - self.nested))
            self.nested = outside + whole

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, Any]:
        report = yield
        report.costs = (item.stash.get(SPENT, 0.0), self.made)
        self.made = []
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._measured(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._measured(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._measured(item))

    def _measured(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self.nested = 0.0
        before = seconds()
        try:
            return (yield)
        finally:
            item.stash[SPENT] = seconds() - before - self.nested

    def pytest_runtest_logreport(self, report: Any) -> None:
        spent, made = report.costs
        self.tests[report.nodeid] += spent
        for name, one in made:
            self.fixtures[name].append(one)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.tests:
            return
        tests = sorted(self.tests.items(), key=lambda item: -item[1])
        fixtures = sorted(self.fixtures.items(), key=lambda item: -sum(item[1]))
        if self.config.option.costs:
            found = {
                "tests": {name: round(one, 2) for name, one in tests},
                "fixtures": {name: [round(one, 2) for one in all_] for name, all_ in fixtures},
            }
            file = Path(self.config.option.costs)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found, indent=0), "utf-8")
        whole = sum(self.tests.values()), sum(map(sum, self.fixtures.values()))
        terminalreporter.section("processor time")
        terminalreporter.write_line(f"{whole[0]:8.1f} s in tests, {whole[1]:.1f} s in fixtures")
        for name, one in tests[:PRINTED]:
            terminalreporter.write_line(f"{one:8.1f} s {name}")
        for name, all_ in fixtures[:PRINTED]:
            terminalreporter.write_line(f"{sum(all_):8.1f} s in {len(all_)} of {name}")


SPENT = pytest.StashKey[float]()
