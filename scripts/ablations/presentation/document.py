"""A table as a document: TSV, Markdown, LaTeX and HTML of the same content."""

import html
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ablations.files import write_text


@dataclass
class Table:
    """A table in two forms with the same content: `data` for programs, `display` for readers."""

    title: str
    label: str
    data: pd.DataFrame
    display: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table in GitHub's Markdown, with the notes below it."""
        cells = self.display.map(_cell).rename(columns=_cell)
        body = cells.to_markdown(index=False, disable_numparse=True)
        notes = "".join(f"\n{i}. {_markdown(note)}" for i, note in enumerate(self.notes, 1))
        return f"### {_markdown(self.title)}\n\n{body}\n" + (f"{notes}\n" if notes else "")

    def latex(self) -> str:
        """A booktabs table that compiles in a document with the two packages that its first line names."""
        body = self.display.map(_tex).to_latex(
            index=False,
            escape=False,
            header=[_tex(str(name)) for name in self.display.columns],
            column_format="l" * len(self.display.columns),
        )
        notes = " ".join(f"[{i}] {_tex(note)}" for i, note in enumerate(self.notes, 1))
        foreign = _beyond_pdftex("".join([self.title, body, notes]))
        lines = [
            "% needs \\usepackage{booktabs,graphicx}; a table wider than the text is scaled down",
            *([f"% needs XeLaTeX or LuaLaTeX, and a font that has {foreign}"] if foreign else []),
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{_tex(self.title)}}}",
            f"\\label{{tab:{self.label}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            body.rstrip("\n") + "}",
            *([f"\\par\\smallskip\\footnotesize {notes}"] if notes else []),
            "\\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """A complete page without external files."""
        body = self.display.to_html(index=False, escape=True, border=0)
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        title = html.escape(self.title)
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
            f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}\n"
            + (f"<ol>{notes}</ol>\n" if notes else "")
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


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;margin:2em}h1{font-size:1.2em}"
    "table{border-collapse:collapse;border-top:2px solid #222;border-bottom:2px solid #222}"
    "th{text-align:left;border-bottom:1px solid #222}th,td{padding:.25em .8em;vertical-align:top}"
    "th,td:not(:last-child){white-space:nowrap}tr:nth-child(even) td{background:#f5f5f5}"
    "ol{color:#555;max-width:60em}"
)


def _greek(letter: str) -> str:
    name = unicodedata.name(letter).split()[-1].replace("LAMDA", "LAMBDA")
    return rf"$\{name.capitalize() if letter.isupper() else name.lower()}$"


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}",
    "±": r"$\pm$", "×": r"$\times$", "−": r"$-$", "≤": r"$\le$", "≥": r"$\ge$", "<": r"$<$", ">": r"$>$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "←": r"$\gets$", "≈": r"$\approx$",
    "≠": r"$\ne$", "∞": r"$\infty$", "·": r"$\cdot$", "√": r"$\surd$",
    **{letter: _greek(letter) for letter in "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"},
}  # fmt: skip
# Of GitHub's Markdown: what would begin a link, mathematics, code, emphasis, an entity or an HTML tag.
_MARKDOWN = re.compile(r"[\\`*$]|\](?=[(\[])|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|~(?=~)|&(?=#?\w+;)|#(?=#*$)")


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text)


def _cell(text: str) -> str:
    return _markdown(text).replace("|", r"\|")


def _tex(text: str) -> str:
    escaped = "".join(_TEX.get(letter, letter) for letter in text)
    # Ligatures, and what the end of the row above would take for an argument.
    escaped = re.sub(r"(?<=-)(?=-)|(?<=')(?=')", "{}", escaped)
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped[:1] in ("[", "*") else escaped


def _beyond_pdftex(text: str) -> str:
    """The letters of a script that pdfLaTeX does not know."""
    foreign = (
        letter
        for letter in text
        if unicodedata.category(letter)[0] in "LMS" and ord(letter) > 0x17F and letter not in _TEX
    )
    return "".join(dict.fromkeys(foreign))
