"""A table as a document: TSV, Markdown, LaTeX and HTML of the same content."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ablations.files import write_text
from ablations.presentation import layout
from ablations.presentation.decimal_columns import SETUP, DecimalColumn, decimal_columns
from ablations.presentation.escapes import TEX, html_text, markdown, markdown_cell, tex
from ablations.presentation.headings import Heads, group_starts, ruled, shown_once
from ablations.readable import as_field, as_line


@dataclass
class Table:
    """A table in two forms with the same content: `data` for programs, `display` for readers."""

    title: str
    label: str
    data: pd.DataFrame
    display: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    # The cells of `display` in bold, by the numbers of their row and column.
    bold: frozenset[tuple[int, int]] = frozenset()
    # Paragraphs below it, each with its heading.
    text: list[tuple[str, str]] = field(default_factory=list)
    # What stands above each other in the headings of columns that have several levels, from above.
    heads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Whether rows with the same first cell are a group, which has this cell once.
    groups: bool = False
    # What LaTeX has in place of `display`: fewer columns, with line breaks in their cells.
    printed: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        # A record or a config of another person may hold anything.
        self.title, self.notes = as_line(self.title), [as_line(note) for note in self.notes]
        self.text = [(heading, as_line(paragraph)) for heading, paragraph in self.text]
        if self.printed is not None:
            self.printed = _changed(self.printed, lambda text: "\n".join(map(as_line, text.split("\n"))))
        self.display, self.data = _changed(self.display, as_line), _changed(self.data, as_field)
        self.heads = {as_line(name): tuple(map(as_line, head)) for name, head in self.heads.items()}

    @property
    def _starts(self) -> set[int]:
        """The rows that begin a group."""
        return group_starts(list(self.display.iloc[:, 0])) if self.groups else set()

    def _cells(self, display: pd.DataFrame, escape: Callable[[str], str], bold: str) -> pd.DataFrame:
        """The cells of a display as text of a format, in which `bold` is a cell in bold."""
        cells = display.map(escape)
        for row, column in self.bold:
            cells.iloc[row, column] = bold.format(cells.iloc[row, column])
        return cells

    def markdown(self) -> str:
        """The table in GitHub's Markdown, with the notes below it."""
        cells = shown_once(self._cells(self.display, markdown_cell, "**{}**"), self._starts).rename(
            columns=markdown_cell
        )
        sides = layout.sides(self.display) if len(cells) else None
        body = cells.to_markdown(index=False, disable_numparse=True, colalign=sides)
        notes = "".join(f"\n{i}. {markdown(note)}" for i, note in enumerate(self.notes, 1))
        text = "".join(f"\n**{heading}.** {markdown(paragraph)}\n" for heading, paragraph in self.text)
        return f"### {markdown(self.title)}\n\n{body}\n" + (f"{notes}\n" if notes else "") + text

    def latex(self) -> str:
        """A booktabs table that compiles in a document with the packages that its first line names.

        A table of many rows is a longtable. Any other that is wider than the text is scaled down; columns of
        sentences are broken into lines, so that it is scaled less.
        """
        display = self.display if self.printed is None else self.printed
        is_long = len(display) > layout.MOST_ROWS
        caption = f"\\caption{{{tex(self.title)}}}"
        label = f"\\label{{tab:{self.label}}}"
        aligned = decimal_columns(display)
        body = self._tabular(display, aligned, is_long)
        notes = " ".join(f"[{i}] {tex(note)}" for i, note in enumerate(self.notes, 1))
        foreign = _beyond_pdftex("".join([self.title, body, notes, *(words for _, words in self.text)]))
        text = [rf"\paragraph{{{heading}.}} {{\sloppy {tex(words)}\par}}" for heading, words in self.text]
        below = [f"\\par\\smallskip\\raggedright\\footnotesize {notes}"] if notes else []
        packages = ("booktabs,longtable" if is_long else "booktabs,graphicx") + ",siunitx" * bool(aligned)
        setup = [SETUP] * bool(aligned)
        lines = [
            f"% needs \\usepackage{{{packages}}}",
            *([f"% needs XeLaTeX or LuaLaTeX, and a font that has {foreign}"] if foreign else []),
        ]
        if is_long:
            first = body.index("\n") + 1
            table = f"{body[:first]}{caption}{label}\\\\\n{body[first:]}".rstrip("\n")
            lines += [f"\\begingroup\\setlength{{\\tabcolsep}}{{3pt}}\\{layout.latex_size(display)}"]
            lines += [*setup, table, *below, "\\par\\endgroup", *text]
            return "\n".join(lines) + "\n"
        # Where a page has two columns of text, a wide table takes both.
        environment = "table*" if layout.is_wide(display) else "table"
        if len(notes) > layout.MOST_NOTES:
            # More than these would not fit on a page with the table.
            words = f"Notes on Table~\\ref{{tab:{self.label}}}: {notes}"
            below, text = [], [rf"\par\noindent{{\raggedright\footnotesize {words}\par}}", *text]
        lines += [
            f"\\begin{{{environment}}}",
            "\\centering",
            caption,
            label,
            *setup,
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            body.rstrip("\n") + "}",
            *below,
            f"\\end{{{environment}}}",
            *text,
        ]
        return "\n".join(lines) + "\n"

    def _tabular(self, display: pd.DataFrame, aligned: Mapping[int, DecimalColumn], is_long: bool) -> str:
        """The rows of a display as a tabular or longtable, with the columns of `aligned` set by siunitx."""
        cells = self._cells(display, tex, r"\textbf{{{}}}")
        for i, column in aligned.items():
            texts = enumerate(display.iloc[:, i])
            cells.isetitem(i, [column.cell(text, (row, i) in self.bold) for row, text in texts])
        for i, is_broken in enumerate(layout.has_sentences(display)):
            if i not in aligned:
                break_lines = layout.latex_lines if is_broken else layout.latex_stacked
                cells.isetitem(i, cells.iloc[:, i].map(break_lines))
        if self.printed is not None:
            # Space shows which lines belong to one row.
            cells.isetitem(
                0, [r"\addlinespace " * (row > 0) + text for row, text in enumerate(cells.iloc[:, 0])]
            )
        # Not as `header`, in which pandas takes braces for those of Python.
        heads = Heads(list(display), self.heads)
        headings = layout.latex_headings(display, tex, heads.lowest)
        cells.columns = pd.Index([f"{{{name}}}" if i in aligned else name for i, name in enumerate(headings)])
        sides = [side[0] for side in layout.sides(display)]
        columns = [aligned[i].preamble if i in aligned else side for i, side in enumerate(sides)]
        if not is_long:
            cells = shown_once(cells, self._starts, r"\midrule ")
        body = cells.to_latex(
            index=False,
            escape=False,
            column_format="".join(columns),
            longtable=is_long,
        )
        return heads.in_latex(body)

    def html(self) -> str:
        """A complete page without external files."""
        cells = shown_once(self._cells(self.display, html_text, "<strong>{}</strong>"), self._starts)
        heads = Heads(list(self.display), self.heads)
        cells.columns = pd.Index(map(html_text, heads.lowest))
        table = cells.to_html(index=False, escape=False, border=0).replace("<th>", '<th scope="col">')
        body = ruled(heads.in_html(table), self._starts)
        notes = "".join(f"<li>{html_text(note)}</li>" for note in self.notes)
        text = "".join(f"<p><strong>{head}.</strong> {html_text(words)}</p>\n" for head, words in self.text)
        title = html_text(self.title)
        columns = layout.html_style(self.display)
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
            f"<style>{_STYLE}{columns}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}\n"
            + (f"<ol>{notes}</ol>\n" if notes else "")
            + text
            + "</body>\n</html>\n"
        )

    def write(self, base: Path) -> None:
        """Write `base`.tsv, .md, .tex and .html, each atomically."""
        write_text(
            base.with_name(base.name + ".tsv"),
            self.data.to_csv(sep="\t", index=False, lineterminator="\n"),
        )
        write_text(base.with_name(base.name + ".md"), self.markdown())
        write_text(base.with_name(base.name + ".tex"), self.latex())
        write_text(base.with_name(base.name + ".html"), self.html())


def _changed(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The frame with its texts and the names of its columns changed."""
    changed = frame.map(lambda value: change(value) if isinstance(value, str) else value)
    return changed.rename(columns=change)


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;margin:2em}h1{font-size:1.2em}"
    "table{border-collapse:collapse;border-top:2px solid #222;border-bottom:2px solid #222}"
    "th{text-align:left;border-bottom:1px solid #222}th,td{padding:.25em .8em;vertical-align:top}"
    "thead th.group{text-align:center;border-bottom-color:#bbb}"
    "tr.group td{border-top:1px solid #222}"
    "th,td{white-space:nowrap;font-variant-numeric:tabular-nums}tr:nth-child(even) td{background:#f5f5f5}"
    "ol{color:#555;max-width:60em}p{max-width:60em}"
)


def _beyond_pdftex(text: str) -> str:
    """The letters of a script that pdfLaTeX does not know."""
    foreign = (
        letter
        for letter in text
        if unicodedata.category(letter)[0] in "LMS" and ord(letter) > 0x17F and letter not in TEX
    )
    return "".join(dict.fromkeys(foreign))
