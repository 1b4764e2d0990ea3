"""Rule train_cnn: train one network and write its record and history."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.command_line import add_hyperparameters, log_to_stderr, take_hyperparameters
from ablations.errors import AblationsError, run_script
from ablations.kinds.cnn import CNN, CnnRecord
from ablations.kinds.cnn_hyperparameters import CnnHyperparameters
from ablations.runs import attempts, lanes
from ablations.runs.run import Run

if TYPE_CHECKING:
    from ablations.data.staged import StagedDataset
    from ablations.training.checkpoints import Checkpoint
    from ablations.training.trainer import Trainer, Training
    from torch.nn import Module

log = logging.getLogger("train_cnn")


def main() -> None:
    options, hp = parse()
    log_to_stderr()
    # Read when torch makes its thread pool; too late afterwards.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    # A model of the user's own may keep something in its module, where others would find it.
    if options.model_code is None:
        # torch has these settings once for a process.
        settings = (options.device, str(options.threads), str(hp.precision == "tf32"))
        status = lanes.hand_over(Path(__file__).with_name("train_lanes.py"), settings, sys.argv[1:])
        if status is not None:
            sys.exit(status)
    try:
        for _ in steps(options, hp):
            pass
    except AblationsError as error:
        # By its name: importing the class would import torch for every error.
        if type(error).__name__ != "CannotRecord":
            raise
        # In a new process, since torch may take this one for one that still records.
        log.warning("%s; the run starts again without one", error)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "--no-graph"])  # noqa: S606  # no shell


def steps(
    options: argparse.Namespace,
    hp: CnnHyperparameters,
    listen: "Callable[[Checkpoint], None] | None" = None,
) -> Iterator[None]:
    """Carry out the run, with a pause after each step.

    `listen` is given the checkpoint, to stop the run by it; without it, the run obeys the signals that this
    process receives. With it, the process has other runs, so that HeldError is raised where another process
    executes this one.
    """
    from ablations.data.staged import read_metadata

    run = Run(CNN, read_metadata(options.dataset)["name"], options.model, hp)
    deadline = attempts.job_deadline(os.environ, options.time_limit_min and 60 * options.time_limit_min)
    # Before torch is imported: a process that waits takes no memory, neither on the host nor on the GPU.
    with attempts.attempt(options.record, run, deadline, wait=listen is None) as attempt:
        if attempt is not None:
            log.info("%s on %s: %s", run.model, run.dataset, hp.canonical())
            yield from train(options, run, hp, attempt, deadline, listen)


def parse(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, CnnHyperparameters]:
    """The options of the command line, or of these arguments, and the hyperparameters among them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="a staged dataset")
    parser.add_argument("--definition-digest", help="refuse a dataset staged from another definition")
    parser.add_argument("--model", required=True, help="torchvision's name of the architecture, or your own")
    parser.add_argument("--model-code", metavar="FILE.py:FUNCTION", help="what builds a model of your own")
    parser.add_argument("--weights", type=Path, help="weights file, for --pretrained")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--batches",
        choices=["device", "host"],
        default="device",
        help="where batches come from: the images on the device, or a DataLoader, which pin_memory is for",
    )
    parser.add_argument("--no-graph", action="store_true", help="no CUDA graph: launch each kernel by itself")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--record", type=Path, required=True, help="the record; checkpoints lie beside")
    parser.add_argument("--history", type=Path, required=True, help="the history to write")
    parser.add_argument(
        "--keep", nargs="+", choices=CNN.can_keep, default=(), help="what stays beside the record"
    )
    parser.add_argument("--checkpoint-interval-s", type=float, default=60, help="least time between two")
    parser.add_argument("--time-limit-min", type=float, help="the time limit of the job, in minutes")
    add_hyperparameters(parser, CnnHyperparameters)
    options = parser.parse_args(arguments)
    hp = take_hyperparameters(options, CnnHyperparameters)
    if (hp.pretrained != "none") != (options.weights is not None):
        parser.error("--pretrained and --weights go together")
    return options, hp


def train(
    options: argparse.Namespace,
    run: Run,
    hp: CnnHyperparameters,
    attempt: attempts.Attempt,
    deadline: float | None,
    listen: "Callable[[Checkpoint], None] | None",
) -> Iterator[None]:
    """Train the network, and write its history, its record, and what a study keeps of it."""
    import torch
    from ablations.data.held_out import hold_out
    from ablations.data.staged import open_staged
    from ablations.runs import provenance
    from ablations.training import checkpoints, devices, light_imports, live_taps, models, setup, trainer

    code = provenance.code_of(CNN)
    light_imports.keep_the_compiler_out()
    dataset = open_staged(options.dataset, "pt", hp.train_samples, options.definition_digest)
    dataset = hold_out(dataset, hp.validation)
    setup.configure(hp, options.threads)
    device = torch.device(devices.device_of(options.device, os.environ))
    model, made_from, not_loaded = build(options, hp, dataset)
    models.check_batches(model, dataset.image_shape, len(dataset.train), hp.batch_size)
    on_gpu = device.type == "cuda"
    device_name = devices.name_of(device, attempt.meter)
    # With another device or torch a run could resume, but neither its bits nor its times would be right.
    depends_on = {"data": dataset.sha256, **made_from, "layout": live_taps.layout(device)}
    attempt.identify(depends_on | devices.identity(device, device_name))
    # No output: Snakemake deletes the outputs of a job that fails.
    path = options.record.with_name("checkpoint.pt")
    checkpoint = checkpoints.Checkpoint(path, attempt, deadline, options.checkpoint_interval_s)
    (listen or checkpoints.Checkpoint.catch_signals)(checkpoint)
    with progress(attempt, hp.epochs) as on_step:
        graph = not options.no_graph
        training = trainer.Trainer(
            model, dataset, hp, device, on_step, checkpoint, options.batches, graph=graph
        )
        if hp.pin_memory and not setup.pin_memory_works(hp, device, training.source):
            why = "the images are on the device" if on_gpu else "there is no accelerator to transfer to"
            log.info("pin_memory has no effect: %s", why)
        startup_ms = attempt.elapsed_s * 1000
        result = yield from training.steps()
    measured = {
        "startup_time_ms": startup_ms,
        # Of the training alone, whatever is kept of it.
        **memory(on_gpu),
        "shares_process": provenance.shares_process(),
        "device_name": device_name,
        "weights_not_loaded": not_loaded,
        "model_sha256": made_from.get("model"),
        "model_imports_sha256": made_from.get("model_imports"),
        **attempt.columns(),
    }
    origin = provenance.describe(CNN.libraries, options.threads, code)
    write(options, run, attempt, training, result, measured | origin)
    checkpoint.remove()
    log.info("%s: wrote %s", result.status, options.record)


def build(
    options: argparse.Namespace, hp: CnnHyperparameters, dataset: "StagedDataset"
) -> tuple["Module", dict[str, str], str | None]:
    """The network, digests of what it was made from, and the names of the weights that were not loaded."""
    from ablations.files import digest
    from ablations.training import models
    from ablations.training.own_models import digest_of_imports

    model = models.build_model(options.model, dataset.image_shape, dataset.classes, options.model_code)
    made_from, not_loaded = {"weights": "none"}, None
    if options.model_code is not None:
        made_from["model"] = digest(Path(options.model_code.rpartition(":")[0]), "sha256")
        made_from["model_imports"] = digest_of_imports(options.model_code)
    if options.weights is not None:
        from ablations.training.pretrained import load_pretrained

        made_from["weights"] = digest(options.weights, "sha256")
        not_loaded = " ".join(load_pretrained(model, options.weights)) or "nothing"
        log.info("loaded %s; not loaded: %s", options.weights, not_loaded)
    if hp.dropout != "default":
        models.set_dropout(model, hp.dropout)
    return model, made_from, not_loaded


def write(
    options: argparse.Namespace,
    run: Run,
    attempt: attempts.Attempt,
    trainer: "Trainer",
    result: "Training",
    other: dict[str, object],
) -> None:
    """Write what is kept of a training that ended, its history, and its record."""
    from ablations.runs.records import write_history
    from ablations.training import kept
    from ablations.training.progress import Epoch

    # Before the record: a run with a record is completed, and is not started again.
    logits = trainer.tested.logits if result.status == "ok" else None
    directory, labels = options.record.parent, trainer.dataset.test.labels
    for path in kept.keep(options.keep, directory, run.directory, trainer.model, logits, labels):
        log.info("kept %s", path)
    write_history(options.history, result.history, Epoch)
    attempt.write_record(record_of(trainer, result, other))


def memory(on_gpu: bool) -> dict[str, object]:
    """The columns of a record for memory; nothing in a process that several runs share."""
    import torch
    from ablations.runs import provenance

    if provenance.ASKED.get():
        return {}
    if not on_gpu:
        return {"peak_memory_mb": provenance.peak_memory_mb()}
    used, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    on_host = {"host_peak_mb": provenance.peak_memory_mb()}
    return {"peak_memory_mb": used / 1e6, "reserved_memory_mb": reserved / 1e6, **on_host}


def record_of(trainer: "Trainer", result: "Training", other: dict[str, object]) -> CnnRecord:
    """The record of a training that ended, with the columns of `other`, which the trainer does not know."""
    from ablations.kinds import hits
    from ablations.training import setup
    from ablations.training.scores import scores

    hp, device = trainer.hp, trainer.device
    last = result.history[-1] if result.status == "ok" else None
    scored: dict[str, object] = {}
    if last:
        tested = trainer.tested
        assert tested.logits is not None, "those of the last epoch are kept"
        scored = scores(*(tensor.numpy() for tensor in (tested.logits, tested.predicted, tested.labels)))
    if last and (validation := trainer.dataset.validation):
        best = max(result.history, key=lambda epoch: epoch.val_accuracy or 0.0)
        scored |= {
            "val_accuracy": last.val_accuracy,
            "val_loss": last.val_loss,
            "val_samples": len(validation),
            "best_epoch": best.epoch,
            "test_accuracy_at_best": best.test_accuracy,
        }
    return CnnRecord(
        status=result.status,
        test_accuracy=last.test_accuracy if last else None,
        train_accuracy=last.train_accuracy if last else None,
        train_loss=last.train_loss if last else None,
        train_time_ms=result.train_seconds * 1000,
        test_time_ms=result.test_seconds * 1000,
        test_samples=len(trainer.dataset.test),
        device=device.type,
        batches=trainer.source,
        cuda_graph=trainer.graphed,
        deterministic=setup.is_deterministic(),
        warm_up_ms=result.warm_up_seconds * 1000 if device.type == "cuda" else None,
        test_correct=hits.pack(trainer.tested.correct.numpy()) if last else None,
        pin_memory_effective=setup.pin_memory_works(hp, device, trainer.source),
        precision_effective=setup.precision_in_effect(hp, device),
        **scored,
        **other,
    )


@contextmanager
def progress(attempt: attempts.Attempt, epochs: int) -> Iterator[Callable[[int, int], None]]:
    """An `on_step` that keeps the state file up to date, and shows the steps to people."""
    from ablations.training.shown_progress import shown_progress

    with shown_progress() as show:

        def on_step(done: int, total: int) -> None:
            show(done, total)
            attempt.report(done, total, epochs)

        yield on_step


if __name__ == "__main__":
    run_script(main)
