"""What determines a run of the kind `cnn`."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from ablations.kinds.architectures import has_no_dropout
from ablations.kinds.hyperparameters import FLOAT_OF_YAML, AllOrCount, Hyperparameters, Name

# torch's defaults; `sgd` has neither.
BETA1, BETA2 = 0.9, 0.999


def _none_of_yaml(value: Any) -> Any:
    """`pretrained: null` and `pretrained: none` mean the same."""
    return "none" if value is None else value


class CnnHyperparameters(Hyperparameters):
    """What determines a trained network, besides its dataset and architecture."""

    LISTED: ClassVar[tuple[str, ...]] = ("pin_memory",)

    batch_size: Annotated[int, Field(ge=1, le=65536, description="images per step")]
    optimizer: Annotated[Literal["sgd", "adam", "adamw"], Field(description="optimizer")]
    lr: Annotated[float, Field(gt=0, le=100, description="learning rate", allow_inf_nan=False), FLOAT_OF_YAML]
    epochs: Annotated[int, Field(ge=1, le=100_000, description="passes over the training images")]
    pin_memory: Annotated[bool, Field(description="page-locked host memory for batches")] = False
    momentum: Annotated[
        float, Field(ge=0, lt=1, description="momentum of SGD", allow_inf_nan=False), FLOAT_OF_YAML
    ] = 0.0
    weight_decay: Annotated[
        float, Field(ge=0, le=100, description="weight decay", allow_inf_nan=False), FLOAT_OF_YAML
    ] = 0.0
    precision: Annotated[
        Literal["fp32", "tf32", "bf16"], Field(description="precision of convolutions and products")
    ] = "fp32"
    channels_last: Annotated[bool, Field(description="channels last in memory")] = False
    train_samples: Annotated[
        AllOrCount, Field(description="how many of the first training images, or all")
    ] = "all"
    pretrained: Annotated[
        Name,
        BeforeValidator(_none_of_yaml),
        Field(description="none, imagenet, or a name from the config's `weights`"),
    ] = "none"
    nesterov: Annotated[bool, Field(description="Nesterov momentum")] = False
    beta1: Annotated[
        float,
        Field(ge=0, lt=1, description="decay of Adam's first moments", allow_inf_nan=False),
        FLOAT_OF_YAML,
    ] = BETA1
    beta2: Annotated[
        float,
        Field(ge=0, lt=1, description="decay of Adam's second moments", allow_inf_nan=False),
        FLOAT_OF_YAML,
    ] = BETA2
    schedule: Annotated[
        Literal["constant", "cosine", "step", "one_cycle"],
        Field(description="how the learning rate changes from step to step"),
    ] = "constant"
    warmup_epochs: Annotated[
        int, Field(ge=0, le=100_000, description="epochs in which the learning rate rises to lr")
    ] = 0
    label_smoothing: Annotated[
        float,
        Field(
            ge=0, lt=1, description="share of a label that is spread over all classes", allow_inf_nan=False
        ),
        FLOAT_OF_YAML,
    ] = 0.0
    clip_norm: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False), FLOAT_OF_YAML] | Literal["none"],
        BeforeValidator(_none_of_yaml),
        Field(description="largest norm of the gradient of all weights, or none"),
    ] = "none"
    dropout: Annotated[
        Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), FLOAT_OF_YAML] | Literal["default"],
        Field(description="probability of the model's dropout, or default for torchvision's"),
    ] = "default"
    augment: Annotated[
        Literal["none", "flip", "crop_flip"],
        BeforeValidator(_none_of_yaml),
        Field(description="random changes of training images"),
    ] = "none"
    validation: Annotated[
        float,
        Field(ge=0, le=0.5, description="share of the training images held out", allow_inf_nan=False),
        FLOAT_OF_YAML,
    ] = 0.0
    data_seed: Annotated[
        Annotated[int, Field(ge=0, lt=2**31)] | Literal["seed"],
        Field(description="seed of the order of samples and of their changes, or seed for that of the run"),
    ] = "seed"
    seed: Annotated[int, Field(ge=0, lt=2**31, description="seed of weights and order of samples")]

    def conflict(self, model: str | None = None) -> str | None:
        if self.momentum and self.optimizer != "sgd":
            return f"momentum is a hyperparameter of sgd, and has no meaning for {self.optimizer}"
        if self.nesterov and not self.momentum:
            return "nesterov changes how sgd uses its momentum, and momentum is 0"
        if (self.beta1, self.beta2) != (BETA1, BETA2) and self.optimizer == "sgd":
            return "beta1 and beta2 are hyperparameters of adam and adamw, and have no meaning for sgd"
        if self.warmup_epochs and self.schedule == "one_cycle":
            return "one_cycle has a warm-up of its own, and warmup_epochs is not 0"
        if self.warmup_epochs >= self.epochs:
            return f"warmup_epochs is {self.warmup_epochs}, and all epochs are {self.epochs}"
        if model is not None and self.dropout != "default" and has_no_dropout(model):
            return f"{model} has no dropout, and dropout is {self.dropout}"
        return None

    @property
    def seed_of_data(self) -> int:
        """The seed of the order of the samples, and of what augmentation draws."""
        return self.seed if self.data_seed == "seed" else self.data_seed
