"""The report as a reader sees it: one file, opened by a real browser that has no network."""

import os
import shutil

import pytest
import yaml
from checkout import Checkout
from payloads import PAGES

CHROMIUM = shutil.which("chromium")
TITLE = "Networks <b>&</b> batches"
# A config and a record say all that a page might execute. What figures draw is shorter.
ATTACK = " ".join(text for text in PAGES if text != "<!--<script>")
SHORT = "</script><script>attacked()</script><!--<script>"
STUDIES = {
    "networks": {
        "title": f"{TITLE} {SHORT}",
        "kind": "cnn",
        "grid": [
            {
                "dataset": "digits",
                "model": "shufflenet_v2_x0_5",
                "batch_size": [32, 40],
                "optimizer": "adam",
                "lr": 0.001,
                "epochs": 2,
                "pin_memory": False,
                "train_samples": 160,
            }
        ],
        "table": {"rows": ["batch_size"], "values": "test_accuracy"},
        "labels": {"batch_size": SHORT},
        "level_labels": {"batch_size": {32: f"{SHORT} 32"}},
    },
    "machines": {
        "title": f"Machines {ATTACK}",
        "kind": "svm",
        "grid": [{"dataset": "digits", "kernel": ["rbf", "poly"], "train_samples": 200}],
        "table": {"rows": ["kernel"], "values": ["test_accuracy", "support_vectors", "train_time_ms"]},
    },
}
TABLES = ["table", "design", "effects", "variance", "compute", "page"]
FIGURES = ["figure of the table", "figure of the effects", "trade-off against cost", "map of the grid"]


@pytest.fixture(scope="module", autouse=True)
def _chromium_is_here() -> None:
    if CHROMIUM is None:
        reason = "NO CHROMIUM HERE: the report was not opened; as root: make browser-package"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def test_every_table_and_figure_is_seen(checkout: Checkout):
    from playwright.sync_api import sync_playwright

    checkout.config(yaml.safe_dump({"studies": STUDIES}))
    done = checkout.snakemake("--configfile", "my.yaml", "--", "results/records.tsv")
    assert done.returncode == 0, done.stderr
    record = next(checkout.root.glob("results/runs/svm/**/*kernel=rbf*/record.tsv"))
    names, values = (line.split("\t") for line in record.read_text().splitlines())
    values[names.index("device_name")] = ATTACK
    times = record.stat()
    record.write_text("\t".join(names) + "\n" + "\t".join(values) + "\n")
    os.utime(record, ns=(times.st_atime_ns, times.st_mtime_ns))
    every = ("--configfile", "my.yaml", "--", "all", "results/pages/index.html")
    done = checkout.snakemake(*every)
    assert done.returncode == 0, done.stderr
    done = checkout.snakemake("--report", "results/report.html", *every)
    assert done.returncode == 0, done.stderr
    path = checkout.root / "results/report.html"

    problems, requests = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.expose_function("attacked", lambda: problems.append("a text was executed"))
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
                    frame.locator("table").first.wait_for()
                    seen[study, what] = frame.locator("body").inner_text()
                else:
                    image = page.locator("img").last
                    image.wait_for()
                    page.wait_for_function(
                        "image => image.complete && image.naturalWidth > 300", arg=image.element_handle()
                    )
                    seen[study, what] = "an image"
        captions = []
        for result in page.evaluate("Object.keys(results)"):
            page.evaluate("result => app.showResultInfo(result)", result)
            captions.append(page.locator("#app").inner_text())
            assert page.locator("a[href^='javascript:']").count() == 0
        results = checkout.root / "results"
        for file in [*results.glob("tables/*.html"), *results.glob("figures/*.svg")]:
            page.goto(file.as_uri())
        page.goto((results / "pages/index.html").as_uri())
        page.get_by_role("link", name="machines").click()
        page.get_by_role("button", name="Support vectors").click()
        page.locator("#section th[aria-sort=descending]").wait_for()
        assert page.locator("#reload").count() == 0, "no run is missing"
        browser.close()
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    expected = {(study, what) for study in ("networks", "machines") for what in TABLES + FIGURES}
    assert seen.keys() == expected | {("networks", "learning curves")}
    assert f"{TITLE} {SHORT}" in seen["networks", "table"], "a title is text"
    assert f"Machines {ATTACK}" in seen["machines", "table"]
    # A record has no such quotes. Snakemake alone would not see the change of one with an old time.
    assert f" on {ATTACK} (".replace('"', "'") in seen["machines", "table"]
    assert any(f"Machines {ATTACK}" in caption for caption in captions)
    assert f"Machines {ATTACK}" in seen["machines", "page"]
    for study in ("networks", "machines"):
        markdown = (checkout.root / f"results/tables/{study}.md").read_text()
        first = markdown.splitlines()[4].split("|")[1].strip()
        assert first.replace("\\", "") in seen[study, "table"]
        assert "standard error" in seen[study, "table"]
