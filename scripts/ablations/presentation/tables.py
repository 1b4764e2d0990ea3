"""The tables of a study by the name that their files end in."""

from collections.abc import Callable
from pathlib import Path

from ablations.analysis.measurements import Records
from ablations.config.studies.study import Study
from ablations.presentation.choice_table import choice_table
from ablations.presentation.compute_table import compute_table
from ablations.presentation.design_table import design_table
from ablations.presentation.document import Table
from ablations.presentation.effects_table import effects_table
from ablations.presentation.profiles_table import profiles_table
from ablations.presentation.published_table import published_table
from ablations.presentation.ranks_table import ranks_table
from ablations.presentation.study_table import study_table
from ablations.presentation.variance_table import variance_table
from ablations.runs import state

# Called with the study's name, the study, its records, and the file of its published values. The design
# needs no records.
Make = Callable[[str, Study, Records, Path | None], Table]


def _vs_published(name: str, study: Study, records: Records, published: Path | None) -> Table:
    assert published is not None, "only a study with published values has this table"
    return published_table(name, study, records, published)


def _compute(name: str, study: Study, records: Records, published: Path | None) -> Table:
    states = {run: state.read(Path(run.directory, state.NAME)) for run in study.runs() if run not in records}
    return compute_table(name, study, records, {run: found for run, found in states.items() if found})


TABLES: dict[str, Make] = {
    "": lambda name, study, records, published: (
        choice_table(name, study, records) if study.choose else study_table(name, study, records)
    ),
    "design": lambda name, study, records, published: design_table(name, study),
    "effects": lambda name, study, records, published: effects_table(name, study, records),
    "variance": lambda name, study, records, published: variance_table(name, study, records),
    "compute": _compute,
    "ranks": lambda name, study, records, published: ranks_table(name, study, records),
    "profiles": lambda name, study, records, published: profiles_table(name, study, records),
    "vs_published": _vs_published,
}
