"""The training engine: the same mathematics as the plain loop, timed honestly."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler

from ablations.datasets import Split, StagedDataset
from ablations.hyperparameters import CnnHyperparameters

log = logging.getLogger(__name__)

# How often, in steps, the loss is looked at for NaN: each look waits for the device.
LOSS_CHECK_STEPS = 50
# Images in a batch of the evaluation, which keeps no activations for a backward pass.
EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Epoch:
    """One row of a history. Losses are means per image; accuracies are in percent.

    `seconds` is training alone, `test_seconds` the evaluation on the test images after it.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_accuracy: float
    seconds: float
    test_seconds: float
    images_per_s: float


@dataclass
class Training:
    """What a training left: its status (`ok`, `diverged`), times, and history."""

    status: str
    train_seconds: float
    test_seconds: float
    history: list[Epoch] = field(default_factory=list)


class BatchedImages(Dataset):
    """A dataset that a DataLoader fetches from by the batch: one index operation per tensor."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        picked = torch.as_tensor(indices)
        return self.split.images[picked], self.split.labels[picked]


def make_loader(
    split: Split, batch_size: int, pin_memory: bool, shuffle: torch.Generator | None = None
) -> DataLoader:
    """A DataLoader over whole batches, in the order of `shuffle` or of the split.

    `pin_memory` copies each batch to page-locked memory, so that its transfer to a GPU overlaps
    with work; without an accelerator torch has nothing to lock it for.
    """
    images = BatchedImages(split)
    order = RandomSampler(images, generator=shuffle) if shuffle else SequentialSampler(images)
    return DataLoader(
        images,
        batch_size=batch_size,
        sampler=order,
        collate_fn=_already_a_batch,
        pin_memory=pin_memory and torch.accelerator.is_available(),
    )


def _already_a_batch(batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return batch


def make_optimizer(model: nn.Module, hp: CnnHyperparameters) -> torch.optim.Optimizer:
    """torch's optimizer of that name, in its fused form."""
    common = {"lr": hp.lr, "weight_decay": hp.weight_decay, "fused": True}
    if hp.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=hp.momentum, **common)
    cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[hp.optimizer]
    return cls(model.parameters(), **common)


def configure(hp: CnnHyperparameters, threads: int) -> None:
    """Set torch's global state for a run: determinism, threads, precision and seed."""
    torch.manual_seed(hp.seed)
    torch.set_num_threads(threads)
    # A few layers have no deterministic version on a GPU (the adaptive pooling of vgg and alexnet);
    # torch then warns, in the run's log, and the run goes on.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    # torch's default lets cuDNN use tf32; here it is a hyperparameter.
    precision = "tf32" if hp.precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision


def train(
    model: nn.Module,
    dataset: StagedDataset,
    hp: CnnHyperparameters,
    device: torch.device,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Training:
    """Train `model` in place and evaluate it after every epoch; nothing is selected by it.

    The order of samples depends on the seed alone. Where the loss is no longer finite, training
    ends at once with the status `diverged`. `on_step` is told the steps done and those in all.
    """
    model = model.to(device)
    optimizer = make_optimizer(model, hp)
    shuffle = torch.Generator().manual_seed(hp.seed)
    loader = make_loader(dataset.train, hp.batch_size, hp.pin_memory, shuffle)
    scale, shift = _normalisation(dataset, device)
    training = Training("ok", 0.0, 0.0)
    steps = 0
    for epoch in range(1, hp.epochs + 1):
        model.train()
        _synchronize(device)
        start = time.perf_counter()
        loss_sum = torch.zeros((), device=device, dtype=torch.float64)
        correct = torch.zeros((), device=device, dtype=torch.int64)
        for images, labels in loader:
            images, labels = _to_device(images, labels, device, scale, shift)
            optimizer.zero_grad()
            with _autocast(hp, device):
                logits = model(images)
                loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(labels)
            correct += (logits.detach().argmax(1) == labels).sum()
            steps += 1
            if steps % LOSS_CHECK_STEPS == 0 and not math.isfinite(loss_sum.item()):
                break
            on_step(steps, hp.epochs * len(loader))
        _synchronize(device)
        seconds = time.perf_counter() - start
        training.train_seconds += seconds
        mean_loss = loss_sum.item() / len(dataset.train)
        if not math.isfinite(mean_loss):
            log.warning("the loss is %s in epoch %d: the run has diverged", mean_loss, epoch)
            training.status = "diverged"
            return training
        start = time.perf_counter()
        accuracy = evaluate(model, dataset, hp, device)
        test_seconds = time.perf_counter() - start
        training.test_seconds += test_seconds
        row = Epoch(
            epoch=epoch,
            train_loss=mean_loss,
            train_accuracy=100 * correct.item() / len(dataset.train),
            test_accuracy=accuracy,
            seconds=seconds,
            test_seconds=test_seconds,
            images_per_s=len(dataset.train) / seconds,
        )
        training.history.append(row)
        log.info(
            "epoch %d/%d: loss %.4f, training accuracy %.2f %%, test accuracy %.2f %%, %.1f s, "
            "%.0f images/s",
            epoch, hp.epochs, row.train_loss, row.train_accuracy, row.test_accuracy, seconds,
            row.images_per_s,
        )  # fmt: skip
    return training


@torch.no_grad()
def evaluate(model: nn.Module, dataset: StagedDataset, hp: CnnHyperparameters, device: torch.device) -> float:
    """Accuracy on the test images, in percent."""
    model.eval()
    scale, shift = _normalisation(dataset, device)
    correct = torch.zeros((), device=device, dtype=torch.int64)
    for images, labels in make_loader(dataset.test, EVALUATION_BATCH, hp.pin_memory):
        images, labels = _to_device(images, labels, device, scale, shift)
        with _autocast(hp, device):
            correct += (model(images).argmax(1) == labels).sum()
    return 100 * correct.item() / len(dataset.test)


def _normalisation(dataset: StagedDataset, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors for which pixels · scale + shift = (pixels / 255 − mean) / std, per channel."""
    mean = torch.tensor(dataset.mean, dtype=torch.float64)[:, None, None]
    std = torch.tensor(dataset.std, dtype=torch.float64)[:, None, None]
    return (1 / (255 * std)).float().to(device), (-mean / std).float().to(device)


def _to_device(
    images: torch.Tensor,
    labels: torch.Tensor,
    device: torch.device,
    scale: torch.Tensor,
    shift: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    # As bytes: a quarter of the transfer that normalised images would take.
    images = images.to(device, non_blocking=True)
    labels = labels.to(device, non_blocking=True)
    return images.float() * scale + shift, labels


def _autocast(hp: CnnHyperparameters, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=hp.precision == "bf16")


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def progress_lines(every_s: float = 10.0) -> Callable[[int, int], None]:
    """An `on_step` that logs the steps done with an ETA, at most once in `every_s` seconds."""
    start = last = time.monotonic()

    def on_step(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every_s:
            last = now
            eta = (now - start) / done * (total - done)
            log.info(
                "step %d of %d, %.1f steps/s, ETA %s",
                done,
                total,
                done / (now - start),
                _clock(eta),
            )

    return on_step


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
