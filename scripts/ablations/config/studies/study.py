"""Studies: named grids, each with the table that it fills."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, create_model

from ablations.config.sections import ConfigError, Line, OneOrMore, PathText, Section
from ablations.config.studies.grids import Changed, HasAxes, expand, grid_models
from ablations.config.studies.parts import PartOfGrid, in_order
from ablations.config.studies.questions import Questions
from ablations.config.studies.study_sections import Choose, Levels, PublishedFile, TableLayout
from ablations.kinds import KINDS, Kind
from ablations.kinds.hyperparameters import spell
from ablations.runs.results_table import read_results
from ablations.runs.run import Run


class Results(Section):
    """A table with the results of the runs, which were made elsewhere."""

    file: Annotated[PathText, Field(description="CSV, TSV or Parquet, one row per run")]
    columns: Annotated[
        dict[str, Line], Field(description="its columns of a hyperparameter, the seed, a metric or `status`")
    ] = {}
    where: Annotated[Levels, Field(description="levels that the file leaves out: {dataset: mnist}")] = {}

    def read(self, study: "Study", path: Path) -> dict[Run, dict[str, Any]]:
        """The runs of a study in the file at `path`, each with the columns of its record.

        Raises AblationsError, with the line, for what is missing, mistyped or there twice.
        """
        needed = [name for name in study.needed if study.kind.metrics[name].column == name]
        found = read_results(study.kind, path, self.columns, self.where, needed)
        return {run: found[run] for run in study.runs() if run in found}


def _file_alone(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


def _spelt_keys(value: Any) -> Any:
    """YAML reads the keys `0.10` and `true` as values; a level has one spelling."""
    return {spell(key): each for key, each in value.items()} if isinstance(value, dict) else value


def _nothing_of(kind: Kind) -> BeforeValidator:
    """Refuse whatever `keep` holds in a study of a kind of which nothing can be kept."""

    def refuse(value: Any) -> Any:
        raise ValueError(f"nothing of {kind.noun} can be kept besides their records; leave `keep` out")

    return BeforeValidator(refuse)


class Study(PartOfGrid, Questions):
    """A named grid of runs of one `kind`, with the table it fills."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("rows", "columns", "values"), "it belongs in the study's `table`"),
        **dict.fromkeys(("seed", "random_seed"), "the seeds are the study's `seeds`"),
        **dict.fromkeys(("dataset", "model", "recipe"), "it belongs in a block of the study's `grid`"),
    }
    title: Line
    kind_name: str = Field(alias="kind")
    baseline: Annotated[
        Any, Field(description="the point that all others are compared with: {optimizer: sgd, lr: 0.1}")
    ] = None
    ablate: Annotated[
        Any, Field(description="changes of the grid's one point, each a point of its own: {lr: [0.1, 0.01]}")
    ] = None
    choose: Annotated[
        Choose | None, Field(description="hyperparameters that a validation metric chooses in each row")
    ] = None
    report: Annotated[
        Literal["last", "best_by_validation"], Field(description="the epoch that test metrics are of")
    ] = "last"
    table: TableLayout
    analyse: Annotated[
        list[str],
        OneOrMore(),
        Field(description="metrics that effects, variance and figures are made for; the table's without it"),
    ] = []
    published: Annotated[
        PublishedFile | None,
        Field(description="published values: a file, or a mapping with it"),
        BeforeValidator(_file_alone, json_schema_input_type=PathText | PublishedFile | None),
    ] = None
    records: Annotated[
        Results | None,
        Field(description="results made elsewhere, which are not run: a file, or a mapping with it"),
        BeforeValidator(_file_alone, json_schema_input_type=PathText | Results | None),
    ] = None
    keep: list[str] = []
    labels: Annotated[
        dict[str, Line], Field(description="headings of hyperparameters for readers: {lr: Learning rate η}")
    ] = {}
    level_labels: Annotated[
        dict[str, Annotated[dict[str, Line], BeforeValidator(_spelt_keys)]],
        Field(description="names of their levels for readers: {optimizer: {sgd: SGD}}"),
    ] = {}
    _runs: list[Run] | None = PrivateAttr(default=None)

    @property
    def blocks(self) -> Sequence[HasAxes]:
        """The blocks of its grid, and those that `ablate` adds; or the points of its part."""
        if not self.ablate:
            return super().blocks
        return [*self.grid, *(Changed(block, change) for block in self.grid for change in self.changes)]

    @property
    def changes(self) -> list[dict[str, Any]]:
        """What `ablate` changes: each alone, and then all together if it says so."""
        alone = [setting for _, settings in self.ablate.axes() for setting in settings] if self.ablate else []
        together = {name: level for setting in alone for name, level in setting.items()}
        return [*alone, together] if self.ablate and self.ablate.all else alone

    @property
    def base(self) -> dict[str, Any]:
        """The levels of the point that all others are compared with; empty if there is none."""
        if self.baseline:
            return {name: getattr(self.baseline, name) for name in self.baseline.written}
        return {n: self.levels(n)[0] for change in self.changes for n in change if n not in self.chosen}

    @property
    def chosen(self) -> list[str]:
        """The hyperparameters that validation chooses in each row of its table."""
        return self.choose.over if self.choose else []

    @property
    def rows(self) -> list[str]:
        """What tells the rows of its table apart."""
        changed = dict.fromkeys(name for change in self.changes for name in change)
        return self.table.rows or [n for n in changed if n not in (*self.table.columns, *self.chosen)]

    def column(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """The levels of the column of its table that a point with these values is in."""
        return tuple(values[name] for name in self.table.columns)

    def setting(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """The levels of a point with these values, without those that validation chooses."""
        return tuple(values[name] for name in self.factors if name not in self.chosen)

    @property
    def values(self) -> list[str]:
        """The metrics in the cells of its table."""
        return list(map(self.reported, self.table.values or [self.kind.main_metric]))

    @property
    def analysed(self) -> list[str]:
        """The metrics that effects, variance and figures are made for."""
        return list(map(self.reported, self.analyse)) or self.values

    def reported(self, metric: str) -> str:
        """The metric that stands for one of the config: of another epoch, if `report` asks for it."""
        return metric if self.report == "last" else self.kind.at_best.get(metric, metric)

    @property
    def needed(self) -> list[str]:
        """The metrics in its table or its analyses."""
        chosen_by = [self.choose.by] if self.choose else []
        return list(dict.fromkeys([*self.values, *self.analysed, *chosen_by]))

    def label(self, factor: str) -> str:
        """The heading of a hyperparameter for readers."""
        return self.labels.get(factor) or self.kind.label(factor)

    def level_label(self, factor: str, level: Any) -> str:
        """The name of a level for readers."""
        return self.level_labels.get(factor, {}).get(spell(level), spell(level))

    @property
    def factors(self) -> list[str]:
        """What can vary in this study, besides the seed, in the order of a path."""
        return self.kind.factors

    def levels(self, name: str, blocks: Sequence[HasAxes] | None = None) -> list[Any]:
        """The values of a hyperparameter in the order of the grid, or of some blocks; without excludes."""
        fields = self.kind.hyperparameters.model_fields
        default = fields[name].default if name in fields else self.kind.fixed.get(name)
        levels: dict[Any, None] = {}
        for block in self.blocks if blocks is None else blocks:
            axes = [settings for _, settings in block.axes() if any(name in each for each in settings)]
            named = [each.get(name, default) for settings in axes for each in settings]
            levels |= dict.fromkeys(named or [default])
        whole = blocks is not None or not self.is_part
        return list(levels) if whole else in_order(list(levels), self.levels(name, self.grid))

    def varies(self, name: str) -> bool:
        """Whether the grid holds more than one value of a hyperparameter; excludes are not looked at."""
        return len(self.levels(name, self.grid if self.is_part else None)) > 1 or name in self.ranges

    def runs(self) -> list[Run]:
        """The runs of the study in the order of the config, each once. Raises ConfigError as `expand`."""
        if self._runs is None:
            runs = expand(self.kind, self.blocks, [] if self.is_part else self.exclude, self.seeds)
            self._runs = [run for run in runs if not (self.is_part and self.excludes(run))]
            if not self._runs:
                raise ConfigError("exclude: it removes every run of the study")
        return self._runs

    def points(self) -> list[tuple[dict[str, Any], list[Run]]]:
        """The points of the grid, each as its values with its runs over the seeds.

        They are sorted as the table is, by its rows and then by its columns, with levels in the grid's order.
        With `ablate`, rows have the order of the changes.
        """
        groups: dict[tuple[Any, ...], tuple[dict[str, Any], list[Run]]] = {}
        for run in self.runs():
            values = run.values()
            key = tuple(values[factor] for factor in self.factors)
            groups.setdefault(key, (values, []))[1].append(run)
        sorted_by = [*self.rows, *self.table.columns]
        places = {name: {level: i for i, level in enumerate(self.levels(name))} for name in sorted_by}
        order = [values for values, _ in groups.values()] if self.ablate else []
        rows = list(dict.fromkeys(tuple(values[name] for name in self.rows) for values in order))

        def place(point: tuple[dict[str, Any], list[Run]]) -> list[int]:
            row = tuple(point[0][name] for name in self.rows)
            return [rows.index(row) if rows else 0, *(places[name][point[0][name]] for name in sorted_by)]

        return sorted(groups.values(), key=place)


@cache
def study_model(of: Kind) -> type[Study]:
    """The model of a study of one kind of run."""
    models = grid_models(of)
    seeds: Any = (Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], OneOrMore()], [0])
    if not of.is_random:
        seeds = (Annotated[list[int], Field(max_length=0, description="nothing is random: no seeds")], [])

    if of.can_keep:
        one: Any = Literal[of.can_keep]  # type: ignore[valid-type]
        named = Field(description="what stays of each run beside its record; nothing by default")
        keep: Any = (Annotated[list[one], OneOrMore(), named], [])
    else:
        nothing = Field(max_length=0, description="nothing can be kept")
        keep = (Annotated[list[str], nothing, _nothing_of(of)], [])

    class StudyOfKind(Study):
        kind: ClassVar[Kind] = of

    # Types that are made at run time are unknown to a type checker.
    fields: dict[str, Any] = {
        "kind_name": (Literal[of.name], Field(alias="kind")),  # type: ignore[name-defined]
        "grid": (Annotated[list[models.block], Field(min_length=1)], ...),  # type: ignore[name-defined]
        "exclude": (list[models.exclude], []),  # type: ignore[name-defined]
        "baseline": (models.baseline | None, None),
        "ablate": (models.ablation | None, None),
        "seeds": seeds,
        "keep": keep,
    }
    return create_model(
        f"{of.name.title()}Study", __base__=StudyOfKind, __doc__=f"A study of {of.noun}.", **fields
    )


def parse_study(written: Mapping[str, Any], kinds: Mapping[str, Kind] = KINDS) -> Study:
    """The study that a config's section describes, given as it was written and once checked."""
    return study_model(kinds[written["kind"]]).model_validate(written, strict=True)
