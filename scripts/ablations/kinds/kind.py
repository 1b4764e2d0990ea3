"""What a kind of run is: everything that the rest of the project asks of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ablations.kinds.hyperparameters import Hyperparameters
from ablations.kinds.metrics import Metric
from ablations.kinds.record import Record

# The counts of one model, in a record merged with the profile of its model.
PROFILE_COLUMNS = ("macs", "flops", "params")


@dataclass(frozen=True)
class Duration:
    """What the duration of a run depends on, besides its dataset and model.

    It is proportional to the hyperparameter `repeats` (`epochs`), apart from the start-up; without
    `repeats`, only whole runs are compared. `settings` change it considerably. `usual_seconds` estimates
    one repeat, from the number of training images and the model's multiply-accumulates, for when no run is
    finished yet.
    """

    settings: tuple[str, ...]
    usual_seconds: Callable[[int, float], float]
    repeats: str | None = None


@dataclass(frozen=True, eq=False)
class Kind:
    """The type of a run: its hyperparameters, its metrics, and the rule that executes it.

    `noun` names several runs in a sentence. `models` are the names that a grid may give, described by
    `model_noun`; a kind without a choice has one `fixed_model` in the path instead. A kind that is not
    `is_random` gives the same result each time, and has no seed. `models_are_counted` tells whether a
    model has a profile, with the counts of PROFILE_COLUMNS. `libraries` are the distributions whose
    version can change a result.
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
    libraries: tuple[str, ...]
    models: tuple[str, ...] = ()
    model_noun: str = ""
    fixed_model: str | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """The parts of a run's path that a grid chooses, before its hyperparameters."""
        return ("dataset",) if self.fixed_model else ("dataset", "model")

    @property
    def factors(self) -> list[str]:
        """What can vary in a grid of this kind, besides the seed, in the order of a path."""
        return [*self.places, *(name for name in self.hyperparameters.model_fields if name != "seed")]

    @property
    def core(self) -> list[str]:
        """What every point of a grid must set: the places and the core hyperparameters, without the seed."""
        return [*self.places, *(name for name in self.hyperparameters.core() if name != "seed")]

    @property
    def cost_metrics(self) -> list[str]:
        """The metrics that tell what a run costs: its time, then the counts of its model."""
        return ["train_time_ms", *(["gmacs", "params_m"] if self.models_are_counted else [])]

    def directory(self, dataset: str, model: str, hyperparameters: str) -> str:
        """The directory of a run, relative to the working directory; the parts may be wildcards."""
        return f"results/runs/{self.name}/{dataset}/{self.fixed_model or model}/{hyperparameters}"
