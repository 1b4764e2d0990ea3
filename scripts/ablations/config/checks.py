"""Checks of a config as a whole: names, tables and published values, against each other and the runs."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ablations.config.config import Config
from ablations.config.sections import ConfigError, show
from ablations.config.studies import Study
from ablations.errors import AblationsError, nearest
from ablations.kinds.architectures import TORCHVISION_CLASSIFIERS
from ablations.runs.run import Run

# Of a directory's name, on every usual file system.
MOST_NAME_BYTES = 255
# The names of a study's other tables and figures end in these.
ENDINGS = ("_design", "_vs_published", "_effects", "_variance", "_tradeoff", "_grid", "_curves")


def check_studies(config: Config, root: Path, expand: bool) -> Iterator[str]:
    if not config.studies:
        yield "studies: it is empty, and there is nothing to run"
    for name, study in config.studies.items():
        where = f"studies.{name}"
        for ending in ENDINGS:
            if name.endswith(ending):
                yield f"{where}: a name that ends in {ending} is taken by a table or figure; choose another"
        unknown = list(_check_names(config, study, where))
        if unknown:
            yield from unknown
            continue
        if not expand:
            continue
        try:
            runs = study.runs()
        except ConfigError as error:
            yield f"{where}.{error}"
            continue
        yield from _check_table(study, runs, f"{where}.table")
        yield from _check_lengths(study, runs, f"{where}.grid")
        if study.kind.reads_staged_datasets:
            yield from _check_starts(config, runs, f"{where}.grid")
        if study.published is not None:
            yield from _check_published(study, f"{where}.published", root)
        if study.records is not None:
            yield from _check_records(config, study, f"{where}.records", root)
        elif not study.kind.rule:
            yield f"{where}.records: it is missing; runs of kind {study.kind.name} have no command"
    for name, kind in config.kinds.items():
        for path in kind.code:
            if not Path(path).exists():
                yield f"kinds.{name}.code: there is no '{path}'"
    for name, weights in config.weights.items():
        if name in ("none", "imagenet"):
            yield f"weights.{name}: this name is taken; give your file another"
        elif isinstance(weights, str):
            if not (root / weights).is_file():
                yield f"weights.{name}: there is no file '{weights}'"
        elif weights.model not in TORCHVISION_CLASSIFIERS:
            yield (
                f"weights.{name}.model: there is no model '{weights.model}'"
                f"{nearest(weights.model, TORCHVISION_CLASSIFIERS)}"
            )


def _check_starts(config: Config, runs: Sequence[Run], where: str) -> Iterator[str]:
    """Whether fetched weights are those of the model that starts from them."""
    fetched = config.fetched_weights()
    starts = {(run.values().get("pretrained"), run.model) for run in runs} if fetched else set()
    for name, model in sorted((name, model) for name, model in starts if name in fetched):
        if model != fetched[name].model:
            yield (
                f"{where}: a {model} cannot start from '{name}', which are weights of {fetched[name].model}; "
                "use another block of the grid, or `exclude`"
            )


def _check_names(config: Config, study: Study, where: str) -> Iterator[str]:
    """Names in the grid that refer to something defined elsewhere."""
    kind = study.kind
    known: dict[str, tuple[str, Iterable[str]]] = {"model": (kind.model_noun, kind.models)}
    known["dataset"] = ("dataset", config.datasets if kind.reads_staged_datasets else kind.datasets)
    if kind.reads_staged_datasets:
        known["pretrained"] = ("weights", ["none", "imagenet", *config.weights])
    blocks = [(f"grid[{i}]", block) for i, block in enumerate(study.grid)]
    blocks += [(f"exclude[{i}]", entry) for i, entry in enumerate(study.exclude)]
    for place, block in blocks:
        for _, settings in block.axes():
            for setting in settings:
                for key, value in setting.items():
                    what, names = known.get(key, ("", ()))
                    if names and value not in names:
                        shown = sorted(names)
                        listed = f" (there are {', '.join(shown)})" if len(shown) < 12 else ""
                        yield (
                            f"{where}.{place}.{key}: there is no {what} '{value}'"
                            f"{nearest(value, names)}{listed}"
                        )


def _check_table(study: Study, runs: Sequence[Run], where: str) -> Iterator[str]:
    table = study.table
    factors = study.factors
    keys = [*table.rows, *([table.columns] if table.columns else [])]
    names = [("rows", key) for key in table.rows]
    names += [("columns", table.columns)] if table.columns else []
    for place, key in names:
        if key not in factors:
            yield (
                f"{where}.{place}: '{key}' is not a hyperparameter of {study.kind.name} runs"
                f"{nearest(key, factors)} (there are {', '.join(factors)})"
            )
            return
        if keys.count(key) > 1:
            yield f"{where}.{place}: '{key}' is named twice"
            return
    metrics = study.kind.metrics
    for value in study.values:
        if value not in metrics:
            yield (
                f"{where}.values: '{value}' is not a metric of {study.kind.name} runs"
                f"{nearest(value, metrics)} (there are {', '.join(metrics)})"
            )
            return
    for name in study.analyse:
        if name not in metrics:
            yield (
                f"{where.removesuffix('table')}analyse: '{name}' is not a metric of {study.kind.name} runs"
                f"{nearest(name, metrics)} (there are {', '.join(metrics)})"
            )
            return
    if table.columns and len(study.values) > 1:
        yield f"{where}.values: with `columns`, a table holds one metric, and not {len(study.values)}"
        return
    levels = {key: {run.value(key) for run in runs} for key in factors}
    for key in factors:
        if len(levels[key]) > 1 and key not in keys and not _determined(key, keys, runs):
            yield (
                f"{where}: {key} varies in the grid, but is neither in rows nor in columns; "
                "different runs would share a cell"
            )


def _check_lengths(study: Study, runs: Sequence[Run], where: str) -> Iterator[str]:
    if study.kind.is_shipped:
        return  # whose hyperparameters are too few
    for run in runs:
        text = run.hyperparameters.canonical()
        if len(text) > MOST_NAME_BYTES:
            yield (
                f"{where}: a directory would have the name {text[:40]}…, of {len(text)} bytes; a file system "
                f"allows {MOST_NAME_BYTES}: shorten names, or give hyperparameters a default"
            )
            return


def _check_records(config: Config, study: Study, where: str, root: Path) -> Iterator[str]:
    assert study.records is not None
    known = {*study.factors, "seed", "status", *study.kind.metrics}
    for key, names in (("columns", study.records.columns), ("where", study.records.where)):
        for name in names:
            if name not in known:
                yield f"{where}.{key}: '{name}' is not a hyperparameter or a metric{nearest(name, known)}"
                return
    for name, other in config.studies.items():
        if other.records != study.records and (both := set(other.runs()) & set(study.runs())):
            run = next(run for run in study.runs() if run in both)
            yield f"{where}: {_named(run)} is also a run of the study {name}, which has it from elsewhere"
            return
    try:
        found = study.records.read(study, root / study.records.file)
    except AblationsError as error:
        yield f"{where}: {error}"
        return
    missing = [run for run in study.runs() if run not in found]
    if missing and not config.partial:
        listed = "; ".join(map(_named, missing[:3])) + ("; …" if len(missing) > 3 else "")
        yield (
            f"{where}: '{study.records.file}' has no row for {len(missing)} of {len(study.runs())} runs "
            f"({listed}); with `partial: true` the tables mark them as missing"
        )


def _named(run: Run) -> str:
    """A run in words: its places and hyperparameters."""
    places = [str(run.value(place)) for place in run.kind.places]
    return " ".join([*places, run.hyperparameters.canonical()])


def _determined(key: str, keys: Sequence[str], runs: Sequence[Run]) -> bool:
    """Whether the level of `key` follows from those of `keys` in every run."""
    seen: dict[tuple[Any, ...], Any] = {}
    for run in runs:
        value = run.value(key)
        if seen.setdefault(tuple(map(run.value, keys)), value) != value:
            return False
    return True


def _check_published(study: Study, where: str, root: Path) -> Iterator[str]:
    assert study.published is not None
    path = root / study.published.file
    try:
        first = path.read_text(encoding="utf-8-sig").partition("\n")[0]
        header = [column.strip() for column in first.split("\t")]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        yield f"{where}: '{study.published.file}' cannot be read ({reason})"
        return
    pivot = study.table.columns
    for key, value in study.published.where.items():
        if key not in study.factors:
            yield f"{where}.where: '{key}' is not a hyperparameter{nearest(key, study.factors)}"
        elif not any(run.value(key) == value for run in study.runs()):
            yield f"{where}.where.{key}: no run of the study has {show(value)}"
    levels = {str(run.value(pivot)) for run in study.runs()} if pivot else set()
    known = {*study.factors, *levels, *study.kind.metrics}
    for column in header:
        if header.count(column) > 1:
            yield f"{where}: '{study.published.file}' has the column '{column}' twice"
            return
        if column not in known:
            yield (
                f"{where}: '{study.published.file}' has a column '{column}', which is neither a "
                f"hyperparameter nor a metric{' nor a ' + pivot if pivot else ''}"
                f"{nearest(column, known)}"
            )
