"""A table as a document: TSV, Markdown, LaTeX and HTML of the same content."""

import html
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
        body = self.display.map(lambda text: text.replace("|", "\\|")).to_markdown(
            index=False, disable_numparse=True
        )
        notes = "".join(f"\n{i}. {note}" for i, note in enumerate(self.notes, 1))
        return f"### {self.title}\n\n{body}\n" + (f"{notes}\n" if notes else "")

    def latex(self) -> str:
        """A booktabs table that compiles in a document with the two packages that its first line names."""
        body = self.display.map(_tex).to_latex(
            index=False,
            escape=False,
            header=[_tex(str(name)) for name in self.display.columns],
            column_format="l" * len(self.display.columns),
        )
        notes = " ".join(f"[{i}] {_tex(note)}" for i, note in enumerate(self.notes, 1))
        lines = [
            "% needs \\usepackage{booktabs,graphicx}; a table wider than the text is scaled down",
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
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "×": r"$\times$", "−": r"$-$", "≤": r"$\le$", "<": r"$<$", ">": r"$>$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)
