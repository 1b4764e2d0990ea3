"""Headings of several levels: a level above others spans their columns."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence

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

    @property
    def upper(self) -> list[list[tuple[str, int]]]:
        """The headings of each level above the lowest, and how many columns each spans; empty over none."""
        return [list(self._spans(level)) for level in range(self._depth - 1)]

    def _spans(self, level: int) -> Iterator[tuple[str, int]]:
        above = [head[: level + 1] if len(head) > level + 1 else () for head in self._heads]
        for head, columns in itertools.groupby(above):
            yield (head[-1] if head else "", len(list(columns)))

    def in_latex(self, tabular: str) -> str:
        """A tabular of pandas with the upper levels, each with a rule over what it spans."""
        lines = ""
        for spans in self.upper:
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
                for name, n in spans
            )
            + "</tr>\n"
            for spans in self.upper
        )  # fmt: skip
        return table.replace("<thead>\n", f"<thead>\n{rows}", 1)


def group_starts(first: Sequence[str]) -> set[int]:
    """The rows that begin a group: of several with equal first cells, one below the other.

    There are none where each row is a group, or all are one.
    """
    sizes = [len(list(group)) for _, group in itertools.groupby(first)]
    if len(sizes) in (1, len(first)):
        return set()
    return {0, *itertools.accumulate(sizes[:-1])}


def shown_once(cells: pd.DataFrame, starts: Collection[int], rule: str = "") -> pd.DataFrame:
    """Cells of which each group shows its first one once, behind a rule where another group is above it."""
    if not starts:
        return cells
    texts = enumerate(cells.iloc[:, 0])
    cells = cells.copy()
    cells.isetitem(0, [(rule * (i > 0) + text if i in starts else "") for i, text in texts])
    return cells


def ruled(table: str, starts: Collection[int]) -> str:
    """A page's table of pandas with a rule above each group of rows."""
    head, body, rows = table.partition("<tbody>\n")
    first, *others = rows.split("<tr>")
    tags = ('<tr class="group">' if i and i in starts else "<tr>" for i in range(len(others)))
    return head + body + first + "".join(tag + row for tag, row in zip(tags, others, strict=True))
