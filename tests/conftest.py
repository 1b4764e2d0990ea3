"""Fixtures of all tests."""

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
