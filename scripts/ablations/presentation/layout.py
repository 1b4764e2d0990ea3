"""Layout of the columns of a table: numbers at the right, sentences and long headings in lines."""

import re
import textwrap
from collections.abc import Callable, Sequence

import pandas as pd

# With a sign or a unit, but not a number of things: `20,000 test images`.
NUMBER = re.compile(r"(< )?[+−×±-]?[0-9](?![0-9,]* [a-z])")
# Cells of a column of numbers that are none.
NO_NUMBERS = {"", "–", "missing", "diverged"}
# In letters: a longer cell is a sentence.
LONGEST_CELL = 40
# A LaTeX table of more rows does not fit on a page.
MOST_ROWS = 40
# Nor do more letters of notes below one.
MOST_NOTES = 2000
# Letters that fit in a line of text, and so in that of a longtable with letters of these sizes.
TEXT_LETTERS = 65
LATEX_SIZES = ((62, "small"), (72, "footnotesize"), (82, "scriptsize"))


def sides(display: pd.DataFrame) -> list[str]:
    """The side at which each column is aligned: `right` for numbers."""
    columns = [[text for text in display[column] if text not in NO_NUMBERS] for column in display]
    return ["right" if cells and all(map(NUMBER.match, cells)) else "left" for cells in columns]


def has_sentences(display: pd.DataFrame) -> list[bool]:
    """Whether each column has cells that are broken into lines."""
    return [width > LONGEST_CELL for width in _widths(display)]


def is_wide(display: pd.DataFrame) -> bool:
    """Whether the cells alone are wider than the text of a page."""
    return sum(_widths(display)) > TEXT_LETTERS


def _widths(display: pd.DataFrame) -> list[int]:
    """The longest line in the cells of each column in letters, without its heading."""
    lines = ([line for text in display[column] for line in text.split("\n")] for column in display)
    return [max(map(len, of_column), default=0) for of_column in lines]


def html_style(display: pd.DataFrame) -> str:
    """The style of columns of numbers or sentences."""
    rules = []
    for i, (side, long) in enumerate(zip(sides(display), has_sentences(display), strict=True), 1):
        if long:
            rules.append(f"td:nth-child({i}){{min-width:20em;white-space:normal}}")
        elif side == "right":
            rules.append(f"td:nth-child({i}),th:nth-child({i}){{text-align:right}}")
    return "".join(rules)


def latex_lines(text: str) -> str:
    """A sentence in a cell, already escaped, broken into lines."""
    return rf"\parbox[t]{{0.4\linewidth}}{{\raggedright\strut {text}\strut}}"


def latex_stacked(text: str) -> str:
    """The lines of a cell, already escaped, below each other."""
    if "\n" not in text:
        return text
    lines = r" \\ ".join(text.split("\n"))
    return rf"\begin{{tabular}}[t]{{@{{}}l@{{}}}}{lines}\end{{tabular}}"


def latex_headings(
    display: pd.DataFrame, escape: Callable[[str], str], names: Sequence[str] | None = None
) -> list[str]:
    """The headings, or these, in several lines if they make a table wider than the text of a page."""
    names, widths = names or list(display), _widths(display)
    if sum(map(max, map(len, names), widths)) <= TEXT_LETTERS:
        return list(map(escape, names))
    headings = []
    for name, width, side in zip(names, widths, sides(display), strict=True):
        # The arrow stays with the word before it.
        kept = re.sub(" (?=[↑↓])", "\u00a0", name)
        widest = max(width, *map(len, name.split()), 1)
        lines = textwrap.wrap(kept, widest, break_long_words=False, break_on_hyphens=False)
        stacked = r"\\".join(escape(line.replace("\u00a0", " ")) for line in lines)
        headings.append(rf"\shortstack[{side[0]}]{{{stacked}}}" if len(lines) > 1 else escape(name))
    return headings


def latex_size(display: pd.DataFrame) -> str:
    """The size of letters with which a longtable is as wide as the text, or the smallest."""
    letters = sum(_widths(display)) + 3 * len(display.columns)
    return next((name for most, name in LATEX_SIZES if letters <= most), "tiny")
