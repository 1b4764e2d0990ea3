"""The hyperparameters of a run: their types, bounds, defaults, and one canonical spelling.

A field without a default belongs to the core of its kind and always stands in a run's path; the
others stand there only when they differ from their default. Those defaults are therefore frozen
for good, and a new axis is added as a new field *with* a default: it renames no finished run.
"""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

# Between the hyperparameters in a path. Not a comma: Snakemake gives a cluster job its wildcards as
# `--target-jobs RULE:NAME=VALUE,NAME=VALUE`, and splits the values at their commas too.
SEPARATOR = "+"
# Values stand in paths and command lines: no separators, quotes, spaces or shell characters.
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SAFE_NAME_RULE = "letters, digits, '.', '_' and '-', and begins with a letter or digit"


def safe_name(value: str) -> str:
    """`value`, if it can stand in a path and on a command line unquoted."""
    if not SAFE_NAME.fullmatch(value):
        raise ValueError(f"it becomes a part of a path, and holds only {SAFE_NAME_RULE}")
    return value


def _float_of_yaml(value: Any) -> Any:
    """YAML 1.1 reads `1e-3`, which has no point, as text; a user means the number."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


def _none_of_yaml(value: Any) -> Any:
    """`pretrained: null` and `pretrained: none` mean the same."""
    return "none" if value is None else value


Name = Annotated[str, AfterValidator(safe_name)]
# Outside the bounds, so that they stand in the JSON schema under its own names.
FLOAT_OF_YAML = BeforeValidator(_float_of_yaml)
Count = Annotated[int, Field(ge=1)]
AllOrCount = Count | Literal["all"]


class Hyperparameters(BaseModel):
    """What all kinds of runs share: parsing and printing of the canonical spelling."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str]

    @classmethod
    def core(cls) -> list[str]:
        """The names that always stand in a path, in its order."""
        return [name for name, field in cls.model_fields.items() if field.is_required()]

    @classmethod
    def parse_value(cls, name: str, text: str) -> Any:
        """One value from its text. Raises pydantic's ValidationError."""
        field = cls.model_fields[name]
        return TypeAdapter(Annotated[field.annotation, *field.metadata, None]).validate_strings(text)

    def canonical(self) -> str:
        """The readable and canonical spelling, such as `kernel=rbf+train_samples=10000`."""
        return SEPARATOR.join(f"{name}={spell(value)}" for name, value in self.path_items())

    def path_items(self) -> list[tuple[str, Any]]:
        """The (name, value) pairs that stand in the path: the core, what differs, the seed."""
        return [
            (name, getattr(self, name))
            for name, field in type(self).model_fields.items()
            if field.is_required() or getattr(self, name) != field.default
        ]

    def flags(self) -> list[str]:
        """The same pairs as command-line flags: `["--kernel", "rbf", …]`."""
        words = []
        for name, value in self.path_items():
            words += [f"--{name.replace('_', '-')}", spell(value)]
        return words

    def conflict(self) -> str | None:
        """Why these values cannot stand together, or None."""
        return None


class CnnHyperparameters(Hyperparameters):
    """What determines a trained network, besides its dataset and architecture."""

    kind: ClassVar[str] = "cnn"

    batch_size: Annotated[int, Field(ge=1, le=65536, description="images per step")]
    optimizer: Annotated[Literal["sgd", "adam", "adamw"], Field(description="optimizer")]
    lr: Annotated[float, Field(gt=0, le=100, description="learning rate", allow_inf_nan=False), FLOAT_OF_YAML]
    epochs: Annotated[int, Field(ge=1, le=100_000, description="passes over the training images")]
    pin_memory: Annotated[bool, Field(description="page-locked host memory for batches")]
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
    train_samples: Annotated[AllOrCount, Field(description="the first so many training images, or all")] = (
        "all"
    )
    pretrained: Annotated[
        Name,
        BeforeValidator(_none_of_yaml),
        Field(description="none, imagenet, or a name from the config's `weights`"),
    ] = "none"
    seed: Annotated[int, Field(ge=0, lt=2**31, description="seed of weights and order of samples")]

    def conflict(self) -> str | None:
        if self.momentum and self.optimizer != "sgd":
            return f"momentum is a hyperparameter of sgd, and has no meaning for {self.optimizer}"
        return None


class SvmHyperparameters(Hyperparameters):
    """What determines a fitted support vector classifier; it has no seed, nothing is random."""

    kind: ClassVar[str] = "svm"

    kernel: Annotated[Literal["linear", "poly", "rbf", "sigmoid"], Field(description="kernel function")]
    train_samples: Annotated[AllOrCount, Field(description="the first so many training images, or all")]
    C: Annotated[
        float,
        Field(gt=0, description="inverse strength of regularisation", allow_inf_nan=False),
        FLOAT_OF_YAML,
    ] = 1.0
    gamma: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False), FLOAT_OF_YAML] | Literal["scale", "auto"],
        Field(description="kernel coefficient"),
    ] = "scale"
    degree: Annotated[int, Field(ge=1, le=20, description="degree of the poly kernel")] = 3

    def conflict(self) -> str | None:
        defaults = type(self).model_fields
        if self.kernel != "poly" and self.degree != defaults["degree"].default:
            return f"degree belongs to the poly kernel, and has no meaning for {self.kernel}"
        if self.kernel == "linear" and self.gamma != defaults["gamma"].default:
            return "gamma has no meaning for the linear kernel"
        return None


KINDS: dict[str, type[Hyperparameters]] = {cls.kind: cls for cls in (CnnHyperparameters, SvmHyperparameters)}


def spell(value: Any) -> str:
    """The one spelling of a value: `true`, `0.001`, `5`, `rbf`. `1e-3` and 0.001 are one value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).removesuffix(".0").replace("e+", "e")
    return str(value)
