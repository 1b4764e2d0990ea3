"""The training engine: it computes what a plain training loop computes, and measures the times."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import RandomSampler

from ablations.data.staged import Split, StagedDataset
from ablations.kinds.cnn_hyperparameters import CnnHyperparameters
from ablations.training import live_taps
from ablations.training.augmentation import augmentation_of
from ablations.training.batch_counters import BatchCounters
from ablations.training.batches import Batches, Source, batches_of, source_that_fits
from ablations.training.checkpoints import Checkpoint, Stopped
from ablations.training.cuda_graphs import WARM_UP_STEPS, GraphedStep
from ablations.training.evaluation import PIXELS, Evaluation, evaluate
from ablations.training.exact_pooling import pool_exactly
from ablations.training.lanes import Steps, take_all
from ablations.training.loss_watch import LossWatch
from ablations.training.progress import Epoch, Training, TrainingProgress
from ablations.training.schedules import LearningRate
from ablations.training.setup import make_optimizer

log = logging.getLogger(__name__)

# The loss is checked for NaN every so many steps.
LOSS_CHECK_STEPS = 50


class Trainer:
    """One training of `model`, in place; it can stop after any step and resumes from its checkpoint.

    The order of the samples depends only on the seed, not on the source of the batches. `on_step` receives
    the number of completed steps and the total. `source` is the source that is used, which may differ from
    the one requested. On a GPU, steps run as a CUDA graph if `graph` is true.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: StagedDataset,
        hp: CnnHyperparameters,
        device: torch.device,
        on_step: Callable[[int, int], None] = lambda done, total: None,
        checkpoint: Checkpoint | None = None,
        source: Source = "device",
        *,
        graph: bool = True,
    ) -> None:
        self.memory_format = torch.channels_last if hp.channels_last else torch.contiguous_format
        model = model.to(device)
        self.model = live_taps.trim(model, dataset.image_shape, decay=hp.weight_decay > 0)
        if device.type == "cuda":
            pool_exactly(self.model)
        if hp.channels_last:
            self.model.to(memory_format=self.memory_format)
        self._counters = BatchCounters(self.model)
        self.dataset, self.hp, self.device = dataset, hp, device
        self.on_step, self.checkpoint = on_step, checkpoint
        self.optimizer = make_optimizer(self.model, hp)
        self.shuffle = torch.Generator().manual_seed(hp.seed_of_data)
        self.progress = TrainingProgress()
        self.steps_per_epoch = math.ceil(len(dataset.train) / hp.batch_size)
        self._learning_rate = LearningRate(self.optimizer, hp, self.steps_per_epoch, device)
        self._augment = augmentation_of(hp, dataset.image_shape)
        splits = (dataset.train, dataset.test, dataset.validation)
        self.source = source_that_fits(source, [split for split in splits if split], device)
        self._batches, self._test_batches = (
            batches_of(split, self.source, device, hp.pin_memory) for split in (dataset.train, dataset.test)
        )
        self._validation_batches = (
            batches_of(dataset.validation, self.source, device, False) if dataset.validation else None
        )
        self._scale, self._shift = _normalisation(dataset, device)
        self._loss_sum = torch.zeros((), device=device, dtype=torch.float64)
        self._correct = torch.zeros((), device=device, dtype=torch.int64)
        # One stream for all that the training does on a GPU: torch keeps memory for each stream apart.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._warm_up_left = WARM_UP_STEPS + 1 if self._stream else 0
        self._step = self._plain_step
        if self._stream and graph:
            self._step = GraphedStep(self._forward_and_back, self._clear_gradients, hp.batch_size)
        if checkpoint is not None and (saved := checkpoint.load()) is not None:
            self._restore(saved)

    @property
    def graphed(self) -> bool:
        """Whether steps run as a CUDA graph."""
        return isinstance(self._step, GraphedStep) and self._step.recorded

    def train(self) -> Training:
        """Train to the end; see `steps`."""
        return take_all(self.steps())

    def steps(self) -> Steps[Training]:
        """Train, and evaluate after every epoch; the evaluation does not influence the training.

        Between two steps, other trainings may take theirs. If the loss or the logits of an evaluated image
        are no longer finite, the training ends at once with the status `diverged`. `tested` is the last
        evaluation of the test images, with the logits if it is that of the last epoch.

        Raises Stopped, after writing a checkpoint, if the run has to stop; and CannotRecord, before the
        first checkpoint, if a step cannot be recorded as a CUDA graph.
        """
        if self._stream:
            self._stream.wait_stream(torch.cuda.current_stream())
        training = self._train()
        while True:
            with torch.cuda.stream(self._stream) if self._stream else nullcontext():
                try:
                    next(training)
                except StopIteration as end:
                    return end.value
            yield

    def _train(self) -> Steps[Training]:
        while self.progress.epoch <= self.hp.epochs:
            self._counters.take()
            is_finite = yield from self._train_epoch()
            self._counters.give_back()
            if not is_finite:
                log.warning("the loss is not finite in epoch %d: the run has diverged", self.progress.epoch)
                return self._outcome("diverged")
            start = time.perf_counter()
            is_last = self.progress.epoch == self.hp.epochs
            self.tested = self._evaluate(self._test_batches, self.dataset.test, keep=is_last)
            test_seconds = time.perf_counter() - start
            validated = None
            if self._validation_batches and self.dataset.validation:
                validated = self._evaluate(self._validation_batches, self.dataset.validation, keep=True)
            if not (self.tested.is_finite and (validated is None or validated.is_finite)):
                log.warning("logits are not finite after epoch %d: the run has diverged", self.progress.epoch)
                return self._outcome("diverged")
            self._end_epoch(validated, test_seconds)
            yield
        return self._outcome("ok")

    def _train_epoch(self) -> Steps[bool]:
        """Train the rest of the current epoch; False if the loss is no longer finite."""
        progress, device, size = self.progress, self.device, self.hp.batch_size
        self.model.train()
        self._order_state = self.shuffle.get_state()
        order = list(RandomSampler(range(len(self.dataset.train)), generator=self.shuffle))
        self._loss_sum.fill_(progress.loss_sum)
        self._correct.fill_(progress.correct)
        total = self.hp.epochs * self.steps_per_epoch
        done = (progress.epoch - 1) * self.steps_per_epoch
        watch = LossWatch(self._loss_sum)
        changed = self._augment.of_epoch(progress.epoch, len(order), device) if self._augment else None
        self._synchronize()
        start = time.perf_counter()
        for images, labels in self._batches.take(order[progress.step * size :], size):
            if changed:
                images = changed(images, progress.step * size)
            self._learning_rate.set(done + progress.step)
            self._step(images, labels)
            progress.step += 1
            if self._warm_up_left and len(labels) == size:
                self._warm_up_left -= 1
                if not self._warm_up_left:
                    self._synchronize()
                    progress.warm_up_seconds += time.perf_counter() - start
            if progress.step % LOSS_CHECK_STEPS == 0 and not watch.is_finite():
                break
            self.on_step(done + progress.step, total)
            if self.checkpoint and (self.checkpoint.due or self.checkpoint.reason_to_stop):
                self._synchronize()
                progress.epoch_seconds += time.perf_counter() - start
                progress.loss_sum, progress.correct = self._loss_sum.item(), int(self._correct.item())
                self._save()
                start = time.perf_counter()
            yield
        self._synchronize()
        progress.epoch_seconds += time.perf_counter() - start
        progress.train_seconds += progress.epoch_seconds
        progress.loss_sum, progress.correct = self._loss_sum.item(), int(self._correct.item())
        return math.isfinite(progress.loss_sum)

    def _synchronize(self) -> None:
        """Wait until the device has done what this training asked of it, and not what others did."""
        if self._stream:
            self._stream.synchronize()

    def _plain_step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self._clear_gradients()
        self._forward_and_back(images, labels)

    def _clear_gradients(self) -> None:
        self.optimizer.zero_grad()
        if self.hp.weight_decay > 0:
            live_taps.give_zero_gradients(self.model)

    def _forward_and_back(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """The work of the device in a step; nothing here waits for the device."""
        logits = self._logits(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.hp.label_smoothing)
        loss.backward()
        if self.hp.clip_norm != "none":
            nn.utils.clip_grad_norm_(self.model.parameters(), self.hp.clip_norm)
        self.optimizer.step()
        self._counters.increase()
        self._loss_sum += loss.detach() * len(labels)
        self._correct += (logits.detach().argmax(1) == labels).sum()

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        # Normalised here: as bytes, images need a quarter of the transfer and of the memory.
        images = (images.float() * self._scale + self._shift).to(memory_format=self.memory_format)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.hp.precision == "bf16"):
            return self.model(images).float()

    def _evaluate(self, batches: Batches, split: Split, *, keep: bool) -> Evaluation:
        self.model.eval()
        _, height, width = self.dataset.image_shape
        size = max(self.hp.batch_size, PIXELS // (height * width))
        return evaluate(self._logits, batches, split.labels, size, keep=keep)

    def _end_epoch(self, validated: Evaluation | None, test_seconds: float) -> None:
        progress, images = self.progress, len(self.dataset.train)
        row = Epoch(
            epoch=progress.epoch,
            train_loss=progress.loss_sum / images,
            train_accuracy=100 * progress.correct / images,
            test_accuracy=self.tested.accuracy,
            seconds=progress.epoch_seconds,
            test_seconds=test_seconds,
            images_per_s=images / progress.epoch_seconds,
            val_accuracy=validated.accuracy if validated else None,
            val_loss=validated.loss if validated else None,
        )
        log.info(
            "epoch %d/%d: loss %.4f, training accuracy %.2f %%, test accuracy %.2f %%, %.1f s, "
            "%.0f images/s",
            row.epoch, self.hp.epochs, row.train_loss, row.train_accuracy, row.test_accuracy,
            row.seconds, row.images_per_s,
        )  # fmt: skip
        self.progress = TrainingProgress(
            epoch=progress.epoch + 1,
            train_seconds=progress.train_seconds,
            warm_up_seconds=progress.warm_up_seconds,
            test_seconds=progress.test_seconds + test_seconds,
            history=[*progress.history, row],
        )

    def _outcome(self, status: str) -> Training:
        progress = self.progress
        return Training(
            status, progress.train_seconds, progress.warm_up_seconds, progress.test_seconds, progress.history
        )

    # --- checkpoints ---

    def _save(self) -> None:
        assert self.checkpoint is not None
        self._counters.give_back()
        self.checkpoint.save(
            {
                "progress": asdict(self.progress),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "order": self._order_state,
                "random": torch.get_rng_state(),
                "random_cuda": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            }
        )
        self._counters.take()
        if reason := self.checkpoint.reason_to_stop:
            raise Stopped(
                f"{reason}; the checkpoint of epoch {self.progress.epoch}, step {self.progress.step} is "
                "written; run the same command to resume",
                reason.why,
            )

    def _restore(self, saved: Mapping[str, Any]) -> None:
        progress = saved["progress"]
        history = [Epoch(**row) for row in progress["history"]]
        self.progress = TrainingProgress(**{**progress, "history": history})
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.shuffle.set_state(saved["order"])
        torch.set_rng_state(saved["random"])
        if self.device.type == "cuda" and saved["random_cuda"] is not None:
            torch.cuda.set_rng_state(saved["random_cuda"])
        log.info("resuming from epoch %d, step %d", self.progress.epoch, self.progress.step)


def _normalisation(dataset: StagedDataset, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(scale, shift) with pixels · scale + shift = (pixels / 255 − mean) / std, per channel."""
    mean = torch.tensor(dataset.mean, dtype=torch.float64)[:, None, None]
    std = torch.tensor(dataset.std, dtype=torch.float64)[:, None, None]
    return (1 / (255 * std)).float().to(device), (-mean / std).float().to(device)
