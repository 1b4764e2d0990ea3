"""Models of the user's own: they are built, trained and resumed as torch's own loop would."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from ablations.config.reading import load_config
from ablations.config.sections import ConfigError
from ablations.errors import AblationsError
from ablations.kinds.cnn import CNN
from ablations.tracking.new_commands import new_commands
from ablations.training import setup
from ablations.training import trainer as training
from ablations.training.kept import keep
from ablations.training.live_taps import LiveConv2d, trim
from ablations.training.models import build_model
from ablations.training.own_models import digest_of_imports
from test_checkpoints import Killed, checkpoint_at, equal, losses
from test_config import DATASETS, PROJECT, STUDY, edited
from test_training_options import plain_losses
from trainings import SHAPE, call, digits, hyperparameters, without_times

# What torchvision's models do not do: layers in two places, tied weights, a layer that is not used, lazy
# layers, a hook, a layer that averages over all batches.
STRANGE = """
import torch
from beside import Block
from torch import nn


class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.first = Block(channels, 8)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.again = self.twice
        self.tied = nn.Conv2d(8, 8, 3, padding=1)
        self.tied.weight = self.first.conv.weight2
        self.plain = nn.Conv2d(8, 8, 3, padding=1)
        self.hooked = nn.Conv2d(8, 8, 3, padding=1)
        self.hooked.register_forward_hook(lambda module, given, out: 2 * out)
        self.norm = nn.BatchNorm2d(8, momentum=None)
        self.unused = nn.Linear(3, 3)
        self.pool = nn.AdaptiveAvgPool2d((1, None))
        self.head = nn.LazyLinear(classes)

    def forward(self, x):
        x = torch.max_pool2d(self.first(x), 4)
        x = self.again(self.twice(x)) + self.tied(x)
        x = self.norm(self.hooked(self.plain(x)))
        return self.head(self.pool(x).flatten(1))


def build(image_shape, classes):
    return Net(image_shape[0], classes)
"""
BESIDE = """
from torch import nn


class Block(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.conv.weight2 = nn.Parameter(nn.Conv2d(width, width, 3).weight.detach())

    def forward(self, x):
        return self.conv(x).relu()
"""


@pytest.fixture
def strange(tmp_path) -> str:
    (tmp_path / "beside.py").write_text(BESIDE)
    (tmp_path / "strange.py").write_text(STRANGE)
    return f"{tmp_path}/strange.py:build"


def run(code: str, folder: Path, kill_at: int | None = None):
    hp = hyperparameters(momentum=0.9, lr=0.01)
    setup.configure(hp, threads=1)
    model = build_model("strange", SHAPE, 10, code)

    def on_step(step: int, total: int) -> None:
        if step == kill_at:
            raise Killed

    checkpoint = checkpoint_at(folder / "checkpoint.pt", interval_s=0)
    return model, training.Trainer(model, digits(64), hp, torch.device("cpu"), on_step, checkpoint).train()


def test_the_engine_trains_a_strange_network_as_torchs_loop_does(strange, tmp_path):
    _, result = run(strange, tmp_path)
    expected = plain_losses(hyperparameters(momentum=0.9, lr=0.01), strange)
    assert [epoch.train_loss for epoch in result.history] == pytest.approx(expected, rel=1e-5)
    assert expected[1] < 0.99 * expected[0]


def test_a_strange_network_that_is_killed_ends_with_the_same_weights(strange, tmp_path):
    whole, expected = run(strange, tmp_path / "whole")
    for kill_at in (1, 3):
        with pytest.raises(Killed):
            run(strange, tmp_path / str(kill_at), kill_at)
        resumed, result = run(strange, tmp_path / str(kill_at))
        assert equal(whole, resumed), f"bit for bit, killed after step {kill_at}"
        assert losses(result) == losses(expected)


def test_only_layers_that_nothing_else_depends_on_are_trimmed(strange):
    model = trim(build_model("strange", SHAPE, 10, strange), SHAPE)
    assert [name for name, module in model.named_modules() if isinstance(module, LiveConv2d)] == ["plain"]


@pytest.mark.parametrize(
    ("asks", "deterministic"),
    [("", "true"), ("torch.use_deterministic_algorithms(False)", "false"),
     ("torch.use_deterministic_algorithms(True, warn_only=True)", "false")],
)  # fmt: skip
def test_a_record_tells_whether_an_own_model_has_allowed_other_bits(asks, deterministic, staged, tmp_path):
    """On a GPU a model may need an operation that torch refuses otherwise."""
    file = tmp_path / "own.py"
    file.write_text(
        f"import torch\n{asks}\n\ndef build(image_shape, classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(classes))\n"
    )
    done = call(staged, tmp_path, "--model", "own", "--model-code", f"{file}:build")
    assert done.returncode == 0, done.stderr
    assert without_times(tmp_path / "record.tsv")["deterministic"] == [deterministic]


def test_an_operation_that_torch_refuses_is_named(staged, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "import torch\n\nclass Net(torch.nn.Module):\n    def __init__(self, classes):\n"
        "        super().__init__()\n        self.head = torch.nn.LazyLinear(classes)\n"
        "    def forward(self, x):\n"
        "        x, places = torch.nn.functional.max_pool2d(x, 2, return_indices=True)\n"
        "        return self.head(torch.nn.functional.max_unpool2d(x, places, 2).flatten(1))\n\n"
        "def build(image_shape, classes):\n    return Net(classes)\n"
    )
    done = call(staged, tmp_path, "--model", "own", "--model-code", f"{file}:build")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "max_unpooling2d_forward_out does not have a deterministic implementation" in last


def test_tied_weights_can_be_kept(strange, tmp_path):
    model = build_model("strange", SHAPE, 10, strange)
    assert keep(["weights"], tmp_path, "its run", model, torch.zeros(2, 10), torch.zeros(2))


def test_nothing_is_written_beside_the_file(strange, tmp_path):
    before = set(tmp_path.rglob("*"))
    build_model("strange", SHAPE, 10, strange)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def other(shape, classes): pass", "models.py has no function 'build' that builds a model"),
        ("build = 3", "models.py has no function 'build' that builds a model"),
        ("def build(:", "models.py, line 1: SyntaxError: "),
        ("\nimport nonexistent", "models.py, line 2: ModuleNotFoundError: No module named 'nonexistent'"),
        ("import sys\nsys.exit(3)", "models.py, line 2: SystemExit: 3"),
        ("def build(): pass", "models.py: TypeError: build() takes 0 positional arguments but 2 were given"),
        ("def build(shape, classes):\n    raise KeyError('x')", "models.py, line 2: KeyError: 'x'"),
        (
            "def build(shape, classes): return 3",
            "build of {file} returned 'int'; it must return",
        ),
        (
            "from torch import nn\ndef build(shape, classes): return nn.Linear(3, classes)",
            "the model of {file}:build failed on two images of 1×8×8: RuntimeError: mat1 and mat2 shapes ",
        ),
        (
            "from torch.nn import *\ndef build(shape, classes): return Sequential(Flatten(), Linear(64, 3))",
            "the model of {file}:build returned a tensor of the shape (2, 3) for two images of 1×8×8; it "
            "must return logits of the shape (2, 10)",
        ),
        (
            "from torch import nn\nclass Two(nn.Flatten):\n    def forward(self, x): return x, x\n"
            "def build(shape, classes): return Two()",
            "the model of {file}:build returned 'tuple' for two images of 1×8×8",
        ),
    ],
)
def test_a_file_that_builds_no_classifier_is_a_sentence(text, told, tmp_path):
    file = tmp_path / "models.py"
    file.write_text(text)
    with pytest.raises(AblationsError) as error:
        build_model("mine", SHAPE, 10, f"{file}:build")
    assert told.format(file=file) in str(error.value)


def test_what_a_file_imports_from_beside_itself_has_a_digest(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    package = tmp_path / "layers_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "block.py").write_text("from torch import nn\nLINEAR = nn.LazyLinear")
    # Imported only when the model is built, and one that is not imported at all.
    text = "def build(shape, classes):\n    from layers_of_test.block import LINEAR\n"
    (tmp_path / "nets.py").write_text(
        f"from torch import nn\n{text}    return nn.Sequential(nn.Flatten(), LINEAR(classes))\n"
    )
    (tmp_path / "other.py").write_text("")
    code = f"{tmp_path / 'nets.py'}:build"
    assert digest_of_imports(code) is None
    build_model("mine", SHAPE, 10, code)
    found = digest_of_imports(code)
    (tmp_path / "other.py").write_text("1")
    assert digest_of_imports(code) == found is not None
    (package / "block.py").write_text("from torch import nn\nLINEAR = nn.LazyLinear  # changed")
    changed = digest_of_imports(code)
    assert changed not in (None, found)
    # By a link the file has another path, and its modules have that of the first import.
    (link := tmp_path.with_name(f"{tmp_path.name}_link")).symlink_to(tmp_path)
    assert digest_of_imports(f"{link / 'nets.py'}:build") == changed


def test_the_workflow_is_no_part_of_a_model_beside_it(monkeypatch, tmp_path):
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations/part.py").write_text("")
    part = ModuleType("ablations.part")
    part.__file__ = str(tmp_path / "ablations/part.py")
    monkeypatch.setitem(sys.modules, part.__name__, part)
    assert digest_of_imports(f"{tmp_path / 'nets.py'}:build") is None


def load(models, **grid):
    study = edited(edited(STUDY, "grid.0.model", "mine"), "table.columns", ...)
    study["grid"][0] |= grid
    return load_config([DATASETS], {"models": models, "studies": {"s": study}}, PROJECT)


def test_the_name_of_an_own_model_is_one_of_a_grid(strange):
    config = load({"mine": strange})
    assert {run.model for run in config.runs()} == {"mine"}
    assert config.model_code("mine") == strange
    assert config.model_code("resnet18") is None


@pytest.mark.parametrize(
    ("models", "grid", "told"),
    [
        ({"mine": "nowhere.py:build"}, {}, "models.mine: there is no file"),
        ({"mine": "tests"}, {}, "'; it is a file and a function that builds the model"),
        ({"mine": "a b.py:not a name"}, {}, "'; it is a file and a function that builds the model"),
        ({"mine": "$(rm x).py:build"}, {}, "; a path here holds no wildcards"),
        ({"my net": "{strange}"}, {}, "it becomes a part of a path"),
        (
            {"mine": "{strange}", "resnet18": "{strange}"},
            {},
            "models.resnet18: this is the name of a model of",
        ),
        ({"mine": "{strange}"}, {"model": "mime"}, "there is no torchvision classification model 'mime'"),
        (
            {"mine": "{strange}"},
            {"pretrained": "imagenet"},
            "torchvision has no weights of mine, which is your",
        ),
    ],
)
def test_what_planning_can_know_of_an_own_model_is_said_then(models, grid, told, strange):
    with pytest.raises(ConfigError) as error:
        load({name: code.replace("{strange}", strange) for name, code in models.items()}, **grid)
    assert told in str(error.value)


def test_the_code_of_a_model_is_shown_once_in_a_directory(tmp_path):
    assert new_commands(tmp_path, models={"mine": "a.py:build"}) == ["the model mine: a.py:build"]
    assert new_commands(tmp_path, models={"mine": "a.py:build"}) == []
    assert new_commands(tmp_path, models={"mine": "b.py:build"}) == ["the model mine: b.py:build"]


def test_a_table_says_that_a_model_changed_between_its_runs():
    def made_by(*digests: str):
        usual = {"model": "mine", "pin_memory": "false", "device": "cpu"}
        names = ("model_sha256", "model_imports_sha256")
        rows = [usual | dict(zip(names, digest.split(), strict=False)) for digest in digests]
        return CNN.notes(rows, ["test_accuracy"])

    of_two = ["The runs of mine were made by 2 versions of its code."]
    assert made_by("a", "b") == made_by("a x", "a y") == made_by("a x", "a y", "a") == of_two
    assert made_by("a", "a") == made_by("", "") == made_by("a x", "a x") == []
    # The second record is of an older version.
    assert made_by("a x", "a") == []
