"""Checks of a config as a whole: names, tables and files, against each other and the runs."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ablations.config.config import Config
from ablations.config.networks import check_images, check_sources, check_starts
from ablations.config.sections import ConfigError
from ablations.config.studies.baselines import check_ablation, check_base
from ablations.config.studies.choices import check_choice, check_report
from ablations.config.studies.part_checks import check_part
from ablations.config.studies.published import read_published
from ablations.config.studies.question_checks import check_questions
from ablations.config.studies.study import Study
from ablations.config.studies.table_checks import check_labels, check_table
from ablations.errors import AblationsError, nearest
from ablations.files import is_there
from ablations.runs.run import Run

# Of all grids, with their seeds: before Snakemake plans them, their runs take 30 s and 800 MB.
MOST_POINTS = 500_000
# The names of a study's other tables and figures end in these.
ENDINGS = (
    *("_design", "_vs_published", "_effects", "_variance", "_compute", "_ranks", "_profiles"),
    *("_tradeoff", "_grid", "_curves"),
)
# Columns of a comparison with published values, besides those of hyperparameters.
COMPARISON = {"metric", "published", "measured", "difference", "allowed", "verdict", "reason"}


def check_studies(config: Config, expand: bool) -> Iterator[str]:
    if not config.studies:
        yield "studies: it is empty, and there is nothing to run"
    points = {name: study.count_points() for name, study in config.studies.items()}
    if sum(points.values()) > MOST_POINTS:
        most = max(points, key=points.__getitem__)
        yield (
            f"studies.{most}.grid: it has {points[most]:,} points with its seeds; all studies together may "
            f"have {MOST_POINTS:,}"
        )
        return
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
        if wrong := [*check_part(study, where), *check_ablation(study, where)]:
            yield from wrong
            continue
        try:
            runs = study.runs()
        except ConfigError as error:
            yield f"{where}.{error}"
            continue
        if study.kind.models_are_counted and not config.partial:
            yield from check_images(config, runs, f"{where}.grid")
        wrong = [*check_table(study, runs, f"{where}.table"), *check_labels(study, where)]
        yield from wrong
        if study.base and not wrong:
            yield from check_base(study, where)
        yield from (*check_choice(study, where), *check_report(study, where))
        if not wrong:
            yield from check_questions(study, where)
        if study.kind.reads_staged_datasets:
            yield from check_starts(config, runs, f"{where}.grid")
        if study.published is not None and not wrong:
            yield from _check_published(config, study, f"{where}.published")
        if study.records is not None:
            yield from _check_records(config, study, f"{where}.records")
        elif not study.kind.rule:
            yield f"{where}.records: it is missing; runs of kind {study.kind.name} have no command"
    for name, kind in config.kinds.items():
        for path in kind.code:
            if not is_there(Path(path)):
                yield f"kinds.{name}.code: there is no '{Path(path).absolute()}'"
            elif not (Path(path).is_file() or Path(path).is_dir()):
                yield f"kinds.{name}.code: '{Path(path).absolute()}' is neither a file nor a directory"
    yield from check_sources(config)


def _check_names(config: Config, study: Study, where: str) -> Iterator[str]:
    """Names in the grid that refer to something defined elsewhere."""
    kind = study.kind
    models = [*kind.models, *(config.models if kind.models_are_counted else ())]
    known: dict[str, tuple[str, Iterable[str]]] = {"model": (kind.model_noun, models)}
    known["dataset"] = ("dataset", config.datasets if kind.reads_staged_datasets else kind.datasets)
    if kind.reads_staged_datasets:
        known["pretrained"] = ("weights", ["none", "imagenet", *config.weights])
    blocks = [(f"grid[{i}]", block) for i, block in enumerate(study.grid)]
    blocks += [(f"exclude[{i}]", entry) for i, entry in enumerate(study.exclude)]
    blocks += [("ablate", study.ablate)] if study.ablate else []
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


def _check_records(config: Config, study: Study, where: str) -> Iterator[str]:
    assert study.records is not None
    known = {*study.factors, "seed", "status", *study.kind.metrics}
    for key, names in (("columns", study.records.columns), ("where", study.records.where)):
        for name in names:
            if name not in known:
                yield f"{where}.{key}: '{name}' is not a hyperparameter or a metric{nearest(name, known)}"
                return
    for name, other in config.studies.items():
        if other.records == study.records or other.kind is not study.kind:
            continue
        try:
            run = next((run for run in study.runs() if other.holds(run)), None)
        except ConfigError:
            continue  # the other study cannot be expanded, which is told as its own problem
        if run:
            yield f"{where}: {_named(run)} is also a run of the study {name}, which has it from elsewhere"
            return
    path = config.file(study.records.file)
    if not is_there(path):
        yield f"{where}: there is no file {config.looked_for(study.records.file)}"
        return
    try:
        found = study.records.read(study, path)
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


def _check_published(config: Config, study: Study, where: str) -> Iterator[str]:
    assert study.published is not None
    path = config.file(study.published.file)
    if not is_there(path):
        yield f"{where}: there is no file {config.looked_for(study.published.file)}"
        return
    if taken := COMPARISON & set(study.factors):
        yield f"{where}: the comparison has a column '{min(taken)}', which is also a hyperparameter"
        return
    try:
        read_published(study, path)
    except AblationsError as error:
        for problem in str(error).splitlines():
            yield f"{where}{'.' if problem.startswith('where') else ': '}{problem}"


def check_files(config: Config, expand: bool) -> Iterator[str]:
    """Folders with the files of datasets that are still to be staged."""
    if not expand:
        return
    reading = [s for s in config.studies.values() if s.kind.reads_staged_datasets and s.records is None]
    used = dict.fromkeys(run.dataset for study in reading for run in study.runs())
    missing = [name for name in used if not is_there(Path(config.staged_path(name)))]
    for name in missing:
        folder = config.datasets[name].path
        splits = [f"{folder}/{split}" for split in ("train", "test") if folder]
        for path in [path for path in splits if not is_there(config.file(path))][:1]:
            yield f"datasets.{name}.path: there is no folder {config.looked_for(path)}"
    needs_files = any(config.datasets[name].files for name in missing)
    if needs_files and config.source_dir and not is_there(config.file(config.source_dir)):
        yield f"source_dir: there is no folder {config.looked_for(config.source_dir)}"
