"""Text of a config or a record is text in every format of a table, and runs nothing."""

import html
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from ablations.presentation.document import Table
from ablations.presentation.escapes import rst, script_json
from ablations.readable import as_line
from docutils.core import publish_parts
from latex import PACKAGES, compiled, needs_latex
from markdown_it import MarkdownIt
from payloads import FORMULAS, LATEX, PAGES, SECRETS, TERMINALS

EVERY = [*PAGES, *LATEX, *TERMINALS, *FORMULAS, *SECRETS]
# A frame holds no halves of letters, and no file of UTF-8 does.
EVERY.remove("\udc1b\udcff")
# What Snakemake adds to each caption.
LINKS = "\n\n.. _Workflow: javascript:show_panel('workflow')\n.. _networks.html: javascript:app.show()\n"


class Read(HTMLParser):
    """The elements, the attributes and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements, self.attributes, self.text = set(), set(), ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def table_of(text: str) -> Table:
    frame = pd.DataFrame([{"a": text, text: "b"}])
    return Table(text, "t", frame.assign(n=None, i=1), frame, [text, f"{text}: it is so"])


@pytest.mark.parametrize("text", EVERY)
def test_a_page_of_a_table_shows_text(text):
    page = Read(table_of(text).html())
    usual = Read(table_of("x").html())
    assert (page.elements, page.attributes) == (usual.elements, usual.attributes)
    assert page.text.count(as_line(text)) >= 6 if as_line(text) else True


@pytest.mark.parametrize("text", EVERY)
def test_markdown_shows_text(text):
    """As CommonMark reads it, with GitHub's tables."""
    shown = MarkdownIt("commonmark").enable("table").render(table_of(text).markdown())
    allowed = {"h3", "table", "thead", "tbody", "tr", "th", "td", "ol", "li"}
    page = Read(shown)
    assert page.elements == allowed
    assert page.attributes <= {"style"}
    # GitHub also makes links of bare addresses.
    assert not re.search(r"(?<!\\):(?=//)|www\.", table_of(text).markdown())


@pytest.mark.parametrize("text", EVERY)
def test_a_caption_shows_text(text):
    page = Read(publish_parts(f"**{rst(text)}.** A cell{LINKS}", writer="html")["body"])
    assert page.elements <= {"p", "strong"}
    assert page.text.strip() == f"{as_line(text)}. A cell"


@pytest.mark.parametrize("text", EVERY)
def test_json_ends_no_script(text):
    section = {"title": text, "labels": {text: 1}, "levels": {0.1: "a", True: "b", 1e16: "c"}}
    written = script_json(section)
    assert not set("<>&") & set(written)
    assert written.isascii()
    assert json.loads(written) == section | {"levels": {"0.1": "a", "true": "b", "1e16": "c"}}


@pytest.mark.parametrize("text", EVERY)
def test_a_tsv_has_no_formula(text, tmp_path):
    table_of(text).write(tmp_path / "t")
    lines = (tmp_path / "t.tsv").read_text(encoding="utf-8").split("\n")
    assert len(lines) == 3
    fields = [field for line in lines for field in line.split("\t")]
    assert not [field for field in fields if field.strip('"').startswith(tuple("=+-@＝"))]
    assert "".join(fields).isprintable()


@needs_latex
def test_latex_sets_text(tmp_path):
    """All at once: to start LaTeX takes a second."""
    tables = [table_of(text).latex() for text in EVERY if as_line(text).isascii()]
    # More floats than that LaTeX cannot hold back.
    body = "\n\\clearpage\n".join(tables)
    packages = r"\usepackage[T1]{fontenc}" + PACKAGES
    compiled(tmp_path, body, packages, ("-shell-escape", "-recorder"))
    assert not (tmp_path / "attacked").exists()
    assert "passwd" not in (tmp_path / "document.fls").read_text()


def test_the_texts_are_escaped_once():
    assert "<td>a &lt; b</td>" in table_of("a < b").html()
    assert html.unescape("a &lt; b") in Read(table_of("a < b").html()).text
