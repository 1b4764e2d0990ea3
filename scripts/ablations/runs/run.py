"""Runs: one point of a grid with one seed, and the directory where it leaves what it made."""

from dataclasses import dataclass

from pydantic import ValidationError

from ablations.errors import AblationsError
from ablations.kinds.hyperparameters import KINDS, SEPARATOR, Hyperparameters

# A support vector classifier has no architecture to choose; its place in the path is filled so.
SVM_MODEL = "svc"


@dataclass(frozen=True)
class Run:
    """A run is its hyperparameters: equal runs share a directory and are trained once."""

    dataset: str
    model: str
    hyperparameters: Hyperparameters

    @property
    def kind(self) -> str:
        """`cnn` or `svm`."""
        return self.hyperparameters.kind

    def value(self, name: str) -> object:
        """One of `values()`, at the price of one."""
        if name in ("kind", "dataset", "model"):
            return getattr(self, name)
        return getattr(self.hyperparameters, name)

    @property
    def directory(self) -> str:
        """Where the run leaves its record, history and log, relative to the working directory."""
        canonical = self.hyperparameters.canonical()
        return f"results/runs/{self.kind}/{self.dataset}/{self.model}/{canonical}"

    @property
    def record(self) -> str:
        """Path of the run's one-row TSV."""
        return f"{self.directory}/record.tsv"

    def values(self) -> dict[str, object]:
        """The whole identity as a flat mapping: kind, dataset, model, every hyperparameter."""
        return {
            "kind": self.kind,
            "dataset": self.dataset,
            "model": self.model,
            **dict(self.hyperparameters),
        }


def parse_hyperparameters(kind: str, text: str) -> Hyperparameters:
    """The inverse of `Hyperparameters.canonical`.

    Raises AblationsError for text that is malformed, or not in its canonical spelling: each run
    has one path.
    """
    pairs = [part.partition("=") for part in text.split(SEPARATOR)]
    values = {name: value for name, _, value in pairs}
    cls = KINDS[kind]
    core = SEPARATOR.join(f"{name}=…" for name in cls.core())
    if len(values) != len(pairs) or not all(equals for _, equals, _ in pairs):
        raise AblationsError(f"'{text}' does not name a {kind} run; expected {core}")
    try:
        hyperparameters = cls.model_validate_strings(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)
        )
        raise AblationsError(f"'{text}' does not name a {kind} run ({problems})") from None
    if hyperparameters.canonical() != text:
        raise AblationsError(
            f"'{text}' is not the canonical spelling of that run; ask for '{hyperparameters.canonical()}'"
        )
    return hyperparameters
