"""The report as a reader sees it: one file, opened by a real browser that has no network."""

import os
import shutil

import pytest
from checkout import Checkout

CHROMIUM = shutil.which("chromium")
STUDIES = """
studies:
  networks:
    title: Networks <b>&</b> batches
    kind: cnn
    grid: [{dataset: digits, model: shufflenet_v2_x0_5, batch_size: [32, 40], optimizer: adam, lr: 0.001,
            epochs: 2, pin_memory: false, train_samples: 160}]
    table: {rows: [batch_size], values: test_accuracy}
  machines:
    title: Machines on digits
    kind: svm
    grid: [{dataset: digits, kernel: [rbf, poly], train_samples: 200}]
    table: {rows: [kernel], values: [test_accuracy, support_vectors]}
"""
TABLES = ["table", "design", "effects", "variance"]
FIGURES = ["figure of the table", "figure of the effects", "trade-off against cost", "map of the grid"]


@pytest.fixture(scope="module", autouse=True)
def _chromium_is_here() -> None:
    if CHROMIUM is None:
        reason = "NO CHROMIUM HERE: the report was not opened; as root: make browser-package"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def test_every_table_and_figure_is_seen(checkout: Checkout):
    from playwright.sync_api import sync_playwright

    checkout.config(STUDIES)
    done = checkout.snakemake("--configfile", "my.yaml")
    assert done.returncode == 0, done.stderr
    done = checkout.snakemake("--report", "results/report.html", "--configfile", "my.yaml")
    assert done.returncode == 0, done.stderr
    path = checkout.root / "results/report.html"

    problems, requests = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        seen = {}
        for study in ("networks", "machines"):
            page.goto(path.as_uri())
            page.get_by_text(study, exact=True).first.click()
            shown = page.locator("tr td:first-child").all_inner_texts()
            for what in shown:
                row = page.locator("tr", has=page.get_by_role("cell", name=what, exact=True))
                row.locator("a").first.click()
                if what in TABLES:
                    frame = page.frame_locator("iframe")
                    frame.locator("table").wait_for()
                    seen[study, what] = frame.locator("body").inner_text()
                else:
                    image = page.locator("img").last
                    image.wait_for()
                    page.wait_for_function(
                        "image => image.complete && image.naturalWidth > 300", arg=image.element_handle()
                    )
                    seen[study, what] = "an image"
        browser.close()
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    expected = {(study, what) for study in ("networks", "machines") for what in TABLES + FIGURES}
    assert seen.keys() == expected | {("networks", "learning curves")}
    assert "Networks <b>&</b> batches" in seen["networks", "table"], "a title is text"
    for study in ("networks", "machines"):
        markdown = (checkout.root / f"results/tables/{study}.md").read_text()
        first = markdown.splitlines()[4].split("|")[1].strip()
        assert first in seen[study, "table"]
        assert "standard error" in seen[study, "table"]
