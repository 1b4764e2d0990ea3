"""Runs: one point of a grid with one seed, and the directory that holds its files."""

from dataclasses import dataclass

from pydantic import ValidationError

from ablations.errors import AblationsError
from ablations.kinds import Kind
from ablations.kinds.hyperparameters import SEPARATOR, Hyperparameters


@dataclass(frozen=True)
class Run:
    """A run is its hyperparameters: equal runs share a directory and are trained once."""

    kind: Kind
    dataset: str
    model: str
    hyperparameters: Hyperparameters

    def value(self, name: str) -> object:
        """One of `values()`, without the others."""
        if name in ("dataset", "model"):
            return getattr(self, name)
        return getattr(self.hyperparameters, name)

    @property
    def directory(self) -> str:
        """The directory of its record, history and log, relative to the working directory."""
        return self.kind.directory(self.dataset, self.model, self.hyperparameters.canonical())

    @property
    def record(self) -> str:
        """Path of the run's one-row TSV."""
        return f"{self.directory}/record.tsv"

    def values(self) -> dict[str, object]:
        """The whole identity as a flat mapping: kind, dataset, model, every hyperparameter."""
        return {
            "kind": self.kind.name,
            "dataset": self.dataset,
            "model": self.model,
            **dict(self.hyperparameters),
        }


def parse_hyperparameters(kind: Kind, text: str) -> Hyperparameters:
    """The inverse of `Hyperparameters.canonical`.

    Raises AblationsError for text that is malformed, or not in its canonical spelling: each run
    has one path.
    """
    pairs = [part.partition("=") for part in text.split(SEPARATOR)]
    values = {name: value for name, _, value in pairs}
    cls = kind.hyperparameters
    core = SEPARATOR.join(f"{name}=…" for name in cls.core())
    if len(values) != len(pairs) or not all(equals for _, equals, _ in pairs):
        raise AblationsError(f"'{text}' does not name a {kind.name} run; expected {core}")
    try:
        hyperparameters = cls.model_validate_strings(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)
        )
        raise AblationsError(f"'{text}' does not name a {kind.name} run ({problems})") from None
    if hyperparameters.canonical() != text:
        raise AblationsError(
            f"'{text}' is not the canonical spelling of that run; ask for '{hyperparameters.canonical()}'"
        )
    return hyperparameters
