"""The record of a run: what every kind measures, checked when written and again when read."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ablations.readable import as_field, readable

# The columns that are the times of a run on images.
IMAGE_TIMES = ("startup_time_ms", "train_time_ms", "test_time_ms")

Percent = Annotated[float, Field(ge=0, le=100)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
# A record is a file that another may have written: what it says must not take all memory.
Images = Annotated[int, Field(ge=1, le=10_000_000)]
# It may be shown in a terminal, a page or a spreadsheet, whoever wrote it.
Text = Annotated[str, AfterValidator(readable), AfterValidator(as_field)]


class Record(BaseModel):
    """How every run ended, and where and by what it was made: the columns after its identity.

    `runs_per_job` is how many runs shared the job and its GPU. `counted_energy_j` is what the counters of the
    machine, which `energy_counters` names, measured during the last attempt. `ADDED` names the columns that
    older records do not have, and `LONGEST` the one that stands last because of its length. Measured numbers
    are rounded to `DECIMALS`. Where the record is `OPEN`, a file may have more columns, which are not read.
    """

    # Deferred: a process needs few of the models, and each takes milliseconds to build.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    ADDED: ClassVar[tuple[str, ...]] = (
        "runs_per_job",
        "code_commit",
        "code_modified",
        "counted_energy_j",
        "energy_counters",
    )
    LONGEST: ClassVar[str] = ""
    DECIMALS: ClassVar[int | None] = 6
    OPEN: ClassVar[bool] = False

    status: Literal["ok", "diverged"]
    device: Literal["cpu", "cuda"]
    device_name: Text
    threads: Positive
    runs_per_job: Positive | None = None
    host: Text
    started_at: Text
    attempts: Positive
    attempt_seconds: Text
    workflow_version: Text
    code_commit: Text | None = None
    code_modified: bool | None = None
    counted_energy_j: NotNegative | None = None
    energy_counters: Text | None = None
    python_version: Text

    @classmethod
    def columns(cls) -> list[str]:
        """The names of the columns in the order of a file."""
        return sorted(cls.model_fields, key=lambda name: name == cls.LONGEST)


class ImageRecord(Record):
    """The record of a classifier of images.

    `test_correct` tells which test images the run classified correctly, as `hits.pack` writes it. A run that
    shared its process has no `peak_memory_mb`.
    """

    ADDED: ClassVar[tuple[str, ...]] = (*Record.ADDED, "test_correct")
    LONGEST: ClassVar[str] = "test_correct"

    test_accuracy: Percent | None = None
    train_time_ms: NotNegative
    test_time_ms: NotNegative
    startup_time_ms: NotNegative
    peak_memory_mb: NotNegative | None = None
    test_samples: Images
    numpy_version: Text
    test_correct: str | None = None

    @model_validator(mode="after")
    def _accuracy_of_ok(self) -> "ImageRecord":
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
