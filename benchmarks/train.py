"""How fast networks train: the plain loop, PyTorch Lightning's Trainer, and this engine, side by side.

    python benchmarks/train.py [--model resnet18] [--batch-size 16] [--optimizer adam] [--json PATH]
    python benchmarks/train.py --roofs      # what bounds the engine, by itself; also on a busy machine
    python benchmarks/train.py --sweep      # whole runs: one after the other, and as the workflow runs them
    python benchmarks/train.py --device cuda --precision tf32     # all three on the GPU, at this precision

All three take the same steps of the same run on random images of 28×28, in turns and with one thread each;
a ratio is of two turns that followed one another, and the median over the rounds is printed. Lightning is
measured where it is installed (benchmarks/requirements.txt). The roofs are what this machine can do at most:
the measured rate of a matrix product, and the measured bandwidth for the bytes that a step has to move. How
near the engine comes is the time of both, one after the other, as a share of the time of a step. Below stand
the passes of each group of layers by itself, and the optimizer's. Roofs, and what is compared with them, are
in the time of the processor, measured in turns: other programs on the machine change it little.
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
from dataclasses import dataclass
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
        trainer.hp = trainer.hp.model_copy(update={"epochs": trainer.progress.epoch})
        return trainer.train().history[-1].seconds

    return turn


LOOPS: dict[str, Callable] = {"plain": plain_loop, "lightning": lightning, "engine": engine}


def seconds(turn: Callable[[], float | None]) -> float:
    start = time.perf_counter()
    own = turn()
    return own if own is not None else time.perf_counter() - start


def processor_seconds(turn: Callable[[], object]) -> float:
    """The time of the processor: while other programs have it, it stands still."""
    start = time.process_time()
    turn()
    return time.process_time() - start


class Roofs:
    """The GFLOP/s of a matrix product and the GB/s of an optimizer's pass, at this moment."""

    def __init__(self) -> None:
        self._a, self._b = torch.randn(1024, 1024), torch.randn(1024, 1024)
        # Larger than any cache: both are read, and one is written.
        self._x, self._y = torch.randn(2**25), torch.randn(2**25)
        self.measure()

    def measure(self) -> tuple[float, float]:
        product = processor_seconds(lambda: torch.mm(self._a, self._b))
        # In place, as an optimizer does: what is written is not read once more for it.
        add = processor_seconds(lambda: self._x.add_(self._y))
        return 2 * 1024**3 / product / 1e9, 3 * 4 * 2**25 / add / 1e9


@dataclass(frozen=True)
class Measured:
    """Medians of a part of a step: its time, that of its roofs, and the rates that these had."""

    took_s: float
    share: float
    of_products: float
    rates: tuple[float, float]

    @classmethod
    def of(
        cls, turn: Callable[[], object], work: float, moved: float, roofs: Roofs, times: int
    ) -> "Measured":
        """Of a part with so many GFLOP and GB, each time in turn with the roofs."""
        turn()
        rows = []
        for _ in range(times):
            took, (rate, bandwidth) = processor_seconds(turn), roofs.measure()
            rows.append((took, (work / rate + moved / bandwidth) / took, work / rate / took, rate, bandwidth))
        took, share, of_products, rate, bandwidth = map(statistics.median, zip(*rows, strict=True))
        return cls(took, share, of_products, (rate, bandwidth))


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


# Of a step's bytes for each parameter: forward and backward read it, backward writes its gradient.
PASSES = 3
OPTIMIZER_PASSES = {"sgd": 3, "adam": 7, "adamw": 7}


def parameters_gb(module: nn.Module) -> float:
    """The GB of the parameters that are trained."""
    return 4 * sum(p.numel() for p in module.parameters() if p.requires_grad) / 1e9


def step_costs(hp: CnnHyperparameters) -> tuple[float, float]:
    """The GFLOP and the GB that a step of the engine needs: three passes, weights, gradients, state."""
    model = trimmed()
    passes = PASSES + OPTIMIZER_PASSES[hp.optimizer]
    return gflop(model, torch.zeros(hp.batch_size, *SHAPE)), passes * parameters_gb(model)


def thin_products(rows: int, roofs: Roofs, times: int) -> Measured:
    """Products of a batch's rows by matrices of 256×256, as on maps of one place: forward, and backward."""
    x, weights = torch.randn(rows, 256), torch.randn(36, 256, 256).unbind()

    def turn() -> None:
        for weight in weights:
            torch.mm(torch.mm(x, weight.t()), weight)

    return Measured.of(turn, 2 * len(weights) * 2 * rows * 256 * 256 / 1e9, 0.0, roofs, times)


def print_groups(hp: CnnHyperparameters, roofs: Roofs, rounds: int) -> None:
    """Time the forward and backward pass of each group of layers by itself, in turns with the roofs.

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
    parts: dict[str, tuple[Callable[[], object], float, float]] = {}
    for name, x in inputs.items():
        group = groups[name]
        # The images need no gradient: one of three passes less.
        work = gflop(group, x) * (1 if x.requires_grad else 2 / 3)
        leaf = x.detach().requires_grad_(x.requires_grad)

        def turn(group: nn.Module = group, leaf: torch.Tensor = leaf) -> None:
            # A copy: the first layer may work in place, which a leaf that needs a gradient forbids.
            y = group(leaf.clone())
            group.zero_grad()
            y.backward(torch.ones_like(y))

        parts[name] = turn, work, PASSES * parameters_gb(group)
    optimizer = setup.make_optimizer(model, hp)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    parts["optimizer"] = optimizer.step, 0.0, OPTIMIZER_PASSES[hp.optimizer] * parameters_gb(model)
    found = {name: Measured.of(*part, roofs, 4 * rounds) for name, part in parts.items()}
    whole = sum(part.took_s for part in found.values())
    print("  group       time    of all   GFLOP    MB  reached of both roofs  of that of products alone")
    for name, part in found.items():
        _, work, moved = parts[name]
        print(
            f"  {name:10} {1000 * part.took_s:7.2f} ms {100 * part.took_s / whole:4.0f} % {work:7.3f} "
            f"{1000 * moved:5.0f} {100 * part.share:4.0f} % {100 * part.of_products:20.0f} %"
        )
    thin = thin_products(hp.batch_size, roofs, 4 * rounds)
    print(
        f"  products of {hp.batch_size} rows by matrices of 256×256 reach {100 * thin.of_products:.0f} % of "
        "the rate of large products"
    )


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
    return results | compare_with_roofs(options, hp, turns["engine"])


def compare_with_roofs(
    options: argparse.Namespace, hp: CnnHyperparameters, turn: Callable[[], float]
) -> dict[str, float]:
    roofs, (flop, moved) = Roofs(), step_costs(hp)
    step = Measured.of(turn, options.steps * flop, options.steps * moved, roofs, options.rounds)
    rate, bandwidth = step.rates
    share = 100 * step.share
    at_best = 1000 * (flop / rate + moved / bandwidth)
    print(
        f"roofs: {rate:.0f} GFLOP/s, {bandwidth:.1f} GB/s; a step needs {flop:.2f} GFLOP and moves "
        f"{moved * 1000:.0f} MB: {at_best:.1f} ms at best, of which the engine reaches {share:.0f} %"
    )
    print_groups(hp, roofs, options.rounds)
    return {"gflop_per_s": rate, "gb_per_s": bandwidth, "roof_percent": share}


def sweep(options: argparse.Namespace) -> dict[str, float]:
    """As many runs as cores: the plain loop one after the other with its default threads, and the engine's
    at the same time with one thread each. Start-up is left out on both sides.

    The ratio is that of one run with one thread, for each core, less what threads gain the plain loop and
    what the engine's runs lose beside each other. Each is measured, too.
    """
    runs = os.cpu_count() or 1
    command = [sys.executable, __file__, "--model", options.model, "--optimizer", options.optimizer]
    command += ["--batch-size", str(options.batch_size), "--steps", str(options.steps)]

    def turn(loop: str, threads: int = 1, at_a_time: int = 1) -> float:
        words = [*command, "--only", loop, "--threads", str(threads)]
        processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(at_a_time)]
        return max(float(process.communicate()[0].split()[0]) for process in processes)

    rows = []
    for _ in range(options.rounds):
        plain = [turn("plain", runs) for _ in range(runs)]
        ours, alone, with_one_thread = turn("engine", at_a_time=runs), turn("engine"), turn("plain")
        ratio = sum(plain) / ours
        print(f"{runs} runs: plain {sum(plain):.1f} s, engine {ours:.1f} s, {ratio:.2f} times")
        gain = with_one_thread / statistics.mean(plain)
        rows.append((ratio, with_one_thread / alone, gain, ours / alone))
    ratio, single, gain, loss = map(statistics.median, zip(*rows, strict=True))
    print(
        f"medians: {ratio:.2f} times; one run with one thread {single:.2f} times; the plain loop gains "
        f"{gain:.2f} times by {runs} threads; {runs} runs of the engine take {loss:.2f} times as long as one"
    )
    return {"sweep_ratio": ratio, "one_run": single, "gain_by_threads": gain, "loss_at_a_time": loss}


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
    parser.add_argument("--roofs", action="store_true", help="the engine against the roofs alone")
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
    if options.roofs:
        turn = engine(hp, options.steps)
        turn()
        print(f"{hp.optimizer}, batch {hp.batch_size}, {MODEL}; medians of {options.rounds} rounds")
        results = compare_with_roofs(options, hp, turn)
    else:
        results = sweep(options) if options.sweep else compare(options, hp)
    if options.json:
        write_text(options.json, json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
