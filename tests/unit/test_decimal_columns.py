"""Columns of numbers in LaTeX, which siunitx aligns at the decimal point."""

import pytest
from ablations.presentation.decimal_columns import DecimalColumn, decimal_columns
from ablations.presentation.document import Table
from latex import compiled, needs_latex
from pandas import DataFrame
from payloads import LATEX

CELLS = {
    "98.61": "98.61",
    "98.61 ± 0.08": r"98.61{ $\pm$ 0.08}",
    "8.6 ± 10.1 (n = 2)": r"8.6{ $\pm$ 10.1 (n = 2)}",
    "99.2 [98.7, 99.7]": "99.2{ [98.7, 99.7]}",
    "−0.52 (−0.80 to −0.24) *": r"-0.52{ ($-$0.80 to $-$0.24) *}",
    "+0.25 to +0.40": "+0.25{ to +0.40}",
    "< 0.001": "{$<$ }0.001",
    "×0.974": r"{$\times$}0.974",
    "±0.3": r"{$\pm$}0.3",
    "1e-05": "1{e-05}",
    "0.1*": "0.1{{*}}",
    "3x3": "3{x3}",
    "1.2.3": "1.2{.3}",
    "missing": "{missing}",
    "–": "{–}",
    "": "",
}


@pytest.mark.parametrize(("text", "cell"), CELLS.items())
def test_a_cell_has_its_number_and_what_else_in_braces(text, cell):
    column = DecimalColumn([text])
    assert column.cell(text, is_bold=False) == cell
    assert column.cell(text, is_bold=True) in ("", rf"\bfseries {cell}", rf"{{\bfseries {cell[1:]}")


def test_a_column_has_the_space_that_its_cells_need():
    texts = ["98.61 ± 0.08", "−8.6 ± 10.1 (n = 2)", "< 0.001", "missing"]
    assert DecimalColumn(texts).preamble == (
        r"S[table-format=+2.3,table-space-text-pre={$<$ },table-space-text-post={ $\pm$ 10.1 (n = 2)}]"
    )
    assert DecimalColumn(["12", "0.5"]).preamble == "S[table-format=2.1]"


@pytest.mark.parametrize(
    ("texts", "is_aligned"),
    [
        (["1", "10", "missing"], False),
        (["1,234", "×12,345", "1.5"], False),
        (["20 images", "30 images"], False),
        (["resnet18", "0.5"], False),
        (["12 ± 1", "8 ± 3"], True),
        (["0.1", "10"], True),
        (["0.1", "–", ""], True),
        ([], False),
    ],
)
def test_columns_with_decimals_or_text_behind_numbers_are_aligned(texts, is_aligned):
    assert bool(decimal_columns(DataFrame({"x": texts}, dtype=object))) is is_aligned


def test_a_table_names_siunitx_only_if_it_needs_it():
    one, other = DataFrame({"a": ["1", "20"]}), DataFrame({"a": ["1", "2.5"]})
    first, second = (Table("T", "t", frame, frame).latex() for frame in (one, other))
    assert "siunitx" not in first
    assert "sisetup" not in first
    assert second.startswith("% needs \\usepackage{booktabs,graphicx,siunitx}\n")


def test_a_long_number_stays_one():
    """Not a sentence, which would be broken into lines where siunitx does not see a number."""
    long = "−10.5213 (−10.8012 to −10.2412) * ≈ (n = 2)"
    frame = DataFrame({"a": [long, "0.1"]})
    latex = Table("T", "t", frame, frame).latex()
    assert "parbox" not in latex
    assert "-10.5213{ ($-$10.8012" in latex


@needs_latex
def test_minus_signs_are_of_no_font_of_bitmaps(tmp_path):
    frame = DataFrame({"a": ["−1.25", "−0.5"]})
    compiled(tmp_path, "\\pdfobjcompresslevel=0 " + Table("T", "t", frame, frame).latex())
    content = (tmp_path / "document.pdf").read_bytes()
    assert b"/Type1" in content
    assert b"/Type3" not in content


@needs_latex
def test_such_columns_compile_alone_in_bold_in_groups_and_over_pages(tmp_path):
    texts = [*CELLS, *(f"0.5 {text}" for text in LATEX if text.isascii())]
    one = DataFrame({text: [text, "0.25", "1.5"] for text in texts})
    groups = DataFrame({"lr": ["0.1", "0.1", "0.01"], "x": ["−1.5 ± 0.1", "20 ± 3", "missing"]})
    long = DataFrame({"lr": ["0.1"] * 45, "x": ["1.5 ± 0.1", "diverged", "10"] * 15})
    bold = frozenset((row, 1) for row in range(3))
    tables = [
        *(Table(name, "t", part, part, bold=frozenset({(0, 0), (1, 0)}))
          for name in one if not (part := one[[name]]).empty),
        Table("G", "g", groups, groups, bold=bold, groups=True),
        Table("L", "l", long, long, bold=bold, groups=True),
    ]  # fmt: skip
    compiled(tmp_path, "\n\\clearpage\n".join(table.latex() for table in tables))
