"""Fixtures of all tests."""

from collections import Counter
from pathlib import Path

import pytest
from checkout import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A copy of the project of its own for each test."""
    return Checkout(tmp_path / "project")


@pytest.fixture(scope="module")
def module_checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """One copy of the project for all tests of a module, which build on each other's results."""
    return Checkout(tmp_path_factory.mktemp("module") / "project")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last words of a session: what it did not test, and why."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    if reasons:
        terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
        for reason, count in reasons.items():
            terminalreporter.line(f"{count} × {reason.removeprefix('Skipped: ')}", red=True, bold=True)
