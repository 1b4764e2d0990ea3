"""The page of a study as a reader sees it, in a real browser that has no network."""

import re
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from ablations.config.studies.study import Study, parse_study
from ablations.presentation.document import Table
from ablations.presentation.figures import FIGURES
from ablations.presentation.figures.numbers import NUMBERS
from ablations.presentation.figures.style import write_figure
from ablations.presentation.page import index_page, study_page
from ablations.presentation.tables import TABLES
from ablations.readable import as_line
from pandas import DataFrame
from payloads import PAGES
from test_tables import record

# In bytes, for 200 runs.
LARGEST_PAGE = 2_000_000
MODELS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def study_of_runs(title: str = "Two hundred runs", **changes) -> Study:
    """A study of 200 runs: 40 points, each with five seeds."""
    block = {
        "dataset": "digits", "model": MODELS, "batch_size": [16, 32], "optimizer": ["sgd", "adam"],
        "lr": [0.001, 0.01], "epochs": 30, "pin_memory": False,
    }  # fmt: skip
    written = {
        "title": title,
        "kind": "cnn",
        "grid": [block],
        "seeds": [0, 1, 2, 3, 4],
        "table": {
            "rows": ["model", "batch_size", "lr"],
            "columns": "optimizer",
            "values": "test_accuracy",
        },
        "analyse": ["test_accuracy", "train_time_ms"],
    }
    return parse_study({**written, **changes})


def measured(study: Study, **changes) -> dict:
    """Records of a study, and the histories of its runs."""
    draw, records = np.random.default_rng(0), {}
    for run in study.runs():
        depth = MODELS.index(run.model)
        accuracy = 90 + depth + 2 * (run.value("lr") == 0.001) + draw.normal(0, 0.3)
        time = 1000 * (1 + depth) * draw.uniform(0.9, 1.1)
        counts = {"macs": str(10**7 * (depth + 1)), "params": str(10**6 * (depth + 2))}
        values = {"test_accuracy": f"{accuracy:.4f}", "train_time_ms": f"{time:.1f}", **counts, **changes}
        records[run] = record(run, **values)
        history = Path(run.directory) / "history.tsv"
        history.parent.mkdir(parents=True)
        rows = [f"{epoch}\t{accuracy - 20 / epoch:.4f}" for epoch in range(1, run.value("epochs") + 1)]
        history.write_text("\n".join(["epoch\ttest_accuracy", *rows, ""]))
    return records


def make_page(study: Study, records: dict) -> str:
    """The page of a study, in the working directory."""
    figures = {name: Path(f"figures/{name or 'study'}") for name in FIGURES}
    for name, base in figures.items():
        write_figure(FIGURES[name](study, records, None, ()), base)
    names = ("", "effects", "design", "variance")
    tables = {name: TABLES[name]("s", study, records, None) for name in names}
    numbers = {name: make(study, records) for name, make in NUMBERS.items()}
    return study_page(study, records, tables, figures, numbers)


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A page of 200 runs, of which two are missing and one diverged."""
    folder = tmp_path_factory.mktemp("page")
    with chdir(folder):
        study = study_of_runs()
        records = measured(study)
        first, second, third, *_ = records
        del records[first], records[second]
        records[third] = record(third, status="diverged", test_accuracy=None)
        (folder / "s.html").write_text(make_page(study, records))
    return folder / "s.html"


def column(page, number: int) -> list[str]:
    return page.locator(f"#section-table tbody tr > :nth-child({number})").all_inner_texts()


def test_a_page_of_two_hundred_runs_is_one_file_of_less_than_two_megabytes(large):
    text = large.read_text()
    assert len(text.encode()) < LARGEST_PAGE
    assert "198 of 200 runs are completed, 1 of them diverged, 2 are missing." in text
    assert re.findall(r"""(?:src|href)=["'](?!data:|#|index\.html")""", text) == []
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert text.count("<figure>") == len(FIGURES)
    assert text.count("<details>") == len(NUMBERS), "the effects have a table of their own"
    assert text.count("<table") == text.count("<caption")
    assert "<th>" not in text, "every heading tells what it heads"


def test_a_page_of_many_points_has_the_first_rows_and_says_so():
    study = study_of_runs()
    rows = DataFrame({"A": [str(i) for i in range(1200)]})
    page = study_page(study, {}, {"": Table("T", "t", rows, rows)}, {}, {})
    assert "The first 1,000 of 1,200 rows; filters and sorting see these alone." in page
    assert page.count("<tr") == 1001
    assert len(page.encode()) < LARGEST_PAGE


def test_a_heading_sorts_by_a_click_and_by_a_key(large, opened):
    page = opened(large)
    values = [float(text.split()[0]) for text in column(page, 4)]
    assert values != sorted(values)
    heading = page.locator("#section-table").get_by_role("columnheader", name="sgd")
    heading.get_by_role("button").click()
    # What is said once the rows are in order; the heading changes before.
    page.get_by_text("sorted by sgd, descending").wait_for(state="attached")
    assert [float(text.split()[0]) for text in column(page, 4)] == sorted(values, reverse=True)
    page.keyboard.press("Enter")
    page.get_by_text("sorted by sgd, ascending").wait_for(state="attached")
    assert page.locator("#section-table th[aria-sort=ascending]").count() == 1
    assert [float(text.split()[0]) for text in column(page, 4)] == sorted(values)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.get_by_text("sorted by adam, descending").wait_for(state="attached")
    assert page.locator("#section-table th[aria-sort]").count() == 1


def test_levels_above_each_other_are_headings_above_each_other(tmp_path, monkeypatch, opened):
    monkeypatch.chdir(tmp_path)
    study = study_of_runs(
        table={"rows": ["batch_size", "lr"], "columns": ["optimizer", "model"], "values": "test_accuracy"}
    )
    records = measured(study)
    table = TABLES[""]("s", study, records, None)
    (tmp_path / "s.html").write_text(study_page(study, records, {"": table}, {}, {}))
    page = opened(tmp_path / "s.html")
    upper = page.locator("#section-table thead tr:first-child > *").all_inner_texts()
    assert upper == ["", "sgd", "adam"]
    # One above others sorts nothing; one below sorts its own column, and says which.
    page.locator("#section-table").get_by_role("columnheader", name="adam").first.click()
    page.get_by_role("button", name="adam, resnet34").click()
    page.get_by_text("sorted by adam, resnet34, descending").wait_for(state="attached")
    values = [float(text.split()[0]) for text in column(page, 2 + len(MODELS) + 2)]
    assert values == sorted(values, reverse=True)
    # Rows can be sorted and filtered, so that each has its own names.
    assert all(column(page, 1))


def test_a_filter_keeps_the_rows_with_all_of_its_words(large, opened):
    page = opened(large)
    page.locator("#section-table").get_by_label("Filter rows").fill("RESNET18 0.01")
    shown = page.locator("#section-table tbody tr:visible")
    assert {row.split("\t")[0] for row in shown.all_inner_texts()} == {"resnet18"}
    assert page.locator("#section-table [role=status]").inner_text() == f"{shown.count()} of 20 rows"


def test_the_best_values_and_the_gaps_are_marked(large, opened):
    page = opened(large)
    best = page.locator("#section-table td.best").all_inner_texts()
    assert best
    assert best == page.locator("#section-table td strong").all_inner_texts()
    assert (
        page.locator("#section-table td.gap").all_inner_texts()[0].endswith("(n = 2, 1 diverged, 2 missing)")
    )


def test_text_of_others_is_text(tmp_path, monkeypatch, opened):
    monkeypatch.chdir(tmp_path)
    attack = " ".join(PAGES)
    study = study_of_runs(
        title=attack,
        seeds=[0],
        analyse="train_time_ms",
        labels={"model": attack, "optimizer": attack},
        level_labels={"model": {name: f"{name} {attack}" for name in MODELS}, "optimizer": {"sgd": attack}},
        exclude=[{"lr": 0.01}],
    )
    records = measured(study, device_name=attack)
    names = ("", "effects", "design", "variance")
    tables = {name: TABLES[name]("s", study, records, None) for name in names}
    numbers = {name: make(study, records) for name, make in NUMBERS.items()}
    write_figure(FIGURES[""](study, records, None, ()), Path("s"))
    figures = {"": Path("s")}
    Path("s.html").write_text(study_page(study, records, tables, figures, numbers))
    Path("index.html").write_text(index_page({"s": study}, {"s": records}))
    for name, title in (("s", as_line(attack)), ("index", "Studies")):
        page = opened(tmp_path / f"{name}.html")
        assert as_line(attack) in page.locator("main").inner_text()
        assert page.title() == title
        assert page.locator("main :is(img:not(figure img), svg, iframe, script, style)").count() == 0
        assert page.locator("a:not([href^='#'], [href='index.html'], [href='s.html'])").count() == 0


def test_a_browser_executes_and_loads_nothing_else_on_a_page(large, browser):
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(large.as_uri())
    page.evaluate(
        """() => {
            window.attacked = 0;
            const texts = ["<script>attacked = 1</script>", "<img src=http://192.0.2.1 onerror=attacked=2>"];
            for (const text of texts)
                document.body.append(document.createRange().createContextualFragment(text));
        }"""
    )
    page.wait_for_timeout(0)
    assert page.evaluate("attacked") == 0
    assert sum("Content Security Policy" in text for text in said) >= 2
    page.close()


@pytest.mark.parametrize("missing", [0, 3])
def test_a_page_reloads_only_while_runs_are_missing(missing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = study_of_runs(seeds=[0])
    records = measured(study)
    for run in list(records)[:missing]:
        del records[run]
    table = TABLES[""]("s", study, records, None)
    page = study_page(study, records, {"": table}, {}, {})
    assert ('id="reload"' in page) == bool(missing)
    assert page.count(">missing</td>") == missing
    index = index_page({"s": study, "t": study}, {"s": records, "t": records})
    assert f"{40 - missing} of 40 runs are completed" in index, "shared runs count once"
    assert ('id="reload"' in index) == bool(missing)


def test_a_table_that_the_page_does_not_know_has_a_section(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = study_of_runs(seeds=[0])
    table = Table(f"{study.title}: costs", "t", DataFrame(), DataFrame({"Device": ["A"], "Hours": ["1.5"]}))
    page = study_page(study, {}, {"": TABLES[""]("s", study, {}, None), "new_costs": table}, {}, {})
    assert '<h2 id="section-new_costs-heading">New costs</h2>' in page
    assert "<caption>Costs</caption>" in page
    assert '<td class="number" data-sort="1.5">1.5</td>' in page


def test_the_numbers_of_a_figure_are_what_it_draws(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = study_of_runs(seeds=[0, 1])
    records = measured(study)
    runs = study.points()[0][1]
    lost = study.points()[1][1][0]
    records[lost] = records[lost] | {"device_name": "Another processor"}
    last = [(Path(run.directory) / "history.tsv").read_text().split()[-1] for run in runs]
    curves = NUMBERS["curves"](study, records)
    assert curves.display["Epoch 30"][0] == f"{np.mean(list(map(float, last))):.2f}"
    assert curves.notes == ["Means over seeds. 10 of 30 epochs are listed."]
    times = [float(records[run]["train_time_ms"]) for run in runs]
    costs = NUMBERS["tradeoff"](study, records).display["Training time (ms) ↓"]
    assert costs[0] == f"{np.mean(times):.0f} ± {np.std(times, ddof=1):.0f}"
    assert "±" not in costs[1], "times of different devices are not compared"


# The contrast of two colours, by WCAG 2.2, and those of text on a page, each with what is behind it.
CONTRASTS = """() => {
    const parts = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (color) => {
        const [r, g, b] = parts(color).slice(0, 3).map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        const color = getComputedStyle(element).backgroundColor;
        return parts(color)[3] === 0 ? behind(element.parentElement) : color;
    };
    const names = ["h1", "header p", "nav a", "ol li", "figcaption", "summary", "tbody th", "th button",
        "td.best strong", "td.gap", "tbody tr:nth-child(even) td"];
    return Object.fromEntries(names.map((name) => {
        const element = document.querySelector(name);
        const [one, other] = [light(getComputedStyle(element).color), light(behind(element))];
        return [name, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)];
    }));
}"""


@pytest.mark.parametrize("media", ["screen", "print"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_each_scheme_and_on_paper(scheme, media, large, opened):
    page = opened(large)
    page.emulate_media(media=media, color_scheme=scheme)
    contrasts = page.evaluate(CONTRASTS)
    assert min(contrasts.values()) >= 4.5, contrasts
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light" or media == "print")


def test_a_printed_page_has_all_rows_and_figures_and_nothing_to_operate(large, opened):
    page = opened(large)
    # What a page of A4 has between margins of 1 cm, in pixels.
    page.set_viewport_size({"width": 718, "height": 1047})
    page.emulate_media(media="print")
    assert page.locator("nav, input, summary").filter(visible=True).count() == 0
    shown = page.locator("table:visible")
    assert shown.count() == 4, "those of figures are closed"
    assert shown.locator("tbody tr").count() == shown.locator("tbody tr:visible").count() > 20
    assert page.locator("figure img:visible").count() == len(FIGURES)
    widths = page.locator("table:visible, figure:visible").evaluate_all(
        "elements => elements.map((element) => element.getBoundingClientRect().right)"
    )
    assert max(widths) <= 718, "nothing is cut off"
    printed = page.pdf(format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "1cm"))
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12


@pytest.fixture
def running(tmp_path, monkeypatch) -> Callable[[int], Path]:
    """Makes the page of a study again at each call, with as many missing runs as it is told."""
    monkeypatch.chdir(tmp_path)
    study = study_of_runs(seeds=[0])
    records = measured(study)

    def made(missing: int) -> Path:
        there = dict(list(records.items())[missing:])
        tables = {name: TABLES[name]("s", study, there, None) for name in ("", "design")}
        (tmp_path / "s.html").write_text(study_page(study, there, tables, {}, {}))
        return tmp_path / "s.html"

    return made


def test_a_page_of_a_running_study_reloads_until_it_is_complete(running, opened):
    page = opened(running(3), clock=True)
    assert "37 of 40 runs are completed, 3 are missing." in page.locator("header").inner_text()
    assert page.locator("td.gap", has_text="missing").count() == 3
    for missing in (1, 0):
        running(missing)
        with page.expect_navigation():
            page.clock.fast_forward(60_000)
        assert f"{40 - missing} of 40 runs are completed" in page.locator("header").inner_text()
    assert page.locator("#reload").count() == 0
    page.evaluate("document.body.dataset.kept = 'yes'")
    page.clock.fast_forward(600_000)
    assert page.locator("body[data-kept]").count() == 1, "a complete page stays"


@pytest.mark.parametrize("touch", ["sort", "filter", "switch off"])
def test_a_page_that_is_in_use_does_not_reload(touch, running, opened):
    page = opened(running(3), clock=True)
    if touch == "sort":
        page.locator("#section-table").get_by_role("button", name="sgd").click()
        page.get_by_text("sorted by sgd, descending").wait_for(state="attached")
    elif touch == "filter":
        page.locator("#section-table").get_by_label("Filter rows").fill("resnet18")
    else:
        page.get_by_label("Reload this page").uncheck()
    page.evaluate("document.body.dataset.kept = 'yes'")
    page.clock.fast_forward(600_000)
    assert page.locator("body[data-kept]").count() == 1
