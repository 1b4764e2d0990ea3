"""Checks of the models that networks have, and of the weights that they start from."""

from collections.abc import Iterator, Sequence

from ablations.config.config import Config
from ablations.errors import nearest
from ablations.files import is_there
from ablations.kinds.architectures import TORCHVISION_CLASSIFIERS, images_it_takes
from ablations.runs.run import Run


def check_sources(config: Config) -> Iterator[str]:
    """The files of the config's own models and weights, and the names of torchvision's."""
    for name, code in config.models.items():
        path = code.rpartition(":")[0]
        if name in TORCHVISION_CLASSIFIERS:
            yield f"models.{name}: this is the name of a model of torchvision; choose another"
        yield from _check_file(config, f"models.{name}", path)
    for model in config.imagenet_sha256:
        if model not in TORCHVISION_CLASSIFIERS:
            yield f"imagenet_sha256.{model}: unknown model{nearest(model, TORCHVISION_CLASSIFIERS)}"
    for name, weights in config.weights.items():
        if name in ("none", "imagenet"):
            yield f"weights.{name}: this name is taken; give your file another"
        elif isinstance(weights, str):
            yield from _check_file(config, f"weights.{name}", weights)
        elif weights.model not in TORCHVISION_CLASSIFIERS:
            yield (
                f"weights.{name}.model: there is no model '{weights.model}'"
                f"{nearest(weights.model, TORCHVISION_CLASSIFIERS)}"
            )


def _check_file(config: Config, where: str, path: str) -> Iterator[str]:
    if not is_there(config.file(path)):
        yield f"{where}: there is no file {config.looked_for(path)}"
    elif not config.file(path).is_file():
        yield f"{where}: '{config.file(path)}' is not a regular file"


def check_starts(config: Config, runs: Sequence[Run], where: str) -> Iterator[str]:
    """Whether weights are those of the model that starts from them."""
    fetched = config.fetched_weights()
    if not fetched and not config.models:
        return
    starts = {(str(run.values().get("pretrained")), str(run.model)) for run in runs}
    for name, model in sorted(starts):
        if name in fetched and model != fetched[name].model:
            yield (
                f"{where}: a {model} cannot start from '{name}', which are weights of {fetched[name].model}; "
                "use another block of the grid, or `exclude`"
            )
        if name == "imagenet" and model in config.models:
            yield (
                f"{where}: torchvision has no weights of {model}, which is your own model; name a file of "
                "its weights under `weights`"
            )


def check_images(config: Config, runs: Sequence[Run], where: str) -> Iterator[str]:
    """Models that cannot take the images: each run would find that out by itself."""
    for dataset, model in dict.fromkeys((run.dataset, run.model) for run in runs):
        _, height, width = config.datasets[dataset].image_shape
        if wanted := images_it_takes(model, height, width):
            yield (
                f"{where}.model: {model} takes {wanted}, and those of {dataset} have {height}×{width}; "
                "choose another model, or another image_shape"
            )
