"""A run loads no compiler, and a process with the stub can still compile."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
WITH_THE_STUB = """
import json, sys, warnings
sys.path[:0] = ["scripts"]
import torch
from ablations.training.light_imports import keep_the_compiler_out
keep_the_compiler_out()
def compiler():
    return [name for name in sys.modules if name.startswith(("sympy", "torch._dynamo", "torch._inductor"))]
"""
STUBS = ["torch._dynamo", "torch._dynamo.utils"]


def test_tables_and_figures_import_no_more_than_they_need():
    """Each is made by a process of its own."""
    code = (
        "import json, sys; sys.path[:0] = ['scripts']; import ablations.presentation.WHAT\n"
        "print(json.dumps([n for n in ('pandas', 'scipy.stats', 'scipy.optimize') if n in sys.modules]))"
    )
    for what, expected in (("tables", ["pandas"]), ("figures", [])):
        command = [sys.executable, "-c", code.replace("WHAT", what)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == expected, what


def answer(code: str) -> Any:
    """What `code` prints as JSON in a process that has the stub."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITH_THE_STUB + code],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_no_model_of_torchvision_loads_the_compiler():
    """One of each family, on the meta device. regnet computes its widths with real tensors."""
    families = (
        "alexnet convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 maxvit_t mnasnet0_5 "
        "mobilenet_v2 mobilenet_v3_small regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5 "
        "squeezenet1_1 swin_t swin_v2_t vgg11 vit_b_32 wide_resnet50_2"
    )
    loaded = answer(f"""
from ablations.training.models import build_model
for draw in ("normal_", "uniform_"):
    setattr(torch.Tensor, draw, lambda tensor, *_, **__: tensor)
for name in "{families}".split():
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        build_model(name, (1, 224, 224), 10)
# The meta device, on which nothing is drawn and computed, imports sympy.
print(json.dumps([name for name in compiler() if not name.startswith("sympy")]))
""")
    assert loaded == STUBS


def test_a_training_imports_no_compiler():
    loaded = answer("""
from ablations.data.staged import Split, StagedDataset
from ablations.kinds.cnn_hyperparameters import CnnHyperparameters
from ablations.training import models
from ablations.training import setup
from ablations.training import trainer as training
split = Split(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64))
dataset = StagedDataset("blank", "", (1, 8, 8), 10, (0.5,), (0.5,), split, split)
for optimizer in ("sgd", "adam", "adamw"):
    hp = CnnHyperparameters(batch_size=4, optimizer=optimizer, lr=0.1, epochs=1, pin_memory=False, seed=0)
    setup.configure(hp, 1)
    model = models.build_model("resnet18", (1, 8, 8), 10)
    models.check_batches(model, (1, 8, 8), 8, 4)
    training.Trainer(model, dataset, hp, torch.device("cpu")).train()
print(json.dumps([compiler(), [name for name in ("pandas", "sklearn") if name in sys.modules]]))
""")
    assert loaded == [STUBS, []]


USES = {
    "profiler": """
with torch.profiler.profile() as profiler:
    torch.zeros(3).sum()
result = "aten::sum" in {event.key for event in profiler.key_averages()}
""",
    "compile": """
compiled = torch.compile(lambda x: x.sin() + 1, backend="eager", fullgraph=True)
result = torch.equal(compiled(torch.ones(3)), torch.ones(3).sin() + 1)
""",
    "func": """
result = torch.func.vmap(torch.func.grad(lambda x: x**2))(torch.arange(3.0)).tolist() == [0, 2, 4]
""",
    "checkpoint": """
from torch.utils.checkpoint import checkpoint
x = torch.ones(3, requires_grad=True)
checkpoint(lambda x: (x**2).sum(), x, use_reentrant=False).backward()
result = x.grad.tolist() == [2, 2, 2]
""",
    "torchvision.ops": """
from torchvision.ops import roi_align
boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
result = roi_align(torch.ones(1, 1, 4, 4), boxes, 2).tolist() == [[[[1, 1], [1, 1]]]]
""",
}


def test_what_needs_the_compiler_works_beside_the_stub():
    """After a step of an optimizer, which has asked the stub; each in a copy of that process."""
    found = answer(f"""
import os, traceback
from torchvision.models import resnet18
model = resnet18(num_classes=10)
optimizer = torch.optim.Adam(model.parameters(), fused=True)
model(torch.zeros(2, 3, 32, 32)).sum().backward()
optimizer.step()
optimizer.zero_grad()
assert compiler() == {STUBS}
found = {{}}
for name, use in {USES}.items():
    if (copy := os.fork()) == 0:
        status = 1
        try:
            exec(use)
            status = 0 if result else 1
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    found[name] = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
print(json.dumps(found))
""")
    assert found == dict.fromkeys(USES, 0)


@pytest.mark.parametrize("first", ["import torch._dynamo.config", "from torch._dynamo import eval_frame"])
def test_the_compiler_is_loaded_once_and_whole(first):
    """A module that is executed twice would leave two copies, and settings of one that the other lacks."""
    assert (
        answer(f"""
{first}
import torch._dynamo.config, torch._dynamo.eval_frame, torch._dynamo.utils
package = sys.modules["torch._dynamo"]
print(json.dumps([
    torch._dynamo is package,
    package.config is sys.modules["torch._dynamo.config"] is package.eval_frame.config,
    package.utils is sys.modules["torch._dynamo.utils"] is package.eval_frame.utils,
    package.config.__spec__.origin.endswith("config.py"),
    package.eval_frame.__spec__.origin.endswith("eval_frame.py"),
]))
""")
        == [True] * 5
    )


def test_a_compiler_that_is_loaded_already_stays():
    done = subprocess.run(
        [sys.executable, "-c", "import torch._dynamo\nbefore = torch._dynamo\n" + WITH_THE_STUB
         + "assert torch._dynamo is before is sys.modules['torch._dynamo']"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
