"""The page of a study: all its tables and figures in one file, to look at in a browser without a network."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ablations.analysis.measurements import Records
from ablations.config.studies.study import Study
from ablations.files import read_bytes
from ablations.presentation import layout
from ablations.presentation.document import Table
from ablations.presentation.headings import Heads
from ablations.readable import as_line

TEMPLATES = Path(__file__).parent / "templates"
# In bytes: of a figure whose many lines take more than this, the page has the PNG if that is smaller.
LARGEST_SVG = 150_000
# A browser needs seconds to sort more rows of a table, and a page of many megabytes to hold them.
MOST_ROWS = 1000
# The headings of sections, by what the names of their tables and figures end in.
HEADINGS = {
    "": "Results",
    "effects": "Effects",
    "tradeoff": "Trade-off against cost",
    "grid": "Map of the grid",
    "curves": "Learning curves",
    "design": "Design",
    "variance": "Sources of variance",
    "ranks": "Ranks over the datasets",
    "profiles": "Performance profiles",
    "compute": "Compute",
    "vs_published": "Published values",
}
CAPTIONS = {
    "": "Dots are measured values, and their bars are one standard deviation over seeds. Diamonds are "
    "published values.",
    "effects": "Each difference with its 95 % interval; times are ratios. A filled dot is significant after "
    "Holm's correction. The table above has the numbers.",
    "tradeoff": "The line is the Pareto front of the means: no other point is better at the same or a lower "
    "cost. Faint lines are the fronts of single seeds.",
    "grid": "Bright is better. Missing, failed and diverged points are marked. White cells are not in the "
    "grid.",
    "ranks": "The mean rank of each setting; 1 is the best. A bar joins settings that cannot be told apart.",
    "profiles": "The share of the runs of each setting that are as good as a value or better.",
    "curves": "Each line is one point of the grid; its band is one standard deviation over seeds. All panels "
    "show the same lines, and each colours them by another hyperparameter.",
}
# A cell with a run that left no value.
_GAP = re.compile(r"(.* \(.*)?\b(missing|diverged)\)?")
# The spaces of a heading at which it is not to break: before an arrow, and behind the sign of a difference.
_UNBROKEN = re.compile(r" (?=[↑↓]$)|(?<=^Δ) ")
_NUMBER = re.compile(r"-?\d*\.?\d+(e[+-]?\d+)?")


@dataclass(frozen=True)
class PageCell:
    """A cell or a heading on a page. `look` are its classes, and `key` is what its column is sorted by.

    `name` is that of a heading with those above it.
    """

    text: str
    look: str = ""
    key: str | None = None
    is_best: bool = False
    link: str = ""
    name: str = ""


@dataclass(frozen=True)
class View:
    """A table on a page. `levels` are the headings above others, each with how many columns it spans."""

    title: str
    headings: Sequence[PageCell]
    rows: Sequence[Sequence[PageCell]]
    notes: Sequence[str] = ()
    text: Sequence[tuple[str, str]] = ()
    levels: Sequence[Sequence[tuple[str, int]]] = ()


@dataclass(frozen=True)
class PageSection:
    """A table, a figure, or both. `picture` is a data URI, and `numbers` is what the figure shows."""

    id: str
    heading: str
    table: View | None
    picture: str
    alt: str
    caption: str
    numbers: View | None


@dataclass(frozen=True)
class Completion:
    """How many runs a study has, how many of them have no record yet, and how many have diverged."""

    runs: int
    missing: int
    diverged: int

    @classmethod
    def of(cls, study: Study, records: Records) -> "Completion":
        """How many runs a study has with these records."""
        found = [records.get(run) for run in study.runs()]
        diverged = sum(row is not None and row["status"] == "diverged" for row in found)
        return cls(len(found), found.count(None), diverged)

    def __str__(self) -> str:
        """As a sentence."""
        parts = [f"{self.runs - self.missing:,} of {self.runs:,} runs are completed"]
        parts += [f"{self.diverged:,} of them diverged"] * bool(self.diverged)
        parts += [f"{self.missing:,} are missing"] * bool(self.missing)
        return f"{', '.join(parts)}."


def study_page(
    study: Study,
    records: Records,
    tables: Mapping[str, Table],
    figures: Mapping[str, Path],
    numbers: Mapping[str, Table],
) -> str:
    """The page of a study: a section for each name that its tables or figures have.

    `figures` are paths without their suffixes; `numbers` are those that a figure shows.
    """
    progress = Completion.of(study, records)
    sections = [
        PageSection(
            id=f"section-{name}".rstrip("-"),
            heading=(heading := HEADINGS.get(name, name.replace("_", " ").capitalize())),
            table=_view(tables[name], _caption(tables[name], study, heading)) if name in tables else None,
            picture=_picture(figures[name]) if name in figures else "",
            alt=f"{heading}: figure of {as_line(study.title)}",
            caption=CAPTIONS.get(name, ""),
            numbers=_view(numbers[name], f"{heading}: numbers") if name in numbers else None,
        )
        for name in dict.fromkeys([*figures, *tables])
    ]
    return _rendered("study.html", study.title, progress, sections=sections)


def index_page(studies: Mapping[str, Study], records: Mapping[str, Records]) -> str:
    """The page with a link to the page of each study, given their records by name."""
    found = {name: Completion.of(study, records[name]) for name, study in studies.items()}
    headings = ("Study", "Title", "Runs", "Completed", "Missing", "Diverged")
    rows = [
        [
            PageCell(as_line(name), link=f"{quote(name)}.html"),
            PageCell(as_line(studies[name].title), "wrap"),
            *_counts(of.runs, of.runs - of.missing),
            *_counts(of.missing, of.diverged, look=" gap"),
        ]
        for name, of in found.items()
    ]
    # Studies may share runs.
    every = {run: records[name].get(run) for name, study in studies.items() for run in study.runs()}
    diverged = sum(row is not None and row["status"] == "diverged" for row in every.values())
    progress = Completion(len(every), list(every.values()).count(None), diverged)
    looks = ("", "wrap", "number", "number", "number", "number")
    view = View("Studies", [PageCell(*each) for each in zip(headings, looks, strict=True)], rows)
    return _rendered("index.html", "Studies", progress, table=view)


def _counts(*counts: int, look: str = "") -> list[PageCell]:
    return [PageCell(f"{count:,}", "number" + look * bool(count), str(count)) for count in counts]


def _caption(table: Table, study: Study, heading: str) -> str:
    """The title of a table without that of its study, which the page has above."""
    title = table.title.removeprefix(as_line(study.title)).removeprefix(":").strip()
    return f"{title[:1].upper()}{title[1:]}" or heading


def _view(table: Table, title: str) -> View:
    """A table as its readers see it, with the columns of numbers sorted as numbers, up to MOST_ROWS rows."""
    display, notes = table.display.head(MOST_ROWS), list(table.notes)
    if len(table.display) > MOST_ROWS:
        notes.append(
            f"The first {MOST_ROWS:,} of {len(table.display):,} rows; filters and sorting see these alone. "
            "The study's tables in results/tables/ have all."
        )
    sides, long = layout.sides(display), layout.has_sentences(display)
    looks = ["number" if s == "right" else "wrap" * is_long for s, is_long in zip(sides, long, strict=True)]
    rows = [
        [
            PageCell(
                text,
                f"{look}{' best' * ((i, j) in table.bold)}{' gap' * bool(_GAP.fullmatch(text))}".strip(),
                _key(text) if look == "number" else None,
                (i, j) in table.bold,
            )
            for j, (text, look) in enumerate(zip(row, looks, strict=True))
        ]
        for i, row in enumerate(display.itertuples(index=False, name=None))
    ]
    heads = Heads(list(display), table.heads)
    headings = [
        PageCell(_UNBROKEN.sub("\u00a0", text), look, name=name if name != text else "")
        for text, look, name in zip(heads.lowest, looks, display, strict=True)
    ]
    return View(title, headings, rows, notes, table.text, heads.upper)


def _key(text: str) -> str:
    """The first number of a cell; nothing for a cell without one, which is then sorted last."""
    found = _NUMBER.search(text.replace("−", "-").replace(",", ""))
    return found[0] if found and text not in layout.NO_NUMBERS else ""


def _picture(base: Path) -> str:
    """A figure as a data URI: an image runs no scripts, and has names of its own for its parts."""
    content, kind = read_bytes(base.with_name(f"{base.name}.svg")), "svg+xml"
    if len(content) > LARGEST_SVG:
        png = read_bytes(base.with_name(f"{base.name}.png"))
        content, kind = min((content, kind), (png, "png"), key=lambda each: len(each[0]))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _rendered(template: str, title: str, progress: Completion, **values: object) -> str:
    """A page as text: Jinja2 escapes what it inserts, and a browser may load and execute nothing else."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    scripts = [(TEMPLATES / name).read_text(encoding="utf-8") for name in ("sortable.min.js", "page.js")]
    return environment.get_template(template).render(
        title=as_line(title),
        state=str(progress),
        runs=progress.runs,
        missing=progress.missing,
        style=style,
        scripts=scripts,
        style_digest=_digest(style),
        script_digests=list(map(_digest, scripts)),
        **values,
    )


def _digest(text: str) -> str:
    """The digest of a style or script of a page, by which its Content-Security-Policy allows it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
