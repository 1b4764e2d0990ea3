"""What a kind of run is: everything that the rest of the project asks of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ablations.kinds.hyperparameters import Hyperparameters
from ablations.kinds.metrics import Metric
from ablations.kinds.record import Record

# The counts of one model, in a record merged with the profile of its model.
PROFILE_COLUMNS = ("macs", "flops", "params")


@dataclass(frozen=True)
class Duration:
    """What the duration of a run depends on, besides its dataset and model.

    It is proportional to the hyperparameter `repeats` (`epochs`), apart from the milliseconds in the columns
    `once` of a record; without `repeats`, only whole runs are compared. `settings` change it considerably.
    `usual_seconds` estimates one repeat, from the number of training images and the model's
    multiply-accumulates, for when no run is finished yet; `basis` says what that estimate rests on.
    """

    settings: tuple[str, ...]
    usual_seconds: Callable[[int, float], float]
    repeats: str | None = None
    once: tuple[str, ...] = ("startup_time_ms",)
    basis: str = "the published speed"


@dataclass(frozen=True, eq=False)
class Kind:
    """The type of a run: its hyperparameters, its metrics, and the rule that executes it.

    `noun` names several runs in a sentence. A kind without a `rule` takes its runs from tables. The first of
    `metrics` is the main one. A kind that is not `is_random` gives the same result each time, and has no
    seed. `models_are_counted` tells whether a model has a profile, with the counts of PROFILE_COLUMNS.
    `costs` are the metrics that tell what a run costs, and `times` the columns of its record that together
    are the milliseconds it took. `libraries` are the distributions whose version can change a result.

    `places` are the parts of a run's path that a grid chooses, before its hyperparameters; `fixed` names the
    others. Where the kind `reads_staged_datasets`, its datasets are those of the config. `datasets` and
    `models`, described by `model_noun`, are the names that a grid may give; empty allows any. `labels` are
    the headings of factors, and the levels of `clear_factors` are clear without one. `notes` gives what
    readers of a table must know, from its records (mappings of column to text) and its metrics by name, and
    `idle` the hyperparameters that had no effect on a metric in any of the runs with these records.
    `can_keep` names what a study may ask to keep of a run beside its record. `chosen_by` are the metrics on
    data that a run holds out if its hyperparameter `held_out` is above 0: they may choose hyperparameters.
    For a kind that is not shipped, any metric may that a study does not report. `at_best` has, for metrics
    after the last epoch, those after the epoch that is best on these data. The code of a kind that is not
    shipped is the user's; the content of the files in `code` is then its version.
    """

    name: str
    noun: str
    rule: str
    threads: int
    hyperparameters: type[Hyperparameters]
    record: type[Record]
    metrics: Mapping[str, Metric]
    is_random: bool
    has_history: bool
    models_are_counted: bool
    duration: Duration
    costs: tuple[str, ...]
    times: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    places: tuple[str, ...] = ("dataset", "model")
    fixed: Mapping[str, str] = field(default_factory=dict)
    reads_staged_datasets: bool = False
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    model_noun: str = "model"
    labels: Mapping[str, str] = field(default_factory=dict)
    clear_factors: tuple[str, ...] = ("dataset", "model")
    notes: Callable[[Sequence[Mapping[str, str]], Collection[str]], list[str]] = lambda records, metrics: []
    idle: Callable[[Collection[Mapping[str, str]], Metric], Collection[str]] = lambda records, metric: ()
    can_keep: tuple[str, ...] = ()
    chosen_by: tuple[str, ...] = ()
    held_out: str = ""
    at_best: Mapping[str, str] = field(default_factory=dict)
    is_shipped: bool = True
    code: tuple[str, ...] = ()

    @property
    def main_metric(self) -> str:
        """The metric of a table that names none."""
        return next(iter(self.metrics))

    @property
    def factors(self) -> list[str]:
        """What can vary in a grid of this kind, besides the seed, in the order of a path."""
        return [*self.places, *(name for name in self.hyperparameters.model_fields if name != "seed")]

    @property
    def required(self) -> list[str]:
        """What every point of a grid must set: the places, and what has no default, without the seed."""
        return [*self.places, *(name for name in self.hyperparameters.required() if name != "seed")]

    def label(self, factor: str) -> str:
        """The heading of a factor: `Batch size`."""
        return self.labels.get(factor, factor)

    def directory(self, dataset: str, model: str, hyperparameters: str) -> str:
        """The directory of a run, relative to the working directory; the parts may be wildcards."""
        places = {"dataset": dataset, "model": model, **self.fixed}
        return f"results/runs/{self.name}/{places['dataset']}/{places['model']}/{hyperparameters}"
