"""Escapes: text as text in Markdown, HTML, LaTeX, reStructuredText, and in the scripts of a page."""

import html
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from ablations.kinds.hyperparameters import spell
from ablations.readable import as_line


def _greek(letter: str) -> str:
    name = unicodedata.name(letter).split()[-1].replace("LAMDA", "LAMBDA")
    return rf"$\{name.capitalize() if letter.isupper() else name.lower()}$"


TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}",
    "±": r"$\pm$", "×": r"$\times$", "−": r"$-$", "≤": r"$\le$", "≥": r"$\ge$", "<": r"$<$", ">": r"$>$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "←": r"$\gets$", "≈": r"$\approx$",
    "≠": r"$\ne$", "∞": r"$\infty$", "·": r"$\cdot$", "√": r"$\surd$",
    **{letter: _greek(letter) for letter in "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"},
}  # fmt: skip
# Of GitHub's Markdown: what would begin a link, mathematics, code, emphasis, an entity or an HTML tag.
_MARKDOWN = re.compile(
    r"[\\`*$]|\](?=[(\[:])|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|~(?=~)|&(?=#?\w+;)|#(?=#*$)"
    r"|:(?=//)|(?<=\bwww)\."
)
# At the beginning of a paragraph: a heading, a list or a quotation.
_BLOCK = re.compile(r"\A[#>+=-]")
# Of reStructuredText: each sign may begin something, and a backslash takes the meaning of any.
_RST = re.compile(r"[!-/:-@\[-`{-~]")


def markdown(text: str) -> str:
    """Text as text in a paragraph of Markdown."""
    return _BLOCK.sub(r"\\\g<0>", _MARKDOWN.sub(r"\\\g<0>", text))


def markdown_cell(text: str) -> str:
    """Text as text in a cell of a Markdown table."""
    return _MARKDOWN.sub(r"\\\g<0>", text).replace("|", r"\|")


def html_text(text: str) -> str:
    """Text as text between the tags of HTML."""
    return html.escape(text, quote=False)


def rst(text: str) -> str:
    """Text as text in a paragraph of reStructuredText."""
    return _RST.sub(r"\\\g<0>", as_line(text))


def script_json(written: Any) -> str:
    """A section of a config as JSON that can stand in the script of a page, and ends none."""
    text = json.dumps(_with_text_keys(written))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _with_text_keys(written: Any) -> Any:
    """The same with the keys as a config spells them, where JSON would spell numbers in another way."""
    if isinstance(written, Mapping):
        return {spell(key): _with_text_keys(value) for key, value in written.items()}
    return [_with_text_keys(each) for each in written] if isinstance(written, list) else written


def tex(text: str) -> str:
    """Text as text in LaTeX."""
    escaped = "".join(TEX.get(letter, letter) for letter in text)
    # Ligatures, and what the end of the row above would take for an argument.
    escaped = re.sub(r"(?<=-)(?=-)|(?<=')(?=')", "{}", escaped)
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped[:1] in ("[", "*") else escaped
