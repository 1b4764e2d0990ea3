"""How fast networks train: the plain loop, PyTorch Lightning's Trainer, and this engine, side by side.

    python benchmarks/train.py [--model resnet18] [--batch-size 16] [--optimizer adam] [--json PATH]
    python benchmarks/train.py --sweep      # whole runs: one after the other, and as the workflow runs them
    python benchmarks/train.py --device cuda --precision tf32     # all three on the GPU, at this precision

All three take the same steps of the same run on random images of 28×28, in turns and with one thread each;
a ratio is of two turns that followed one another, and the median over the rounds is printed. Lightning is
measured where it is installed (benchmarks/requirements.txt). The roofs are what this machine can do at most:
the measured rate of a matrix product, and the measured bandwidth for the bytes that a step has to move. How
near the engine comes is the time of both, one after the other, as a share of the time of a step. Below stand
the passes of each group of layers by itself, the optimizer left out.
"""

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import torch
from ablations.data.staged import Split, StagedDataset
from ablations.files import write_text
from ablations.kinds.cnn_hyperparameters import CnnHyperparameters
from ablations.training import live_taps, setup
from ablations.training import trainer as training
from ablations.training.models import build_model
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

SHAPE = (1, 28, 28)
TEST_IMAGES = 10
DEVICE = torch.device("cpu")


def images(count: int) -> Split:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return Split(pixels, torch.randint(0, 10, (count,), generator=generator))


def plain_data(split: Split):
    """The images as a user's torchvision dataset gives them: one by one, through PIL and its transforms."""
    from PIL import Image
    from torchvision import datasets, transforms

    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    class Images(datasets.VisionDataset):
        def __len__(self) -> int:
            return len(split)

        def __getitem__(self, i: int):
            return self.transform(Image.fromarray(split.images[i, 0].numpy())), int(split.labels[i])

    return Images("", transform=steps)


def plain_optimizer(model: nn.Module, hp: CnnHyperparameters) -> torch.optim.Optimizer:
    """torch's, with its defaults, as a user calls it."""
    cls = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[hp.optimizer]
    return cls(model.parameters(), lr=hp.lr)


def plain_loop(hp: CnnHyperparameters, steps: int) -> Callable[[], None]:
    torch.manual_seed(hp.seed)
    model = build_model(MODEL, SHAPE, 10).to(DEVICE).train()
    optimizer = plain_optimizer(model, hp)
    loader = DataLoader(plain_data(images(steps * hp.batch_size)), hp.batch_size, shuffle=True)

    def turn() -> None:
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x.to(DEVICE)), y.to(DEVICE))
            loss.backward()
            optimizer.step()
            total += loss.item()

    return turn


def lightning(hp: CnnHyperparameters, steps: int) -> Callable[[], None]:
    import logging

    import lightning as L
    from lightning.pytorch.accelerators import cuda

    # After each training, Lightning frees the memory of cuBLAS, which is that of the engine's graph too.
    cuda._clear_cuda_memory = lambda: None
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = build_model(MODEL, SHAPE, 10)

        def training_step(self, batch, _):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return plain_optimizer(self.net, hp)

    torch.manual_seed(hp.seed)
    module = Module()
    loader = DataLoader(plain_data(images(steps * hp.batch_size)), hp.batch_size, shuffle=True)
    # Its defaults, but for what would write files, or is said on the terminal.
    quiet = {
        "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False,
    }  # fmt: skip

    def turn() -> None:
        L.Trainer(max_epochs=1, accelerator=DEVICE.type, devices=1, **quiet).fit(module, loader)

    return turn


def engine(hp: CnnHyperparameters, steps: int) -> Callable[[], float]:
    """A turn is an epoch; it answers the seconds of training, the evaluation left out."""
    torch.manual_seed(hp.seed)
    model = build_model(MODEL, SHAPE, 10)
    split = images(steps * hp.batch_size)
    data = StagedDataset("random", "", SHAPE, 10, (0.5,), (0.5,), split, images(TEST_IMAGES))
    trainer = training.Trainer(model, data, hp.model_copy(update={"epochs": 10_000}), DEVICE)

    def turn() -> float:
        trainer.hp = trainer.hp.model_copy(update={"epochs": trainer.state.epoch})
        return trainer.train().history[-1].seconds

    return turn


LOOPS: dict[str, Callable] = {"plain": plain_loop, "lightning": lightning, "engine": engine}


def seconds(turn: Callable[[], float | None]) -> float:
    start = time.perf_counter()
    own = turn()
    return own if own is not None else time.perf_counter() - start


def roofs() -> tuple[float, float]:
    """The GFLOP/s of a matrix product and the GB/s of an optimizer's pass, with the threads in use."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    product = min(seconds(lambda: (torch.mm(a, b), None)[1]) for _ in range(20))
    # Three arrays, larger together than any cache: read two, write one.
    x, y, z = (torch.randn(2**24) for _ in range(3))
    add = min(seconds(lambda: (torch.add(x, y, out=z), None)[1]) for _ in range(10))
    return 2 * 1024**3 / product / 1e9, 3 * 4 * 2**24 / add / 1e9


def trimmed() -> nn.Module:
    """The network as the engine trains it."""
    return live_taps.trim(build_model(MODEL, SHAPE, 10), SHAPE).train()


def gflop(module: nn.Module, x: torch.Tensor) -> float:
    """The GFLOP of a forward and a backward pass: three times those of the forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    # Each product by tap is a matrix product too, which the counter does not see inside its function.
    own = sum(
        2 * len(x) * len(conv.pairs) * conv.in_channels * conv.out_channels
        for conv in module.modules() if isinstance(conv, live_taps.LiveConv2d)
    )  # fmt: skip
    return 3 * (counter.get_total_flops() + own) / 1e9


def step_costs(hp: CnnHyperparameters) -> tuple[float, float]:
    """The GFLOP and the GB that a step of the engine needs: three passes, weights, gradients, state."""
    model = trimmed()
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # Forward and backward read the weights, backward writes the gradient; then the optimizer's pass.
    passes = 3 + {"sgd": 3, "adam": 7, "adamw": 7}[hp.optimizer]
    return gflop(model, torch.zeros(hp.batch_size, *SHAPE)), passes * 4 * weights / 1e9


def print_groups(hp: CnnHyperparameters, rate: float, rounds: int) -> None:
    """Time the forward and backward pass of each group of layers by itself, against the rate of products.

    Groups are the children of the network, or, if one child has nearly all of its layers, that one's.
    """
    model = trimmed()
    inner = max(model.children(), key=lambda child: sum(p.numel() for p in child.parameters()))
    groups = dict(inner.named_children() if len(list(model.children())) < 5 else model.named_children())
    inputs: dict[str, torch.Tensor] = {}
    hooks = [
        group.register_forward_pre_hook(lambda _, given, name=name: inputs.update({name: given[0]}))
        for name, group in groups.items()
    ]
    model(torch.randn(hp.batch_size, *SHAPE))
    for hook in hooks:
        hook.remove()
    for name, x in inputs.items():
        group = groups[name]
        # The images need no gradient: one of three passes less.
        work = gflop(group, x) * (1 if x.requires_grad else 2 / 3)
        leaf = x.detach().requires_grad_(x.requires_grad)

        def turn(group: nn.Module = group, leaf: torch.Tensor = leaf) -> None:
            # A copy: the first layer may work in place, which a leaf that needs a gradient forbids.
            y = group(leaf.clone())
            y.backward(torch.ones_like(y))

        took = min(seconds(turn) for _ in range(2 + 3 * rounds))
        share = 100 * work / rate / took
        print(f"  {name:10} {1000 * took:7.2f} ms {work:7.3f} GFLOP {share:4.0f} % of the rate of products")


def peak_memory_mb(name: str, options: argparse.Namespace) -> float:
    """Of a process that does nothing but one loop's turn."""
    command = [sys.executable, __file__, "--only", name, "--model", options.model, "--optimizer"]
    command += [options.optimizer, "--batch-size", str(options.batch_size), "--steps", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def compare(options: argparse.Namespace, hp: CnnHyperparameters) -> dict[str, float]:
    names = [n for n in LOOPS if n != "lightning" or importlib.util.find_spec("lightning")]
    if "lightning" not in names:
        print("PyTorch Lightning is not installed here: pip install -r benchmarks/requirements.txt")
    turns = {name: LOOPS[name](hp, options.steps) for name in names}
    for turn in turns.values():
        turn()
    rounds = [{name: seconds(turn) for name, turn in turns.items()} for _ in range(options.rounds)]
    count = options.steps * hp.batch_size
    results: dict[str, float] = {}
    where = "one thread" if DEVICE.type == "cpu" else torch.cuda.get_device_name()
    print(
        f"{hp.optimizer}, batch {hp.batch_size}, {MODEL}, {hp.precision}, {where}; "
        f"medians of {options.rounds} rounds"
    )
    for name in names:
        speed = statistics.median(count / r[name] for r in rounds)
        ratio = statistics.median(r["plain"] / r[name] for r in rounds)
        results |= {f"{name}_images_per_s": speed, f"{name}_ratio": ratio}
        print(f"{name:10} {speed:7.1f} images/s  {ratio:5.2f} × plain", end="")
        if DEVICE.type == "cpu":
            memory = results[f"{name}_peak_memory_mb"] = peak_memory_mb(name, options)
            print(f"  {memory:6.0f} MB peak memory", end="")
        print()
    if DEVICE.type != "cpu":
        return results
    rate, bandwidth = roofs()
    flop, moved = step_costs(hp)
    at_best = flop / rate + moved / bandwidth
    share = 100 * at_best * results["engine_images_per_s"] / hp.batch_size
    print(
        f"roofs: {rate:.0f} GFLOP/s, {bandwidth:.1f} GB/s; a step needs {flop:.2f} GFLOP and moves "
        f"{moved * 1000:.0f} MB: {1000 * at_best:.1f} ms at best, of which the engine reaches {share:.0f} %"
    )
    print_groups(hp, rate, options.rounds)
    return results | {"gflop_per_s": rate, "gb_per_s": bandwidth, "roof_percent": share}


def sweep(options: argparse.Namespace) -> dict[str, float]:
    """As many runs as cores: the plain loop one after the other with its default threads, and the engine's
    at the same time with one thread each. Start-up is left out on both sides.
    """
    runs = os.cpu_count() or 1
    command = [sys.executable, __file__, "--model", options.model, "--optimizer", options.optimizer]
    command += ["--batch-size", str(options.batch_size), "--steps", str(options.steps)]
    environment = {**os.environ}
    ratios = []
    for _ in range(options.rounds):
        plain = 0.0
        for _ in range(runs):
            done = subprocess.run(
                [*command, "--only", "plain", "--threads", str(runs)],
                capture_output=True, text=True, check=True, env=environment,
            )  # fmt: skip
            plain += float(done.stdout.split()[0])
        together = [
            subprocess.Popen([*command, "--only", "engine"], stdout=subprocess.PIPE, text=True)
            for _ in range(runs)
        ]
        ours = max(float(process.communicate()[0].split()[0]) for process in together)
        ratios.append(plain / ours)
        print(f"{runs} runs: plain {plain:.1f} s, engine {ours:.1f} s, {plain / ours:.2f} times")
    return {"sweep_ratio": statistics.median(ratios)}


def main() -> None:
    global MODEL, DEVICE
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--optimizer", choices=["sgd", "adam", "adamw"], default="adam")
    parser.add_argument("--steps", type=int, default=40, help="steps of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "tf32"], default="fp32", help="that of all three")
    parser.add_argument("--sweep", action="store_true", help="whole runs side by side")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--only", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    MODEL, DEVICE = options.model, torch.device(options.device)
    warnings.filterwarnings("ignore")
    hp = CnnHyperparameters(
        batch_size=options.batch_size,
        optimizer=options.optimizer,
        lr=1e-3,
        epochs=1,
        pin_memory=False,
        precision=options.precision,
        seed=0,
    )
    setup.configure(hp, options.threads)
    if options.only:
        turn = LOOPS[options.only](hp, options.steps)
        turn()
        measured = seconds(turn)
        # Not getrusage's: a process inherits that of the one it was started from.
        status = Path("/proc/self/status").read_text()
        print(measured, int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / 1e6)
        return
    results = sweep(options) if options.sweep else compare(options, hp)
    if options.json:
        write_text(options.json, json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
