"""The checks of `benchmarks/gpu.py`. Each yields lines: PASS, FAIL or VALUE, and what was found."""

import contextlib
import gc
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent
# Of the plugin, one module, which needs neither Snakemake nor submitit.
sys.path[:0] = [str(PROJECT / "scripts"), str(PROJECT / "plugins/snakemake-executor-plugin-submitit/src")]

from ablations.training import light_imports

light_imports.keep_the_compiler_out()

import torch
from ablations.data.staged import Split, StagedDataset, read_metadata
from ablations.kinds.cnn_hyperparameters import CnnHyperparameters
from ablations.runs import state
from ablations.training import models, setup
from ablations.training.batches import Source
from ablations.training.checkpoints import Checkpoint, Stopped
from ablations.training.cuda_graphs import GraphedStep
from ablations.training.lanes import Lane, Steps, take_all
from ablations.training.trainer import Trainer
from snakemake_executor_plugin_submitit.mps import multi_process_service
from torch.nn import functional as F
from torch.utils.data import RandomSampler

Line = tuple[str, str]
SHAPE = (1, 28, 28)
# 21 steps an epoch at batch 16, the last of 5 images.
IMAGES = 325
FP32, TF32, BF16 = ({"precision": name} for name in ("fp32", "tf32", "bf16"))
LAST = {"channels_last": True}
ADAM, SGD = {"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.9, "lr": 0.01}
ADAMW = {"optimizer": "adamw", "weight_decay": 0.05}
# A learning rate that a replay reads anew, and what else a step can do.
OPTIONS = {
    "schedule": "cosine",
    "warmup_epochs": 1,
    "augment": "crop_flip",
    "clip_norm": 1.0,
    "nesterov": True,
}
# A small model of each family.
FAMILIES = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet",
    "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf",
    "regnet_y_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_0", "swin_t",
    "swin_v2_t", "vgg11", "vgg11_bn", "vit_b_16",
)  # fmt: skip
# The speed of the published resnet18 on its GPU, in seconds of 60,000 images: 408 s for 5 epochs.
PUBLISHED_S = 81.6


@dataclass(frozen=True)
class Setting:
    """Where checks run: the device, a folder for their files, and staged datasets by their name."""

    device: torch.device
    folder: Path
    datasets: dict[str, Path]

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"


def hyperparameters(**changes: object) -> CnnHyperparameters:
    plain = {"batch_size": 16, "optimizer": "adam", "lr": 1e-3, "epochs": 2, "pin_memory": False, "seed": 0}
    return CnnHyperparameters.model_validate({**plain, **changes})


def random_data(count: int = IMAGES, shape: tuple[int, int, int] = SHAPE) -> StagedDataset:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)
    split = Split(pixels, torch.randint(0, 10, (count,), generator=generator))
    centre = (0.5,) * shape[0]
    return StagedDataset(
        "random", "", shape, 10, centre, centre, split, Split(pixels[:50], split.labels[:50])
    )


def make_trainer(
    at: Setting,
    model: str,
    hp: CnnHyperparameters,
    data: StagedDataset | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    checkpoint: Checkpoint | None = None,
    *,
    source: Source = "device",
    graph: bool = True,
) -> Trainer:
    """A trainer as train_cnn makes it. On a CPU a closure stands for the graph."""
    data = data or random_data()
    setup.configure(hp, threads=1)
    net = models.build_model(model, data.image_shape, data.classes)
    trainer = Trainer(net, data, hp, at.device, on_step, checkpoint, source, graph=graph)
    if graph and not at.on_gpu:
        clear = trainer._clear_gradients
        trainer._step = GraphedStep(
            trainer._forward_and_back, clear, hp.batch_size, lambda work: lambda: (clear(), work())
        )
    return trainer


def named_state(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Every tensor that the next step depends on, by a name for people."""
    found = {**dict(trainer.model.named_parameters()), **dict(trainer.model.named_buffers())}
    for number, slots in trainer.optimizer.state_dict()["state"].items():
        found |= {
            f"{slot} of parameter {number}": tensor for slot, tensor in slots.items() if tensor is not None
        }
    found["sum of losses"] = trainer._loss_sum
    draws = torch.cuda.get_rng_state() if trainer.device.type == "cuda" else torch.get_rng_state()
    return found | {"random numbers": draws}


def checksums(trainer: Trainer) -> dict[str, int]:
    """A sum over the bits of each tensor of `named_state`."""
    named = named_state(trainer)
    whole = {torch.float32: torch.int32, torch.float64: torch.int64}
    sums = [
        t.detach().contiguous().view(whole.get(t.dtype, t.dtype)).to(torch.int64).sum().cpu()
        for t in named.values()
    ]
    return dict(zip(named, torch.stack(sums).tolist(), strict=True))


def environment(at: Setting) -> Iterator[Line]:
    """The machine, and what torch sees of it."""
    yield "VALUE", f"Python {sys.version.split()[0]}, torch {torch.__version__}, {os.cpu_count()} CPU cores"
    for name, path in sorted(at.datasets.items()):
        yield "VALUE", f"{name}: SHA-256 of the images and labels {read_metadata(path)['sha256']}"
    if not at.on_gpu:
        yield "VALUE", "no GPU: a closure stands for the graph, and only what needs none is checked"
        return
    gpu = torch.cuda.get_device_properties(at.device)
    yield (
        "PASS",
        f"{gpu.name}, {gpu.multi_processor_count} multiprocessors, {gpu.total_memory / 1e9:.0f} GB, CUDA "
        f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
    )
    command = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,mig.mode.current,compute_mode",
        "--format=csv,noheader",
    ]
    with contextlib.suppress(OSError):
        yield "VALUE", subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    control = shutil.which("nvidia-cuda-mps-control")
    yield "VALUE", f"the control program of the multi-process service: {control or 'none'}"


def replays_equal_steps(at: Setting) -> Iterator[Line]:
    """A replayed step has the bits of the step itself, after every step of two epochs."""
    cells = [
        ("resnet18", ADAM), ("resnet18", ADAM | TF32), ("resnet18", ADAM | BF16), ("resnet18", SGD | LAST),
        ("resnet18", ADAMW | TF32 | LAST), ("resnet18", ADAM | BF16 | LAST), ("resnet50", ADAM),
        ("resnet50", ADAMW | TF32 | LAST),
        ("mobilenet_v2", ADAM), ("mobilenet_v2", ADAMW | BF16), ("efficientnet_b0", SGD),
        ("efficientnet_b0", ADAM | TF32), ("resnet18", SGD | OPTIONS),
        ("resnet18", ADAM | {"schedule": "one_cycle"}),
    ]  # fmt: skip
    for model, changes in cells if at.on_gpu else [("shufflenet_v2_x0_5", ADAM)]:
        hp = hyperparameters(**changes)
        seen: tuple[list[dict[str, int]], list[dict[str, int]]] = ([], [])
        for graph in (False, True):
            trainer = make_trainer(at, model, hp, graph=graph)
            trainer.on_step = lambda done, total, trainer=trainer, graph=graph: seen[graph].append(
                checksums(trainer)
            )
            trainer.train()
        difference = next(
            (
                f"step {step}: {name}"
                for step, (plain, replayed) in enumerate(zip(*seen, strict=True), 1)
                for name in plain
                if plain[name] != replayed[name]
            ),
            None,
        )
        text = f"{model} {changes}: {len(seen[0])} steps, graph {trainer.graphed}"
        if difference or not trainer.graphed:
            yield "FAIL", f"{text}; first difference at {difference}"
        else:
            yield "PASS", f"{text}, equal bits after each"


def plain_loop(at: Setting) -> Iterator[Line]:
    """The losses of 12 steps are those of torchvision's whole network with torch's optimizer."""
    cells = [("resnet18", FP32), ("resnet50", FP32), ("resnet18", TF32)]
    for model, changes in cells if at.on_gpu else [("shufflenet_v2_x0_5", FP32)]:
        # Batch normalisation of small maps amplifies float32's last bits; small steps keep them comparable.
        hp, data = hyperparameters(lr=1e-5, epochs=1, **changes), random_data(12 * 16)
        trainer = make_trainer(at, model, hp, data)
        sums = [0.0]
        trainer.on_step = lambda done, total, of=trainer, sums=sums: sums.append(of._loss_sum.item())
        trainer.train()
        losses = [(after - before) / hp.batch_size for before, after in itertools.pairwise(sums)]
        expected = _plain_losses(at, model, hp, data)
        worst = max(abs(a - b) / b for a, b in zip(losses, expected, strict=True))
        # tf32 keeps 10 bits of each factor, and convolutions of other shapes add in another order.
        verdict = "VALUE" if changes == TF32 else "PASS" if worst <= 1e-3 else "FAIL"
        yield verdict, f"{model} {changes}: losses of {len(losses)} steps differ by {worst:.1e} at most"


def _plain_losses(at: Setting, model: str, hp: CnnHyperparameters, data: StagedDataset) -> list[float]:
    """The losses of each step of an epoch, by torch alone."""
    setup.configure(hp, threads=1)
    net = models.build_model(model, data.image_shape, data.classes).to(at.device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=hp.lr)
    order = list(RandomSampler(range(len(data.train)), generator=torch.Generator().manual_seed(hp.seed)))
    losses = []
    for chosen in torch.tensor(order).split(hp.batch_size):
        images = (data.train.images[chosen] / 255 - 0.5) / 0.5
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images.to(at.device)), data.train.labels[chosen].to(at.device))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class _Attempt:
    """What a checkpoint needs of an attempt."""

    identity: dict[str, str] = {"run": "of this check"}

    def write(self) -> None:
        """Nobody reads the state file of this check."""


def resumed(
    at: Setting, model: str, hp: CnnHyperparameters, data: StagedDataset, stop_at: int | None
) -> dict[str, int]:
    """The bits at the end of a training, which was stopped after a step and resumed."""
    with tempfile.TemporaryDirectory(dir=at.folder) as folder:
        for stop in (stop_at, None):
            checkpoint = Checkpoint(Path(folder) / "checkpoint.pt", _Attempt(), interval_s=1e9)  # type: ignore[arg-type]

            def on_step(
                done: int, total: int, stop: int | None = stop, checkpoint: Checkpoint = checkpoint
            ) -> None:
                if done == stop:
                    checkpoint._signal = "STOP"

            trainer = make_trainer(at, model, hp, data, on_step, checkpoint)
            with contextlib.suppress(Stopped):
                trainer.train()
                return checksums(trainer)
    raise AssertionError("a training that nothing stops ends")


def resumes(at: Setting) -> Iterator[Line]:
    """A run that is stopped after a step ends with the bits of one that is not."""
    steps = (1, 2, 3, 4, 5, 20, 21, 22, 30)
    cells = [
        ("resnet18", ADAM, SHAPE, steps), ("resnet18", ADAMW | TF32 | LAST, SHAPE, (3, 21)),
        ("resnet18", SGD | OPTIONS, SHAPE, (2, 22)),
        ("mobilenet_v2", ADAM, SHAPE, (2, 5, 30)), ("efficientnet_b0", SGD, SHAPE, (2, 5, 30)),
        ("vit_b_16", ADAM, (3, 32, 32), (2, 5, 22)), ("swin_t", ADAM, (3, 32, 32), (2, 5, 22)),
        ("vgg11", SGD, (3, 32, 32), (2, 5, 22)),
    ]  # fmt: skip
    for model, changes, shape, stops in (
        cells if at.on_gpu else [("mobilenet_v3_small", ADAM, SHAPE, (2, 22))]
    ):
        hp, data = hyperparameters(**changes), random_data(shape=shape)
        whole = resumed(at, model, hp, data, None)
        for stop in stops:
            again = resumed(at, model, hp, data, stop)
            different = [name for name in whole if whole[name] != again[name]]
            text = f"{model} {changes}, stopped after step {stop}"
            yield (
                ("FAIL", f"{text}: {len(different)} tensors differ, {different[0]} first")
                if different
                else ("PASS", text)
            )


def families(at: Setting) -> Iterator[Line]:
    """Every classifier of torchvision trains with deterministic operations only, graph included."""
    for name in FAMILIES if at.on_gpu else ["shufflenet_v2_x0_5"]:
        size = next(
            s
            for f, s in (("inception", 75), ("alexnet", 64), ("maxvit", 224), ("", 32))
            if name.startswith(f)
        )
        hp = hyperparameters(batch_size=4, epochs=1)
        try:
            trainer = make_trainer(at, name, hp, random_data(32, (3, size, size)))
            trainer.train()
        except Exception as error:
            yield "FAIL", f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
        else:
            yield ("PASS" if trainer.graphed else "FAIL"), f"{name} at {size}×{size}, graph {trainer.graphed}"


def train_cnn(
    at: Setting, name: str, data: str, *flags: str, model: str = "resnet18", before: str = ""
) -> subprocess.Popen[bytes]:
    """Start train_cnn.py as the rule does; its record and log lie in a folder of this name."""
    folder = at.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    script = str(PROJECT / "scripts/train_cnn.py")
    words = (
        [script]
        if not before
        else ["-c", f"{before}\nimport runpy; runpy.run_path({script!r}, run_name='__main__')"]
    )
    words += ["--dataset", str(at.datasets[data]), "--model", model, "--device", at.device.type]
    words += [
        "--batch-size",
        "16",
        "--optimizer",
        "adam",
        "--lr",
        "0.001",
        "--pin-memory",
        "false",
        "--seed",
        "0",
    ]
    words += ["--record", str(folder / "record.tsv"), "--history", str(folder / "history.tsv"), *flags]
    search = [str(PROJECT / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search)}
    with (folder / "run.log").open("ab") as log:
        return subprocess.Popen([sys.executable, *words], stderr=log, stdout=log, env=environment)


def read_row(at: Setting, name: str) -> dict[str, str]:
    """The record of a run, or what its log ends with."""
    folder = at.folder / name
    if not (folder / "record.tsv").exists():
        return {"error": (folder / "run.log").read_text(errors="replace")[-600:]}
    head, row = (folder / "record.tsv").read_text().splitlines()[:2]
    return dict(zip(head.split("\t"), row.split("\t"), strict=True))


def failed_capture(at: Setting) -> Iterator[Line]:
    """A step that cannot be recorded: the run starts again without a graph, and gives the same result."""
    spoiled = (
        "import torch; from torch.nn import functional as F; whole = F.cross_entropy\n"
        "def spoiled(logits, labels, **options):\n"
        "    loss = whole(logits, labels, **options)\n"
        "    if logits.is_cuda: loss.detach().item()\n"
        "    return loss\n"
        "F.cross_entropy = spoiled"
    )
    few = ("--epochs", "1", "--train-samples", "2000" if at.on_gpu else "256")
    # MobileNetV2 draws random numbers, from a generator that a failed recording of torch 2.11 spoils.
    for model in ("resnet18", "mobilenet_v2") if at.on_gpu else ("mobilenet_v3_small",):
        names = f"spoiled {model}", f"eager {model}"
        started = [
            train_cnn(at, names[0], "mnist", *few, model=model, before=spoiled),
            train_cnn(at, names[1], "mnist", *few, "--no-graph", model=model),
        ]
        for process in started:
            process.wait()
        spoiled_row, eager = (read_row(at, name) for name in names)
        log = (at.folder / names[0] / "run.log").read_text(errors="replace")
        said = not at.on_gpu or "cannot be recorded as a CUDA graph" in log
        equal = "test_correct" in eager and spoiled_row.get("test_correct") == eager["test_correct"]
        graph = spoiled_row.get("cuda_graph")
        text = f"{model}: said {said}, graph {graph}, same answers as without a graph {equal}"
        errors = f"{spoiled_row.get('error', '')} {eager.get('error', '')}"
        yield ("PASS" if said and equal else "FAIL"), f"{text} {errors}".strip()


def real_runs(at: Setting) -> Iterator[Line]:
    """train_cnn.py on MNIST and FashionMNIST; one of them is stopped by SIGUSR2, and called again."""
    short = () if at.on_gpu else ("--train-samples", "500")
    flags = ("--epochs", "2", *short)
    together = {name: train_cnn(at, name, data, *flags) for name, data in
                (("mnist", "mnist"), ("fashion_mnist", "fashion_mnist"), ("stopped", "mnist"))}  # fmt: skip
    file = at.folder / "stopped" / state.NAME
    while together["stopped"].poll() is None:
        seen = state.read(file)
        # Of a short run, the state tells the first step, and perhaps no other before the last.
        if seen and seen.progress and (not at.on_gpu or seen.progress.step > seen.progress.steps // 4):
            together["stopped"].send_signal(signal.SIGUSR2)
            break
        time.sleep(0.05)
    together["stopped"].wait()
    train_cnn(at, "stopped", "mnist", *flags).wait()
    for process in together.values():
        process.wait()
    rows = {name: read_row(at, name) for name in together}
    for name, least in (("mnist", 98.3), ("fashion_mnist", 87.0)):
        row = rows[name]
        if "error" in row:
            yield "FAIL", f"{name}: {row['error']}"
            continue
        seconds = ", ".join(f"{c} {row[c]}" for c in ("startup_time_ms", "warm_up_ms", "train_time_ms"))
        text = f"{name}: {row['test_accuracy']} %, graph {row['cuda_graph']}, {seconds}"
        good = not at.on_gpu or (float(row["test_accuracy"]) >= least and row["cuda_graph"] == "true")
        yield ("PASS" if good else "FAIL"), text
    once, twice = rows["mnist"], rows["stopped"]
    equal = (
        "error" not in twice
        and once.get("test_correct") == twice["test_correct"]
        and once["train_loss"] == twice["train_loss"]
    )
    attempts = twice.get("attempts", twice.get("error"))
    text = f"stopped by SIGUSR2 and resumed: {attempts} attempts, equal result {equal}"
    yield ("PASS" if equal and twice["attempts"] == "2" else "FAIL"), text


def digest(at: Setting) -> Iterator[Line]:
    """The bits of one training, for `determinism`."""
    sums = []
    for model, shape in (
        (("resnet18", SHAPE), ("vit_b_16", (3, 32, 32))) if at.on_gpu else (("mobilenet_v3_small", SHAPE),)
    ):
        trainer = make_trainer(at, model, hyperparameters(), random_data(shape=shape))
        trainer.train()
        sums.append(sum(checksums(trainer).values()))
    yield "VALUE", f"digest {sums}"


def inside(at: Setting, name: str, folder: Path) -> list[str]:
    """The command of a process that does one part of a check, with its files in a folder."""
    words = [sys.executable, str(PROJECT / "benchmarks/gpu.py"), "--device", at.device.type]
    return [*words, "--only", name, "--inside", "--out", str(folder)]


def determinism(at: Setting) -> Iterator[Line]:
    """The same run in two processes, once beside a process that keeps the GPU busy."""
    command = inside(at, "digest", at.folder)
    busy = "import torch\nx = torch.randn(4096, 4096, device='cuda')\nwhile True: y = x @ x"
    neighbour = subprocess.Popen([sys.executable, "-c", busy]) if at.on_gpu else None
    answers = []
    for _ in range(2):
        answers.append(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
        if neighbour:
            neighbour.kill()
            neighbour.wait()
            neighbour = None
    equal = answers[0] == answers[1] and "digest" in answers[0]
    yield ("PASS" if equal else "FAIL"), " and ".join(answers)


def memory(at: Setting) -> Iterator[Line]:
    """What torch allocates and reserves for a training, and what the process holds of the GPU."""
    for model, size in itertools.product(("resnet18", "resnet34", "resnet50"), (16, 32)):
        trainer = make_trainer(at, model, hyperparameters(batch_size=size, epochs=1), random_data(20 * size))
        free = torch.cuda.mem_get_info()[0]
        torch.cuda.reset_peak_memory_stats()
        trainer.train()
        allocated, reserved = torch.cuda.max_memory_allocated() / 1e6, torch.cuda.max_memory_reserved() / 1e6
        free, total = torch.cuda.mem_get_info()
        weights = sum(p.numel() for p in trainer.model.parameters()) * 16 / 1e6
        held = (total - free) / 1e6
        yield (
            "PASS" if held < 3000 else "FAIL",  # eight runs fit a GPU of 24 GB
            f"{model} batch {size}: allocated {allocated:.0f} MB, of which {weights:.0f} MB are weights, "
            f"gradients and Adam's state; reserved {reserved:.0f} MB; process {held:.0f} MB",
        )
        del trainer
        # A trainer holds itself by a cycle, so its memory would count for the next one.
        gc.collect()
        torch.cuda.empty_cache()


def speed(at: Setting) -> Iterator[Line]:
    """Milliseconds of a replayed step, the host's part of it, and the images per second of a whole epoch."""
    cells = [
        (m, 16, c)
        for m in ("resnet18", "resnet34", "resnet50")
        for c in (FP32, TF32, TF32 | LAST, BF16 | LAST)
    ]
    cells += [(m, 32, c) for m in ("resnet18", "resnet50") for c in (FP32, TF32 | LAST)]
    for model, size, changes in cells:
        trainer = make_trainer(
            at, model, hyperparameters(batch_size=size, **changes), random_data(400 * size)
        )
        last = trainer.train().history[-1]
        images, labels = next(trainer._batches.take(range(size), size))
        ms = _replay_ms(trainer, images, labels, 300)
        with torch.cuda.stream(trainer._stream):
            start = time.perf_counter()
            # Few: a launch waits for the GPU where many are ahead of it.
            for _ in range(5):
                trainer._step(images, labels)
            host = (time.perf_counter() - start) / 5 * 1e6
            torch.cuda.synchronize()
        epoch = 60_000 / last.images_per_s
        limit = {("resnet18", 16, "fp32"): 5.6, ("resnet18", 16, "tf32last"): 3.6}.get(
            (model, size, changes["precision"] + "last" * ("channels_last" in changes))
        )
        verdict = "VALUE" if limit is None else "PASS" if epoch <= limit else "FAIL"
        text = (
            f"{model} batch {size} {changes}: {ms:.3f} ms a step, host {host:.0f} µs, "
            f"{last.images_per_s:.0f} images/s, {epoch:.2f} s for 60,000 images"
        )
        yield (
            verdict,
            text
            + (
                f" ({PUBLISHED_S / epoch:.1f} times the published speed)"
                if model == "resnet18" and size == 16
                else ""
            ),
        )


def _replay_ms(trainer: Trainer, images: torch.Tensor, labels: torch.Tensor, count: int) -> float:
    """The milliseconds of a replayed step on the GPU, over `count` of them."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with torch.cuda.stream(trainer._stream):
        torch.cuda.synchronize()
        begin.record()
        for _ in range(count):
            trainer._step(images, labels)
        end.record()
        torch.cuda.synchronize()
    return begin.elapsed_time(end) / count


def ratio(at: Setting) -> Iterator[Line]:
    """The plain loop, Lightning and the engine side by side, by benchmarks/train.py, all in fp32."""
    yield from _side_by_side(at, "fp32")


def ratio_tf32(at: Setting) -> Iterator[Line]:
    """The same with tf32 for all three, which torch allows cuDNN by default."""
    yield from _side_by_side(at, "tf32")


def _side_by_side(at: Setting, precision: str) -> Iterator[Line]:
    """Three loops by benchmarks/train.py; on a GPU, ours must train 5 times as fast as the plain loop."""
    command = [sys.executable, str(PROJECT / "benchmarks/train.py"), "--device", at.device.type]
    command += ["--precision", precision, "--rounds", "3", "--steps", "150" if at.on_gpu else "2"]
    file = at.folder / "ratios.json"
    done = subprocess.run([*command, "--json", str(file)], capture_output=True, text=True, check=False)
    for line in (done.stdout or done.stderr[:2000]).strip().splitlines():
        yield ("VALUE" if done.returncode == 0 else "FAIL"), line
    if done.returncode != 0 or not at.on_gpu:
        return
    found = json.loads(file.read_text(encoding="utf-8"))
    for other, least in (("plain", 5), ("lightning", 6)):
        if (rate := found.get(f"{other}_images_per_s")) is not None:
            times = found["engine_images_per_s"] / rate
            yield ("PASS" if times >= least else "FAIL"), f"{times:.1f} times {other}, at least {least}"


def sources(at: Setting) -> Iterator[Line]:
    """Batches from the host, for which pin_memory is, have the bits of those on the device, and its speed."""
    model = "resnet18" if at.on_gpu else "shufflenet_v2_x0_5"
    hp, data = hyperparameters(pin_memory=at.on_gpu), random_data(200 * 16 if at.on_gpu else 64)
    sums, speeds = [], []
    for source in ("device", "host"):
        trainer = make_trainer(at, model, hp, data, source=source)
        speeds.append(trainer.train().history[-1].images_per_s)
        sums.append(checksums(trainer))
    share = speeds[1] / speeds[0]
    equal = sums[0] == sums[1] and trainer.source == "host"
    verdict = "PASS" if equal and (share >= 0.95 or not at.on_gpu) else "FAIL"
    yield verdict, f"{model}: bits equal {equal}, {share:.2f} of the speed of batches on the device"


def member(at: Setting) -> Iterator[Line]:
    """One run of `packs`: it waits until all are ready, and tells when its steps began and ended."""
    steps = int(os.environ["MEMBER_STEPS"])
    trainer = make_trainer(at, "resnet18", hyperparameters(), random_data(16 * steps))
    spans = []

    def on_step(done: int, total: int) -> None:
        if done == steps:
            (at.folder / f"ready-{os.getpid()}").touch()
            while not (at.folder / "go").exists():
                time.sleep(0.001)
            spans.append(time.time())

    trainer.on_step = on_step
    trainer.train()
    if at.on_gpu:
        torch.cuda.synchronize()
    yield "VALUE", f"{spans[0]} {time.time()} {sum(checksums(trainer).values())}"


def packs(at: Setting) -> Iterator[Line]:
    """Several runs at a time on one GPU: in turns, and by NVIDIA's multi-process service."""
    alone = None
    plan = [(1, False), (8, False), (8, True)] if at.on_gpu else [(1, False), (2, False)]
    for count, service in plan:
        with multi_process_service(service) as extra, tempfile.TemporaryDirectory(dir=at.folder) as folder:
            if service and not extra:
                yield "VALUE", "the multi-process service cannot be used here: packs take turns"
                return
            command = inside(at, "member", Path(folder))
            steps = 400 if at.on_gpu else 3
            variables = {**os.environ, **extra, "MEMBER_STEPS": str(steps)}
            members = [
                subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)
                for _ in range(count)
            ]
            while len(list(Path(folder).glob("ready-*"))) < count:
                if any(process.poll() for process in members):
                    break
                time.sleep(0.01)
            (Path(folder) / "go").touch()
            answers = [process.communicate()[0].split()[-3:] for process in members]
        if not all(len(answer) == 3 for answer in answers):
            yield "FAIL", f"{count} runs, service {service}: {answers}"
            continue
        begin, end = min(float(a[0]) for a in answers), max(float(a[1]) for a in answers)
        rate = count * steps * 16 / (end - begin)
        alone = alone or (rate, answers[0][2])
        equal = all(answer[2] == alone[1] for answer in answers)
        verdict = "FAIL" if not equal or (service and count == 8 and rate < 2.5 * alone[0]) else "PASS"
        how = "by MPS" if service else "in turns"
        yield (
            verdict,
            f"{count} at a time {how}: {rate:.0f} images/s together, {rate / alone[0]:.2f} times one; "
            f"bits as alone {equal}",
        )


def lanes(at: Setting) -> Iterator[Line]:
    """Trainings that take their steps in turn have the bits of each alone; on a GPU, also their speed."""
    # As train_lanes.py does. Read when the GPU is first used.
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
    cells = [
        ("resnet18", ADAM), ("resnet18", ADAM | {"seed": 1}), ("mobilenet_v2", ADAM), ("mobilenet_v2", BF16),
        ("efficientnet_b0", SGD), ("resnet18", SGD | LAST | {"epochs": 1}),
    ]  # fmt: skip
    if not at.on_gpu:
        cells = [("mobilenet_v3_small", ADAM), ("mobilenet_v3_small", ADAM | {"seed": 1, "epochs": 1})]
    data = random_data() if at.on_gpu else random_data(88)

    def training(model: str, changes: dict[str, object]) -> Steps[tuple[dict[str, int], bool]]:
        trainer = make_trainer(at, model, hyperparameters(**changes), data)
        yield from trainer.steps()
        return checksums(trainer), trainer.graphed

    alone = [take_all(training(*cell)) for cell in cells]
    together = [Lane(training(*cell), on_gpu=at.on_gpu) for cell in cells]
    _take_turns(together)
    for (model, changes), (expected, _), lane in zip(cells, alone, together, strict=True):
        found, graphed = lane.result
        different = [name for name in expected if expected[name] != found[name]]
        text = f"{model} {changes} in turn with {len(cells) - 1} others, graph {graphed}"
        if different or not graphed:
            yield "FAIL", f"{text}: {len(different)} tensors differ from the run alone, {different[:1]}"
        else:
            yield "PASS", f"{text}: the bits of the run alone"
    if at.on_gpu:
        one, eight = (_rate_in_turn(at, count) for count in (1, 8))
        yield "VALUE", f"8 in turn in one process: {eight:.0f} images/s together, {eight / one:.2f} times one"


def _take_turns(left: list[Lane[Any]], rounds: float = math.inf) -> list[Lane[Any]]:
    """Let all take their steps in turn, for so many rounds; those that have steps left."""
    while left and rounds > 0:
        left = [lane for lane in left if lane.turn()]
        rounds -= 1
    return left


def _rate_in_turn(at: Setting, count: int, steps: int = 400, before: int = 20) -> float:
    """The images per second of `count` trainings together, after their first steps."""
    data = random_data(16 * steps)

    def training() -> Steps[None]:
        yield from make_trainer(at, "resnet18", hyperparameters(epochs=1), data).steps()

    left = _take_turns([Lane(training(), on_gpu=True) for _ in range(count)], before)
    torch.cuda.synchronize()
    start = time.perf_counter()
    _take_turns(left)
    torch.cuda.synchronize()
    return count * (steps - before) * 16 / (time.perf_counter() - start)


def kernels(at: Setting) -> Iterator[Line]:
    """The kernels that a replayed step spends its time in."""
    from torch.profiler import ProfilerActivity, profile

    trainer = make_trainer(at, "resnet18", hyperparameters(epochs=1), random_data(320))
    trainer.train()
    images, labels = next(trainer._batches.take(range(16), 16))
    ms = _replay_ms(trainer, images, labels, 100)
    with torch.cuda.stream(trainer._stream), profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(20):
            trainer._step(images, labels)
        torch.cuda.synchronize()
    rows = sorted(seen.key_averages(), key=lambda row: -row.self_device_time_total)
    total = sum(row.self_device_time_total for row in rows)
    yield (
        "VALUE",
        f"{total / 20:.0f} µs of kernels in a step, {sum(row.count for row in rows) / 20:.0f} launches, "
        f"{total / 200 / ms:.0f} % of the {ms:.3f} ms of a replayed step",
    )
    for row in rows[:15]:
        yield (
            "VALUE",
            f"{row.self_device_time_total / 20:.1f} µs, {row.count / 20:.0f} times: {row.key[:110]}",
        )
