"""The record of a run: what every kind measures, checked when written and again when read."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Percent = Annotated[float, Field(ge=0, le=100)]
NotNegative = Annotated[float, Field(ge=0)]


class Record(BaseModel):
    """What every run measures, and where: the columns after its identity.

    `test_correct` tells which test images the run classified correctly, as `hits.pack` writes it.
    `ADDED` names the columns that older records do not have.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    ADDED: ClassVar[tuple[str, ...]] = ("test_correct",)

    status: Literal["ok", "diverged"]
    test_accuracy: Percent | None = None
    train_time_ms: NotNegative
    test_time_ms: NotNegative
    startup_time_ms: NotNegative
    peak_memory_mb: NotNegative
    test_samples: Annotated[int, Field(ge=1)]
    device: Literal["cpu", "cuda"]
    device_name: str
    threads: Annotated[int, Field(ge=1)]
    host: str
    started_at: str
    attempts: Annotated[int, Field(ge=1)]
    attempt_seconds: str
    workflow_version: str
    python_version: str
    numpy_version: str
    test_correct: str | None = None

    @model_validator(mode="after")
    def _accuracy_of_ok(self) -> "Record":
        if self.status == "ok" and self.test_accuracy is None:
            raise ValueError("a run with status ok has a test_accuracy")
        if self.test_accuracy is not None and self.test_correct is not None:
            # Parsing the config imports this module, and needs no numpy.
            from ablations.kinds.hits import unpack

            share = 100 * unpack(self.test_correct, self.test_samples).mean()
            # A record holds six decimals.
            if abs(share - self.test_accuracy) > 1e-6:
                raise ValueError(f"test_correct has an accuracy of {share:.6f} %")
        return self
