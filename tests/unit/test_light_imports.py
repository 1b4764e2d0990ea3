"""A run imports what it uses, and what it imports is torchvision's own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ablations.kinds.architectures import TORCHVISION_CLASSIFIERS

PROJECT = Path(__file__).parents[2]
# A small one of every module of torchvision.
FAMILIES = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t",
    "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vit_b_32", "wide_resnet50_2",
]  # fmt: skip
BUILD = """
import inspect, json, sys
sys.path.insert(0, "scripts")
import torch
from ablations.training.light_imports import builder, keep_the_compiler_out
def where(builder):
    code = inspect.unwrap(builder).__code__
    return [builder.__module__, builder.__qualname__, code.co_filename, code.co_firstlineno]
"""


def answer(code: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD + code, *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_model_is_torchvisions_own():
    names = list(TORCHVISION_CLASSIFIERS)
    whole = "from torchvision.models import get_model_builder as builder\n"
    ask = "print(json.dumps({name: where(builder(name)) for name in sys.argv[1:]}))"
    light = answer(ask, *names)
    assert list(light) == names
    assert light == answer(whole + ask, *names)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_family_needs_the_rest(name):
    options = ", aux_logits=False, init_weights=False" if name in ("googlenet", "inception_v3") else ""
    loaded = answer(
        "keep_the_compiler_out()\n"
        f"model = builder(sys.argv[1])(num_classes=10{options})\n"
        "assert sum(p.numel() for p in model.parameters()) > 10_000\n"
        "rest = ('torchvision', 'sympy', 'torch._dynamo')\n"
        "print(json.dumps([m for m in sys.modules if m.startswith(rest)]))",
        name,
    )
    assert loaded == ["torch._dynamo"], "the stand-in, and nothing of torchvision stays"


def test_torchvision_can_be_imported_afterwards():
    code = (
        "import sys; sys.path.insert(0, 'scripts'); from ablations.training.light_imports import builder; "
        "builder('resnet18'); import torchvision; "
        "assert torchvision.ops.nms and torchvision.models.resnet.ResNet; "
        "assert builder('resnet18') is torchvision.models.resnet18"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_training_imports_no_compiler(tmp_path):
    code = """
import sys; sys.path[:0] = ["scripts", "tests/unit"]
import torch
from ablations.training import light_imports
from ablations.training import models
from ablations.training import setup
from ablations.training import trainer as training
light_imports.keep_the_compiler_out()
from ablations.data.staged import Split, StagedDataset
from ablations.kinds.hyperparameters import CnnHyperparameters
split = Split(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64))
dataset = StagedDataset("blank", "", (1, 8, 8), 10, (0.5,), (0.5,), split, split)
hp = CnnHyperparameters(batch_size=4, optimizer="adam", lr=0.1, epochs=1, pin_memory=False, seed=0)
setup.configure(hp, 1)
model = models.build_model("resnet18", (1, 8, 8), 10)
models.check_batches(model, (1, 8, 8), 8, 4)
training.Trainer(model, dataset, hp, torch.device("cpu")).train()
print(" ".join(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert not loaded & {
        "torchvision",
        "torch._dynamo.utils",
        "torch._inductor",
        "sympy",
        "pandas",
        "sklearn",
    }
