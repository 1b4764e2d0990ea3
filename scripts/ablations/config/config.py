"""The whole config. `config/schema.json` is generated from it (`make schema`)."""

from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from ablations.config.datasets import Dataset
from ablations.config.sections import PathText, Section, StudyName
from ablations.config.studies import STUDIES
from ablations.kinds.hyperparameters import Name
from ablations.runs.run import Run

# One of the studies' models, chosen by `kind`.
AnyStudy: Any = Annotated[reduce(or_, STUDIES.values()), Field(discriminator="kind_name")]


class Config(Section):
    """Everything that a user can set; docs/config.md explains each key."""

    studies: dict[StudyName, AnyStudy]
    datasets: dict[Name, Dataset] = {}
    weights: Annotated[dict[Name, PathText], Field(description="weights files of your own, by name")] = {}
    data_dir: Annotated[PathText, Field(description="where staged datasets are kept")] = "data"
    source_dir: Annotated[
        PathText | None, Field(description="a directory with dataset files you already have")
    ] = None
    download_timeout_s: Annotated[
        float, Field(gt=0, le=86400, description="bound on each source of a dataset, in seconds")
    ] = 120
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="where networks train")] = "auto"
    batches: Annotated[
        Literal["auto", "device", "host"],
        Field(
            description="where networks take batches from: the images on the device, or a DataLoader on the "
            "host; auto is host where a study varies pin_memory, which has an effect on the latter alone"
        ),
    ] = "auto"

    partial: Annotated[
        bool,
        Field(
            description="make the tables, figures and report of the completed runs; the others are marked, "
            "and not started"
        ),
    ] = False

    _runs: dict[Run, list[str]] | None = PrivateAttr(default=None)

    def staged_path(self, dataset: str) -> str:
        """Where a dataset is staged. A changed definition has another digest, and is another file."""
        return f"{self.data_dir}/{dataset}-{self.datasets[dataset].digest()}.safetensors"

    def profile_path(self, dataset: str, model: str) -> str:
        """Where the profile of `model` for the images of `dataset` lies."""
        definition = self.datasets[dataset]
        shape = "x".join(map(str, definition.image_shape))
        return f"results/models/{model}/image_shape={shape},classes={definition.classes}/profile.tsv"

    def source_of_batches(self) -> str:
        """`device` or `host`, one for all runs: their times are compared."""
        if self.batches != "auto":
            return self.batches
        varied = any(study.varies("pin_memory") for study in self.studies.values())
        return "host" if varied else "device"

    def kept_of(self, run: Run) -> list[str]:
        """What the studies that `run` is in keep of it. Only studies with `keep` are looked at."""
        keeping = [study for study in self.studies.values() if study.keep and study.holds(run)]
        return [what for what in run.kind.can_keep if any(what in study.keep for study in keeping)]

    def runs(self) -> dict[Run, list[str]]:
        """Every run once, in the order of the config, with the names of the studies it is in."""
        if self._runs is None:
            self._runs = {}
            for name, study in self.studies.items():
                for run in study.runs():
                    self._runs.setdefault(run, []).append(name)
        return self._runs
