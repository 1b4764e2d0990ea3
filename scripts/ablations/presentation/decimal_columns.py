"""Columns of numbers in a LaTeX table, which siunitx aligns at the decimal point."""

import re
from collections.abc import Collection

import pandas as pd

from ablations.presentation import layout
from ablations.presentation.escapes import tex

# A number, what may stand before it, and the text after it: `< 0.001`, `+0.25 to +0.40`, `98.61 ± 0.08`.
_PARTS = re.compile(
    r"(?P<before>< |[×±])?(?P<sign>[+−-])?(?P<whole>[0-9]+)(\.(?P<part>[0-9]+))?(?P<after>.*)"
)
# Both major versions of siunitx know these options. Numbers stand as they are written.
SETUP = (
    # In text, the minus sign is of another font, which may be one of bitmaps, and which is copied as "=".
    r"\renewcommand{\textminus}{\ensuremath{-}}"
    r"\sisetup{mode=text,detect-weight,retain-explicit-plus,group-digits=false,"
    "table-align-text-pre=false,table-align-text-post=false}"
)


class DecimalColumn:
    """A column of numbers with what stands around them."""

    def __init__(self, texts: Collection[str]) -> None:
        self._parts = {text: found for text in texts if (found := _PARTS.fullmatch(text))}

    @property
    def is_ragged(self) -> bool:
        """Whether numbers at the right would not stand below each other digit by digit."""
        parts = self._parts.values()
        grouped = any(re.match(r",\d", found["after"]) for found in parts)
        return not grouped and any(found["part"] or found["after"] for found in parts)

    @property
    def preamble(self) -> str:
        """The column in the preamble of a tabular, with the space that its numbers and texts need."""
        parts = self._parts.values()
        sign = "+" if any(found["sign"] for found in parts) else ""
        whole, part = (max(len(found[name] or "") for found in parts) for name in ("whole", "part"))
        options = [f"table-format={sign}{whole}.{part}"]
        for name, side in (("before", "pre"), ("after", "post")):
            longest = max((found[name] or "" for found in parts), key=len)
            options += [f"table-space-text-{side}={{{tex(longest)}}}"] if longest else []
        return f"S[{','.join(options)}]"

    def cell(self, text: str, is_bold: bool) -> str:
        """A cell: its number as it is, and other text in braces."""
        bold = r"\bfseries " if is_bold and text else ""
        if not (found := self._parts.get(text)):
            return f"{{{bold}{tex(text)}}}" if text else ""
        before, after = (f"{{{tex(found[name])}}}" if found[name] else "" for name in ("before", "after"))
        sign = (found["sign"] or "").replace("−", "-")
        part = f".{found['part']}" if found["part"] else ""
        return f"{bold}{before}{sign}{found['whole']}{part}{after}"


def decimal_columns(display: pd.DataFrame) -> dict[int, DecimalColumn]:
    """The columns that are aligned at the decimal point, by their places."""
    columns = {
        i: DecimalColumn(list(display.iloc[:, i]))
        for i, side in enumerate(layout.sides(display))
        if side == "right"
    }
    return {i: column for i, column in columns.items() if column.is_ragged}
