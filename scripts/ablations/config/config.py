"""The config: one Pydantic model that is checked whole before any job starts.

`load_config` reads the YAML files, `Config` is what they mean, and `config/schema.json` is
generated from it (`python scripts/write_schema.py`).
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from ablations.errors import AblationsError, nearest
from ablations.kinds.architectures import TORCHVISION_CLASSIFIERS
from ablations.kinds.hyperparameters import KINDS, Name
from ablations.kinds.metrics import METRICS
from ablations.runs.run import SVM_MODEL, Run


class ConfigError(AblationsError):
    """The config is wrong; the message has one line for each problem."""


class Section(BaseModel):
    """A mapping of the config: it knows its keys, and refuses others by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _check_keys(cls, data: Any, handler: Any) -> "Section":
        if not isinstance(data, Mapping):
            return handler(data)
        for key in data:
            if key not in cls.model_fields:
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key '{key}'{hint} (the keys here are {known})",
                    {
                        "key": str(key),
                        "hint": nearest(key, cls.model_fields),
                        "known": ", ".join(cls.model_fields),
                    },
                )
        section = handler(data)
        section._written = dict(data)
        return section

    @property
    def written(self) -> dict[str, Any]:
        """The section as its writer wrote it: the order of keys is that of rows."""
        return self._written


class OneOrMore:
    """Marks a list that may be written as a single value: `16` for `[16]`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        def as_list(value: Any) -> Any:
            values = value if isinstance(value, list) else [value]
            if not values:
                raise ValueError("it holds an empty list, and needs at least one value")
            seen = set()
            for item in values:
                # 1 and true are equal in Python, and are not the same value in a grid.
                if (key := (type(item), repr(item))) in seen:
                    raise ValueError(f"it holds {show(item)} twice")
                seen.add(key)
            return values

        return core_schema.no_info_before_validator_function(as_list, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        listed = handler(schema)
        return {"anyOf": [listed["items"], {**listed, "minItems": 1}]}


def _text_of_one_line(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("it is empty, or has line breaks or control characters")
    return value


def _path(value: str) -> str:
    _text_of_one_line(value)
    if re.search(r"[{}*?<>|;&$`~\"'\\]", value):
        raise ValueError("a path here holds no wildcards, braces, quotes, ~ or shell characters")
    return value


Line = Annotated[str, AfterValidator(_text_of_one_line)]
PathText = Annotated[str, AfterValidator(_path)]
StudyName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


# --- datasets ------------------------------------------------------------------------------------


class Source(Section):
    """A place to fetch a dataset's files from; exactly one of the three is named."""

    torchvision: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9]+$")] = None
    npm: Annotated[str | None, Field(pattern=r"^[a-z0-9][a-z0-9._-]*@[0-9][0-9.]*$")] = None
    debian: Annotated[str | None, Field(pattern=r"^[a-z0-9][a-z0-9+.-]*$")] = None
    folder: PathText | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "Source":
        named = [key for key in ("torchvision", "npm", "debian") if getattr(self, key)]
        if len(named) != 1:
            raise ValueError("a source names exactly one of torchvision, npm and debian")
        return self


class DatasetFile(Section):
    """A file of a dataset: SHA-256 of its uncompressed content, or MD5 of it as distributed."""

    name: PathText
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None
    md5: Annotated[str | None, Field(pattern=r"^[0-9a-f]{32}$")] = None

    @model_validator(mode="after")
    def _one_digest(self) -> "DatasetFile":
        if (self.sha256 is None) == (self.md5 is None):
            raise ValueError("a file needs one digest, sha256 or md5: nothing is used unverified")
        return self


IDX_ROLES = ("train_images", "train_labels", "test_images", "test_labels")


class Dataset(Section):
    """A dataset: how its files look, where they come from, and how its pixels are normalised."""

    format: Literal["idx", "cifar10", "digits", "image_folder"]
    image_shape: Annotated[
        list[Annotated[int, Field(ge=1, le=4096)]],
        Field(min_length=3, max_length=3, description="channels, height, width"),
    ]
    classes: Annotated[int, Field(ge=2, le=100_000)]
    mean: Annotated[list[float], Field(description="of each channel, of pixels in 0 to 1")]
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(description="of each channel")]
    files: dict[Name, DatasetFile] = {}
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


# --- grids ---------------------------------------------------------------------------------------


class Block(Section):
    """One product of a grid: each key holds a value or a list of them."""

    def axes(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The axes in the order written, each with its settings: `{"lr": 0.1}`, or a recipe's."""
        axes = []
        for key in self.written:
            values = getattr(self, key)
            if key == "recipe":
                settings = [{name: getattr(entry, name) for name in entry.written} for entry in values]
            else:
                settings = [{key: value} for value in values]
            axes.append((key, settings))
        return axes


def _grid_models(kind: str) -> tuple[type[Block], type[Block]]:
    """The models of a grid block and of an exclude entry for one kind of run."""
    fields = KINDS[kind].model_fields
    types: dict[str, Any] = {
        name: Annotated[field.annotation, *field.metadata, Field(description=field.description)]
        for name, field in fields.items()
    }
    # No field may hold null, and all may be absent: Pydantic does not check a default.
    scalars: dict[str, Any] = {name: (tp, None) for name, tp in types.items() if name != "seed"}
    places = {"dataset": Name, **({"model": Name} if kind == "cnn" else {})}
    lists: dict[str, Any] = {
        name: (Annotated[list[tp], OneOrMore()], None) for name, tp in {**places, **types}.items()
    }
    entry = create_model(f"{kind.title()}Recipe", __base__=Section, **scalars)
    exclude = create_model(f"{kind.title()}Exclude", __base__=Block, **lists)
    lists.pop("seed", None)
    block = create_model(
        f"{kind.title()}Block",
        __base__=Block,
        **lists,
        recipe=(Annotated[list[entry], Field(min_length=1)], None),
    )
    return block, exclude


CnnBlock, CnnExclude = _grid_models("cnn")
SvmBlock, SvmExclude = _grid_models("svm")


class Table(Section):
    """The layout of a study's table."""

    rows: Annotated[list[str], Field(min_length=1, description="what tells its rows apart")]
    columns: Annotated[str | None, Field(description="one column for each of its levels")] = None
    values: Annotated[list[str], OneOrMore(), Field(description="metrics in its cells")] = ["test_accuracy"]


class Published(Section):
    """Published values to compare a study with."""

    file: PathText
    where: Annotated[
        dict[str, Any], Field(description="levels that the file leaves out: {dataset: mnist}")
    ] = {}


def _file_alone(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


class Study(Section):
    """A named grid, with the table it fills."""

    title: Line
    kind: str
    grid: list[Any]
    exclude: list[Any] = []
    seeds: list[int] = [0]
    table: Table
    published: Annotated[
        Published | None,
        Field(description="published values: a file, or a mapping with it"),
        BeforeValidator(_file_alone, json_schema_input_type=PathText | Published | None),
    ] = None
    _runs: list[Run] | None = PrivateAttr(default=None)

    @property
    def factors(self) -> list[str]:
        """What can vary in this kind of study, besides the seed, in the order of a path."""
        places = ["dataset", "model"] if self.kind == "cnn" else ["dataset"]
        return places + [name for name in KINDS[self.kind].model_fields if name != "seed"]

    def varies(self, name: str) -> bool:
        """Whether the grid holds more than one value of a hyperparameter; excludes are not looked at."""
        levels = set()
        for block in self.grid:
            for _, settings in block.axes():
                levels |= {setting[name] for setting in settings if name in setting}
        return len(levels) > 1

    def excludes(self, run: Run) -> bool:
        """Whether an entry of `exclude` matches a run."""
        return any(_matches(run, entry) for entry in self.exclude)

    def runs(self) -> list[Run]:
        """The runs of the study in the order of the config, each once.

        Raises ConfigError, with the key within the study, for points that are no runs and for
        excludes that remove nothing or everything.
        """
        if self._runs is None:
            self._runs = self._expand()
        return self._runs

    def _expand(self) -> list[Run]:
        runs: dict[Run, None] = {}
        for i, block in enumerate(self.grid):
            try:
                runs.update(dict.fromkeys(self._runs_of(block)))
            except ConfigError as error:
                text = str(error)
                raise ConfigError(f"grid[{i}]{'' if text[0] == '.' else ': '}{text}") from None
        for i, entry in enumerate(self.exclude):
            if not entry.written:
                raise ConfigError(f"exclude[{i}]: it is empty, and would remove every run")
            kept = {run: None for run in runs if not _matches(run, entry)}
            if len(kept) == len(runs):
                raise ConfigError(
                    f"exclude[{i}]: it removes nothing; no run left in the grid has "
                    + " and ".join(
                        f"{key}={'|'.join(map(show, getattr(entry, key)))}" for key in entry.written
                    )
                )
            if not kept:
                raise ConfigError(f"exclude[{i}]: it removes every run that was left")
            runs = kept
        for run in runs:
            if conflict := run.hyperparameters.conflict():
                raise ConfigError(
                    f"grid: {run.hyperparameters.canonical()}: {conflict}; "
                    "exclude it, or set both together in a `recipe`"
                )
        return list(runs)

    def _runs_of(self, block: Block) -> Iterator[Run]:
        cls = KINDS[self.kind]
        core = [name for name in cls.core() if name != "seed"]
        seeds = [{"seed": seed} for seed in self.seeds] if "seed" in cls.model_fields else [{}]
        defaults = {n: f.default for n, f in cls.model_fields.items() if not f.is_required()}
        axes = block.axes()
        own = {key for key, _ in axes}
        for key, settings in axes:
            if key == "recipe":
                for i, setting in enumerate(settings):
                    if not setting:
                        raise ConfigError(f".recipe[{i}]: it is empty, and sets nothing")
                    if both := own & setting.keys():
                        name = sorted(both)[0]
                        raise ConfigError(f".recipe[{i}].{name}: the block already holds `{name}`")
        for point in itertools.product(*(settings for _, settings in axes), seeds):
            values = {name: value for setting in point for name, value in setting.items()}
            needed = ["dataset", *(["model"] if self.kind == "cnn" else []), *core]
            if missing := [name for name in needed if name not in values]:
                raise ConfigError(f"{missing[0]} is missing; every {self.kind} run needs {', '.join(needed)}")
            dataset = values.pop("dataset")
            model = values.pop("model", SVM_MODEL)
            # The values were checked axis by axis: checking every point again would make parsing
            # a large grid slow, and each job parses it.
            ordered = {name: values[name] if name in values else defaults[name] for name in cls.model_fields}
            yield Run(dataset, model, cls.model_construct(**ordered))


def _matches(run: Run, entry: Block) -> bool:
    return all(run.value(key) in getattr(entry, key) for key in entry.written)


class CnnStudy(Study):
    """A study of convolutional networks."""

    kind: Literal["cnn"]
    grid: Annotated[list[CnnBlock], Field(min_length=1)]
    exclude: list[CnnExclude] = []
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], OneOrMore()] = [0]


class SvmStudy(Study):
    """A study of support vector classifiers."""

    kind: Literal["svm"]
    grid: Annotated[list[SvmBlock], Field(min_length=1)]
    exclude: list[SvmExclude] = []
    seeds: Annotated[
        list[int],
        Field(max_length=0, description="a support vector classifier has no seed"),
    ] = []


def parse_study(written: Mapping[str, Any]) -> Study:
    """The study that a config's section describes, given as it was written and once checked."""
    cls = {"cnn": CnnStudy, "svm": SvmStudy}[written["kind"]]
    return cls.model_validate(written, strict=True)


# What stands behind the name of a study in the names of its other tables and figures.
ENDINGS = ("_design", "_vs_published", "_effects", "_variance", "_tradeoff", "_grid", "_curves")

# --- the whole -----------------------------------------------------------------------------------


class Config(Section):
    """Everything a workflow is told; see README.md for each key."""

    studies: dict[StudyName, Annotated[CnnStudy | SvmStudy, Field(discriminator="kind")]]
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
            description="the tables, figures and report of the runs that are there: the others are marked, "
            "and not begun"
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

    def runs(self) -> dict[Run, list[str]]:
        """Every run once, in the order of the config, with the names of the studies it is in."""
        if self._runs is None:
            self._runs = {}
            for name, study in self.studies.items():
                for run in study.runs():
                    self._runs.setdefault(run, []).append(name)
        return self._runs


def load_config(
    files: Sequence[Path],
    overrides: Mapping[str, Any] | None = None,
    root: Path = Path(),
    expand: bool = True,
) -> Config:
    """Read and check the config.

    `files` are merged in order, later ones over earlier ones; then `overrides`, in which
    `studies` may be a list of names that selects among the studies defined. Paths in the config
    are relative to `root`. With `expand=False`, what only the list of all runs can show is not
    checked: to make that list takes seconds where there are hundreds of thousands of them.

    Raises ConfigError with one line for each problem found.
    """
    data: dict[str, Any] = {}
    for file in files:
        _merge(data, _read_yaml(Path(file)))
    # Snakemake takes True and 1 from its command line, and leaves YAML's true as a text.
    texts = {"true": True, "false": False}
    overrides = {
        key: texts.get(value, value) if isinstance(value, str) else value
        for key, value in (overrides or {}).items()
    }
    selection = overrides.get("studies")
    if isinstance(selection, Mapping):
        selection = None
    else:
        overrides.pop("studies", None)
    _merge(data, overrides)
    try:
        config = Config.model_validate(data, strict=True)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentences(error, data))) from None
    if selection is not None:
        config = _select(config, selection)
    if problems := list(_check_studies(config, root, expand)):
        raise ConfigError("\n".join(problems))
    return config


def _select(config: Config, selection: Any) -> Config:
    names = [selection] if isinstance(selection, str) else selection
    if not isinstance(names, list) or not names:
        raise ConfigError(f"studies: it holds {show(selection)}; select with 'studies=[a, b]'")
    for name in names:
        if name not in config.studies:
            raise ConfigError(
                f"studies: there is no study '{name}'{nearest(name, config.studies)} "
                f"(there are {', '.join(config.studies)})"
            )
    chosen = {name: study for name, study in config.studies.items() if name in names}
    return config.model_copy(update={"studies": chosen})


def _check_studies(config: Config, root: Path, expand: bool) -> Iterator[str]:
    if not config.studies:
        yield "studies: it is empty, and there is nothing to run"
    for name, study in config.studies.items():
        where = f"studies.{name}"
        for ending in ENDINGS:
            if name.endswith(ending):
                yield f"{where}: a name that ends in {ending} is taken by a table or figure; choose another"
        unknown = list(_check_names(config, study, where))
        if unknown:
            yield from unknown
            continue
        if not expand:
            continue
        try:
            runs = study.runs()
        except ConfigError as error:
            yield f"{where}.{error}"
            continue
        yield from _check_table(study, runs, f"{where}.table")
        if study.published is not None:
            yield from _check_published(study, f"{where}.published", root)
    for name, path in config.weights.items():
        if name in ("none", "imagenet"):
            yield f"weights.{name}: this name is taken; give your file another"
        elif not (root / path).is_file():
            yield f"weights.{name}: there is no file '{path}'"


def _check_names(config: Config, study: Study, where: str) -> Iterator[str]:
    """Names in the grid that stand for something defined elsewhere."""
    known: dict[str, tuple[str, Iterable[str]]] = {
        "dataset": ("dataset", config.datasets),
        "model": ("torchvision classification model", TORCHVISION_CLASSIFIERS),
        "pretrained": ("weights", ["none", "imagenet", *config.weights]),
    }
    blocks = [(f"grid[{i}]", block) for i, block in enumerate(study.grid)]
    blocks += [(f"exclude[{i}]", entry) for i, entry in enumerate(study.exclude)]
    for place, block in blocks:
        for _, settings in block.axes():
            for setting in settings:
                for key, value in setting.items():
                    what, names = known.get(key, ("", None))
                    if names is not None and value not in names:
                        shown = sorted(names)
                        listed = f" (there are {', '.join(shown)})" if len(shown) < 12 else ""
                        yield (
                            f"{where}.{place}.{key}: there is no {what} '{value}'"
                            f"{nearest(value, names)}{listed}"
                        )


def _check_table(study: Study, runs: Sequence[Run], where: str) -> Iterator[str]:
    table = study.table
    factors = study.factors
    keys = [*table.rows, *([table.columns] if table.columns else [])]
    names = [("rows", key) for key in table.rows]
    names += [("columns", table.columns)] if table.columns else []
    for place, key in names:
        if key not in factors:
            yield (
                f"{where}.{place}: '{key}' is no hyperparameter of a {study.kind} run"
                f"{nearest(key, factors)} (there are {', '.join(factors)})"
            )
            return
        if keys.count(key) > 1:
            yield f"{where}.{place}: '{key}' is named twice"
            return
    metrics = [name for name, metric in METRICS.items() if study.kind in metric.kinds]
    for value in table.values:
        if value not in metrics:
            yield (
                f"{where}.values: '{value}' is no metric of a {study.kind} run"
                f"{nearest(value, metrics)} (there are {', '.join(metrics)})"
            )
            return
    if table.columns and len(table.values) > 1:
        yield f"{where}.values: with `columns`, a table holds one metric, and not {len(table.values)}"
        return
    levels = {key: {run.value(key) for run in runs} for key in factors}
    for key in factors:
        if len(levels[key]) > 1 and key not in keys and not _determined(key, keys, runs):
            yield (
                f"{where}: {key} varies in the grid and stands in neither rows nor columns; "
                "different runs would share a cell"
            )


def _determined(key: str, keys: Sequence[str], runs: Sequence[Run]) -> bool:
    """Whether the level of `key` follows from those of `keys` in every run."""
    seen: dict[tuple[Any, ...], Any] = {}
    for run in runs:
        value = run.value(key)
        if seen.setdefault(tuple(map(run.value, keys)), value) != value:
            return False
    return True


def _check_published(study: Study, where: str, root: Path) -> Iterator[str]:
    assert study.published is not None
    path = root / study.published.file
    try:
        first = path.read_text(encoding="utf-8-sig").partition("\n")[0]
        header = [column.strip() for column in first.split("\t")]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        yield f"{where}: '{study.published.file}' cannot be read ({reason})"
        return
    pivot = study.table.columns
    for key, value in study.published.where.items():
        if key not in study.factors:
            yield f"{where}.where: '{key}' is no hyperparameter{nearest(key, study.factors)}"
        elif not any(run.value(key) == value for run in study.runs()):
            yield f"{where}.where.{key}: no run of the study has {show(value)}"
    levels = {str(run.value(pivot)) for run in study.runs()} if pivot else set()
    known = {*study.factors, *levels, *METRICS}
    for column in header:
        if header.count(column) > 1:
            yield f"{where}: '{study.published.file}' has the column '{column}' twice"
            return
        if column not in known:
            yield (
                f"{where}: '{study.published.file}' has a column '{column}', which is neither a "
                f"hyperparameter nor a metric{' nor a ' + pivot if pivot else ''}"
                f"{nearest(column, known)}"
            )


# --- reading -------------------------------------------------------------------------------------


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML says that keys are unique; PyYAML keeps the last and drops the others silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key != "<<" and isinstance(key, str):
                if key in seen:
                    line = key_node.start_mark.line + 1
                    raise ConfigError(f"line {line}: the key '{key}' stands here a second time")
                seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            data = yaml.load(file, Loader=_UniqueKeyLoader)  # noqa: S506, a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: it is no UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{path}: line {line}: it is no YAML ({error.problem})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: it is no YAML ({error})") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: it holds {show(data)}, and a config is a mapping")
    return data


def _merge(into: dict[str, Any], data: Mapping[str, Any]) -> None:
    for key, value in data.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


# --- sentences -----------------------------------------------------------------------------------


def show(value: Any) -> str:
    """A value as its writer would recognise it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if len(str(value)) > 40 else str(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "...'"


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_pattern_mismatch": "text of the form {pattern}",
    "literal_error": "{expected}",
    "union_tag_invalid": "{expected_tags}",
}


def _sentences(error: ValidationError, data: Any) -> list[str]:
    """One sentence for each place; the branches of a union are one place."""
    by_place: dict[str, list[Any]] = {}
    for problem in error.errors(include_url=False):
        place, value = _place(problem["loc"], data, problem["type"])
        by_place.setdefault(place, []).append((problem, value))
    return [_sentence(place, problems) for place, problems in by_place.items()]


def _place(loc: Sequence[Any], data: Any, kind: str) -> tuple[str, Any]:
    """The key as the user wrote it, and what it holds; Pydantic's own markers are left out."""
    place = ""
    for i, step in enumerate(loc):
        if isinstance(data, Mapping) and step in data:
            place += f".{step}"
            data = data[step]
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            place += f"[{step}]"
            data = data[step]
        elif kind == "missing" and i == len(loc) - 1:
            place += f".{step}"
        elif step == "[key]":
            data = loc[i - 1]
    return place.lstrip("."), data


def _sentence(place: str, problems: Sequence[tuple[Any, Any]]) -> str:
    problem, value = problems[0]
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "unknown_key":
        where = f"{place}.{context['key']}" if place else context["key"]
        return f"{where}: {problem['msg']}"
    if kind == "missing":
        return f"{place}: it is missing"
    if kind == "union_tag_not_found":
        return f"{place}.kind: it is missing; a study is of kind {' or '.join(KINDS)}"
    if kind == "value_error":
        return f"{place}: it holds {show(value)}; {context['error']}"
    if kind == "too_long" and place.endswith(".seeds"):
        return f"{place}: nothing is random in an SVM, and its study has no seeds; leave it out"
    if kind == "union_tag_invalid":
        place, value = f"{place}.kind", context["tag"]
    expected = []
    for each, _ in problems:
        phrase = _EXPECTED.get(each["type"], each["msg"]).format(**each.get("ctx", {}))
        if phrase not in expected:
            expected.append(phrase)
    choices = re.findall(r"'([^']*)'", " ".join(expected))
    return f"{place}: it holds {show(value)}; it may hold {' or '.join(expected)}{nearest(value, choices)}"
