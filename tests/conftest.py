"""Fixtures of all tests."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkout import PROJECT, Checkout

CHROMIUM = shutil.which("chromium")
# Tests run side by side: with more threads each, they would wait for each other. Read when numpy and torch
# are imported.
os.environ["OMP_NUM_THREADS"] = "1"
# The many processes that tests start need not compile the project each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A copy of the project of its own for each test."""
    return Checkout(tmp_path / "project")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Checkout]:
    """`made_once(name, make)`: a checkout that `make` has worked in, once for all workers; to be read only.

    The first worker that asks makes it, and the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name: str, make: Callable[[Checkout], None]) -> Checkout:
        root, done = shared / f"shared-{name}/project", shared / f"shared-{name}.done"
        with (shared / f"shared-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                # One that another worker failed to make is made again: each worker then shows why.
                subprocess.run(["rm", "-rf", root], check=True)
                make(Checkout(root))
                done.touch()
        return Checkout.existing(root)

    return once


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as runs open them; to be read only."""
    from ablations.config.reading import load_config
    from ablations.data.sources import StagingRequest
    from ablations.data.staging import stage

    files = [PROJECT / "config/datasets.yaml", PROJECT / "config/quickstart.yaml"]
    path = tmp_path_factory.mktemp("data") / "digits.safetensors"
    stage(StagingRequest("digits", load_config(files, root=PROJECT).datasets["digits"]), path)
    return path


@pytest.fixture(scope="session")
def quickstart(made_once: Callable[..., Checkout]) -> Checkout:
    """What `make run` leaves in a clean checkout, shortened; what it printed is in `printed.txt`."""

    def make(checkout: Checkout) -> None:
        checkout.shorten_quickstart()
        # The environment this test runs in stands for the one `make` installs; CI installs it from nothing.
        (checkout.root / ".venv").symlink_to(Path(sys.executable).parent.parent)
        done = subprocess.run(
            ["make", "--assume-old=.venv/installed", "run"],
            cwd=checkout.root,
            env={**os.environ, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (checkout.root / "printed.txt").write_text(done.stdout)

    return made_once("quickstart", make)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A real browser, which has no network."""
    if CHROMIUM is None:
        reason = "NO CHROMIUM HERE: no page was opened; as root: make browser-package"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser) -> Iterator[Callable[[Path], object]]:
    """Opens a file in a browser; in the end, nothing went wrong there and nothing was requested.

    With `clock`, the time of the page is in the hands of the test.
    """
    problems, requests, context = [], [], browser.new_context(viewport={"width": 1200, "height": 900})

    def opened(path: Path, clock: bool = False):
        page = context.new_page()
        if clock:
            page.clock.install()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.expose_function("attacked", lambda: problems.append("a text was executed"))
        page.goto(path.as_uri())
        return page

    yield opened
    context.close()
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the slow tests to the workers, each of which takes a part of the list, and begins at its start.

    The short ones come last, so that no worker is left with a long one at the end. Half of the workers begin
    with the tests on a cluster, which wait most of the time, and the other half with those that compute.
    Tests of the same `xdist_group` come to the same worker: another would make their fixture again, or wait
    for it.
    """
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    if workers == 1:
        return
    slow = [item for item in items if item.path.parent.name not in ("unit", "statistics")]
    fast = [item for item in items if item.path.parent.name in ("unit", "statistics")]
    groups: dict[str, list[pytest.Item]] = {}
    for item in slow:
        mark = item.get_closest_marker("xdist_group")
        groups.setdefault(mark.args[0] if mark else item.nodeid, []).append(item)
    items.clear()
    for worker in range(workers):
        share = [item for group in list(groups.values())[worker::workers] for item in group]
        items += reversed(share) if worker % 2 else share
        items += fast[len(fast) * worker // workers : len(fast) * (worker + 1) // workers]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last words of a session: what it did not test, and why."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    if reasons:
        terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
        for reason, count in reasons.items():
            terminalreporter.line(f"{count} × {reason.removeprefix('Skipped: ')}", red=True, bold=True)
