"""The config's datasets: how their files look, and how their pixels are normalised."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ablations.config.sections import PathText, Section
from ablations.config.sources import Source, VerifiedFile
from ablations.kinds.hyperparameters import Name, float_of_yaml


def _of_scaled_pixels(value: Any) -> Any:
    if isinstance(value, (int, float)) and 1 < value <= 255:
        raise ValueError(f"pixels are scaled to 0 to 1, and so it is {value / 255:.4g}")
    return float_of_yaml(value)


Mean = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_of_scaled_pixels)]
Deviation = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), BeforeValidator(_of_scaled_pixels)]


IDX_ROLES = ("train_images", "train_labels", "test_images", "test_labels")


class Dataset(Section):
    """A dataset: how its files look, where they come from, and how its pixels are normalised."""

    format: Literal["idx", "cifar10", "digits", "image_folder"]
    image_shape: Annotated[
        list[Annotated[int, Field(ge=1, le=4096)]],
        Field(min_length=3, max_length=3, description="channels, height, width"),
    ]
    classes: Annotated[int, Field(ge=2, le=100_000)]
    mean: Annotated[list[Mean], Field(description="of each channel, of pixels in 0 to 1")]
    std: Annotated[list[Deviation], Field(description="of each channel, of pixels in 0 to 1")]
    files: dict[Name, VerifiedFile] = {}
    sources: list[Source] = []
    path: Annotated[PathText | None, Field(description="of an image_folder: it holds train/ and test/")] = (
        None
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Dataset":
        channels = self.image_shape[0]
        if channels not in (1, 3):
            raise ValueError(f"image_shape has {channels} channels; images have 1 or 3")
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError(f"mean and std need one number for each of the {channels} channels")
        roles = {"idx": IDX_ROLES, "cifar10": ("archive",)}.get(self.format, ())
        if set(self.files) != set(roles):
            needed = ", ".join(roles) or "no files"
            raise ValueError(f"the format {self.format} needs {needed} under `files`")
        if (self.format == "image_folder") != (self.path is not None):
            raise ValueError("`path` belongs to the format image_folder, which needs it")
        return self

    def identity(self) -> dict[str, Any]:
        """What of the definition determines the staged content: not where its files come from."""
        return self.model_dump(mode="json", exclude={"sources"}, exclude_none=True)

    def digest(self) -> str:
        """A short digest of the identity, by which a run knows the dataset it was planned with."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]
