"""Headings of several levels: a level above others spans their columns."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from ablations.presentation.escapes import html_text, tex


class Heads:
    """The headings of the columns of a table, of which some have levels above them."""

    def __init__(self, names: Sequence[str], heads: Mapping[str, tuple[str, ...]]) -> None:
        self._heads = [heads.get(name, (name,)) for name in names]
        self._depth = max(map(len, self._heads), default=1)

    @property
    def lowest(self) -> list[str]:
        """The headings right above the cells."""
        return [head[-1] for head in self._heads]

    def _spans(self, level: int) -> Iterator[tuple[str, int]]:
        """The headings of a level above the lowest, and how many columns each spans; empty over none."""
        above = [head[: level + 1] if len(head) > level + 1 else () for head in self._heads]
        for head, columns in itertools.groupby(above):
            yield (head[-1] if head else "", len(list(columns)))

    def in_latex(self, tabular: str) -> str:
        """A tabular of pandas with the upper levels, each with a rule over what it spans."""
        lines = ""
        for level in range(self._depth - 1):
            spans = list(self._spans(level))
            cells = [rf"\multicolumn{{{n}}}{{c}}{{{tex(name)}}}" for name, n in spans]
            ends = itertools.accumulate(n for _, n in spans)
            rules = [
                rf"\cmidrule(lr){{{end - n + 1}-{end}}}"
                for (name, n), end in zip(spans, ends, strict=True)
                if name
            ]
            lines += f"{' & '.join(cells)} \\\\\n{' '.join(rules)}\n"
        return tabular.replace("\\toprule\n", f"\\toprule\n{lines}")

    def in_html(self, table: str) -> str:
        """A table of pandas with the upper levels."""
        rows = "".join(
            "<tr>"
            + "".join(
                f'<th class="group" colspan="{n}" scope="colgroup">{html_text(name)}</th>' if name
                else f'<td colspan="{n}"></td>'
                for name, n in self._spans(level)
            )
            + "</tr>\n"
            for level in range(self._depth - 1)
        )  # fmt: skip
        return table.replace("<thead>\n", f"<thead>\n{rows}", 1)


def shown_once(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells of LaTeX in which equal first cells one below the other are a group: one cell, and a rule below.

    Where each row is a group, or all are one, they stay as they are.
    """
    first = list(cells.iloc[:, 0])
    sizes = [len(list(group)) for _, group in itertools.groupby(first)]
    if len(sizes) in (1, len(first)):
        return cells
    starts = set(itertools.accumulate(sizes[:-1]))
    shown = [
        rf"\midrule {text}" if i in starts else "" if i and first[i - 1] == text else text
        for i, text in enumerate(first)
    ]
    cells = cells.copy()
    cells.isetitem(0, shown)
    return cells
