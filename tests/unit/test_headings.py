"""Headings of several levels, and groups of rows, in each format of a table."""

import re
from html.parser import HTMLParser

import pytest
from ablations.config.sections import ConfigError
from ablations.presentation.figures import FIGURES
from ablations.presentation.study_table import study_table
from latex import compiled, needs_latex
from test_parts import BLOCK, load
from test_tables import record

GRID = BLOCK | {
    "dataset": ["mnist", "fashion_mnist"],
    "model": ["resnet18", "resnet50"],
    "batch_size": [16, 32],
    "lr": [0.1, 0.01],
}
TABLE = {"rows": ["optimizer", "lr", "batch_size"], "columns": ["dataset", "model"]}


def made(**changes):
    study = load(**{"grid": [GRID], "sample": ..., "seeds": [0, 1], "table": TABLE} | changes)
    records = {run: record(run, test_accuracy=str(90 + i % 7 / 10)) for i, run in enumerate(study.runs())}
    return study, records, study_table("s", study, records)


class Grid(HTMLParser):
    """How many columns each row of a page's table has."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.widths.append(0)
        elif tag in ("td", "th"):
            self.widths[-1] += int(dict(attrs).get("colspan", 1))


def test_a_column_stands_for_a_level_of_each_of_several_hyperparameters():
    _, _, table = made()
    assert list(table.display)[3:] == [
        "mnist, resnet18", "mnist, resnet50", "fashion_mnist, resnet18", "fashion_mnist, resnet50",
    ]  # fmt: skip
    assert {"mnist/resnet18", "mnist/resnet18_sd", "fashion_mnist/resnet50_n"} <= set(table.data)
    assert "| mnist, resnet18 |" in re.sub(" +", " ", table.markdown())


def test_upper_levels_span_their_columns_in_latex_and_html():
    _, _, table = made()
    latex = table.latex()
    assert (
        r"\multicolumn{3}{c}{} & \multicolumn{2}{c}{mnist} & \multicolumn{2}{c}{fashion\_mnist} \\" in latex
    )
    assert r"\cmidrule(lr){4-5} \cmidrule(lr){6-7}" in latex
    assert "{resnet18} & {resnet50} & {resnet18} & {resnet50}" in latex
    page = table.html()
    assert page.count('<th class="group" colspan="2" scope="colgroup">') == 2
    grid = Grid()
    grid.feed(page)
    assert set(grid.widths) == {7}


def test_columns_have_the_order_of_the_grid_where_a_row_lacks_one():
    _, _, table = made(exclude=[{"dataset": "mnist", "model": "resnet18", "optimizer": "sgd"}])
    assert list(table.display)[3:5] == ["mnist, resnet18", "mnist, resnet50"]
    assert table.display.iloc[0, 3] == "–"
    assert table.latex().count("{mnist}") == 1


def test_differences_stand_under_the_level_of_their_column():
    _, _, table = made(baseline={"optimizer": "sgd", "lr": 0.1, "batch_size": 16})
    assert r"\multicolumn{4}{c}{} & \multicolumn{4}{c}{mnist}" in table.latex()
    assert next(name for name in table.display if name.startswith("Δ")) == "Δ mnist, resnet18"
    # Each column is compared with its own point.
    assert list(table.display.iloc[0])[-1] == ""


def test_a_group_of_rows_is_named_once():
    _, _, table = made()
    body = table.latex().split(r"\midrule")
    assert len(body) == 3
    assert [part.count("sgd") for part in body] == [0, 1, 0]
    assert body[2].lstrip().startswith("adam &")
    names = re.findall(r"^\| (\w*) ", table.markdown(), re.M)
    assert names == ["Optimizer", "sgd", *[""] * 3, "adam", *[""] * 3]
    page = table.html()
    assert [page.count(f"<td>{name}</td>") for name in ("sgd", "adam")] == [1, 1]
    assert page.count('<tr class="group">') == 1
    assert page.index('<tr class="group">') < page.index("<td>adam</td>")
    # Each row a group, or all of one: nothing to group.
    _, _, alone = made(table={"rows": ["lr", "optimizer"], "columns": ["dataset", "model", "batch_size"]},
                       exclude=[{"optimizer": "adam"}])  # fmt: skip
    assert alone.latex().count(r"\midrule") == 1
    assert alone.markdown().count("| sgd") == 2
    assert "tr class" not in alone.html()


def test_a_long_table_repeats_its_headings_and_names_each_row():
    _, _, table = made(grid=[GRID | {"lr": [i / 1000 for i in range(1, 13)]}])
    latex = table.latex()
    assert latex.count(r"\cmidrule(lr){4-5}") == 2
    assert latex.count("sgd &") == 24


def test_all_figures_of_such_a_study_are_drawn():
    import matplotlib.pyplot as plt

    study, records, _ = made()
    for draw in FIGURES.values():
        plt.close(draw(study, {} if draw is FIGURES["curves"] else records, None, ()))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (["dataset", "modl"], "table.columns: 'modl' is not a hyperparameter.*did you mean 'model'"),
        (["dataset", "lr"], "'lr' is named twice"),
        (["dataset", "dataset"], "table.columns: it holds .*; it holds 'dataset' twice"),
        ([], "table.columns: it holds .* an empty list"),
        (["dataset"], "model varies in the grid, but is neither in rows nor in columns"),
    ],
)
def test_wrong_columns_are_refused(columns, sentence):
    with pytest.raises(ConfigError, match=sentence):
        made(table=TABLE | {"columns": columns})


@needs_latex
def test_such_tables_compile(tmp_path):
    texts = [
        made()[2].latex(),
        made(grid=[GRID | {"lr": [i / 1000 for i in range(1, 13)]}])[2].latex(),
        made(table={"rows": "optimizer", "columns": ["dataset", "model", "batch_size", "lr"]},
             level_labels={"dataset": {"mnist": "100 % of_it & more"}})[2].latex(),
    ]  # fmt: skip
    compiled(tmp_path, "".join(texts))
