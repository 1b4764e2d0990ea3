"""The whole config. `config/schema.json` is generated from it (`make schema`)."""

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, PrivateAttr, create_model

from ablations.config.datasets import Dataset
from ablations.config.kinds import WithKinds
from ablations.config.notifying import Notifier
from ablations.config.sections import CodeText, PathText, StudyName
from ablations.config.sources import Sha256
from ablations.config.studies.study import study_model
from ablations.config.weights import FetchedWeights, Weights
from ablations.files import first_existing
from ablations.kinds import KINDS, Kind
from ablations.kinds.hyperparameters import Name
from ablations.runs.run import Run


def any_study(kinds: Iterable[Kind]) -> Any:
    """The type of a study of any of these kinds."""
    return Annotated[reduce(or_, map(study_model, kinds)), Field(discriminator="kind_name")]


class Config(WithKinds):
    """Everything that a user can set; docs/config.md explains each key."""

    # A reader of configs takes these keys out; their values are for YAML's anchors.
    model_config = ConfigDict(json_schema_extra={"patternProperties": {"^x-": True}})

    elsewhere: ClassVar[Mapping[str, str]] = {
        "__use_yte__": "with it, Snakemake runs Python code that is in the file; take it out"
    }
    all_kinds: ClassVar[Mapping[str, Kind]] = KINDS
    studies: dict[StudyName, any_study(KINDS.values())]  # type: ignore[valid-type]
    datasets: dict[Name, Dataset] = {}
    models: Annotated[
        dict[Name, CodeText],
        Field(description="your own networks by name: FILE.py:FUNCTION, which builds one"),
    ] = {}
    weights: Annotated[
        dict[Name, Weights],
        Field(description="weights by name: a file of your own, or one that is fetched and verified"),
    ] = {}
    data_dir: Annotated[PathText, Field(description="where staged datasets are kept")] = "data"
    source_dir: Annotated[
        PathText | None, Field(description="a directory with files of datasets and weights that you have")
    ] = None
    imagenet_sha256: Annotated[
        dict[str, Sha256],
        Field(description="SHA-256 of torchvision's ImageNet weights, by model, where the project has none"),
    ] = {}
    download_timeout_s: Annotated[
        float, Field(gt=0, le=86400, description="bound on each source of a dataset or weights, in seconds")
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
    notify: Notifier = []

    _folders: tuple[Path, ...] = PrivateAttr(default=(Path(),))
    _runs: dict[Run, list[str]] | None = PrivateAttr(default=None)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that its paths are relative to: the first that has a file counts."""
        return self._folders

    def file(self, path: str) -> Path:
        """Where a path of the config leads."""
        return first_existing(path, self.folders)

    def looked_for(self, path: str) -> str:
        """Where a file of the config was looked for, for a sentence."""
        return " or ".join(f"'{path}'" for path in dict.fromkeys(f.absolute() / path for f in self.folders))

    def own_kinds(self, *studies: str) -> dict[str, dict[str, Any]]:
        """The config's own kinds that these studies have, or all, as they were written."""
        used = {self.studies[study].kind.name for study in studies} if studies else self.kinds
        return {name: kind.written for name, kind in self.kinds.items() if name in used}

    def staged_path(self, dataset: str) -> str:
        """Where a dataset is staged. A changed definition has another digest, and is another file."""
        return f"{self.data_dir}/{dataset}-{self.datasets[dataset].digest()}.safetensors"

    def weights_path(self, name: str, model: str) -> str:
        """Where the weights that `pretrained` names are: staged, or a file of the user's own."""
        if name == "imagenet":
            return f"{self.data_dir}/weights/imagenet/{model}.safetensors"
        found = self.weights[name]
        if isinstance(found, str):
            return found
        return f"{self.data_dir}/weights/{name}-{found.digest()}/{found.model}.safetensors"

    def model_code(self, model: str) -> str | None:
        """What builds a model of the config's own, with the path of its file; None for another model."""
        if (code := self.models.get(model)) is None:
            return None
        path, _, function = code.rpartition(":")
        return f"{self.file(path)}:{function}"

    def fetched_weights(self) -> dict[str, FetchedWeights]:
        """The weights that are fetched, by their names."""
        return {name: found for name, found in self.weights.items() if isinstance(found, FetchedWeights)}

    def profile_path(self, dataset: str, model: str) -> str:
        """Where the profile of `model` for the images of `dataset` lies."""
        definition = self.datasets[dataset]
        shape = "x".join(map(str, definition.image_shape))
        return f"results/models/{model}/image_shape={shape},classes={definition.classes}/profile.tsv"

    def source_of_batches(self) -> str:
        """`device` or `host`, one for all runs: their times are compared."""
        if self.batches != "auto":
            return self.batches
        studies = [study for study in self.studies.values() if study.kind.reads_staged_datasets]
        varied = any(study.varies("pin_memory") for study in studies)
        return "host" if varied else "device"

    def executed_runs(self) -> list[Run]:
        """Every run once, in the order of the config, without those that are taken from a table."""
        return [
            run
            for run, studies in self.runs().items()
            if any(self.studies[name].records is None for name in studies)
        ]

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


def config_model(kinds: Mapping[str, Kind]) -> type[Config]:
    """The model of a config whose studies are of one of these kinds."""

    class ConfigOfKinds(Config):
        all_kinds: ClassVar[Mapping[str, Kind]] = kinds

    studies: Any = (dict[StudyName, any_study(kinds.values())], ...)  # type: ignore[misc]
    return create_model("Config", __base__=ConfigOfKinds, studies=studies)
