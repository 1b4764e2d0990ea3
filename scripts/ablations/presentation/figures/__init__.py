"""The figures of a study by the name that their files end in; one module per figure."""

from collections.abc import Callable, Collection
from contextlib import chdir
from pathlib import Path

# It would obey a matplotlibrc in the working directory, which may be somebody else's.
with chdir("/"):
    import matplotlib

matplotlib.use("agg")

from matplotlib.figure import Figure

from ablations.analysis.measurements import Records
from ablations.config.studies.study import Study
from ablations.presentation.figures.curves import curves_figure, histories_of
from ablations.presentation.figures.effects import effects_figure
from ablations.presentation.figures.grid import grid_figure
from ablations.presentation.figures.profiles import profiles_figure
from ablations.presentation.figures.ranks import ranks_figure
from ablations.presentation.figures.study import study_figure
from ablations.presentation.figures.tradeoff import tradeoff_figure
from ablations.runs.run import Run

# Called with the study, its records, the file of its published values, and the runs that failed.
Draw = Callable[[Study, Records, Path | None, Collection[Run]], Figure]


FIGURES: dict[str, Draw] = {
    "": lambda study, records, published, failed: study_figure(study, records, published),
    "effects": lambda study, records, published, failed: effects_figure(study, records),
    "tradeoff": lambda study, records, published, failed: tradeoff_figure(study, records),
    "grid": lambda study, records, published, failed: grid_figure(study, records, failed),
    "ranks": lambda study, records, published, failed: ranks_figure(study, records),
    "profiles": lambda study, records, published, failed: profiles_figure(study, records),
    "curves": lambda study, records, published, failed: curves_figure(study, histories_of(study, records)),
}
