"""Rule fit_svm: fit one support vector classifier and write its record."""

import argparse
import logging
import os
import time
from pathlib import Path

from ablations.command_line import add_hyperparameters, log_to_stderr, take_hyperparameters
from ablations.errors import run_script
from ablations.kinds.svm import SVM, SvmHyperparameters, SvmRecord
from ablations.runs import attempts
from ablations.runs.run import Run

log = logging.getLogger("fit_svm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="a staged dataset")
    parser.add_argument("--definition-digest", help="refuse a dataset staged from another definition")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of matrix products")
    parser.add_argument("--memory-mb", type=float, default=float("inf"), help="memory of the job")
    parser.add_argument("--record", type=Path, required=True, help="the record to write")
    add_hyperparameters(parser, SvmHyperparameters)
    options = parser.parse_args()
    hp = take_hyperparameters(options, SvmHyperparameters)
    log_to_stderr()
    # Read when numpy is first imported.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(options.threads)
    from ablations.data.staged import read_metadata

    run = Run(SVM, read_metadata(options.dataset)["name"], SVM.fixed["model"], hp)
    with attempts.attempt(options.record, run) as attempt:
        if attempt is not None:
            log.info("%s on %s: %s", run.model, run.dataset, hp.canonical())
            attempt.write_record(fit(options, hp, attempt))
            log.info("ok: wrote %s", options.record)


def fit(options: argparse.Namespace, hp: SvmHyperparameters, attempt: attempts.Attempt) -> SvmRecord:
    """Fit the classifier, classify the test images, and return the record."""
    from ablations.data.staged import open_staged
    from ablations.kinds import hits
    from ablations.runs import provenance
    from ablations.training import svm

    code = provenance.code_of(SVM)
    dataset = open_staged(options.dataset, "np", hp.train_samples, options.definition_digest)
    device_name = provenance.processor_name()
    attempt.identify({"data": dataset.sha256, "device": device_name})
    train = dataset.train.images.reshape(len(dataset.train), -1)
    test = dataset.test.images.reshape(len(dataset.test), -1)
    # What the process holds already cannot be given to kernel matrices.
    # Zero is no limit, as for SLURM.
    memory_mb = (options.memory_mb or float("inf")) - provenance.peak_memory_mb()
    startup_ms = attempt.elapsed_s * 1000
    start = time.perf_counter()
    classifier = svm.fit(train, dataset.train.labels, hp, memory_mb)
    fitted = time.perf_counter()
    log.info(
        "fitted in %.2f s by %s: %d support vectors",
        fitted - start,
        classifier.backend,
        classifier.support_vectors,
    )
    labels = classifier.predict(test)
    predicted = time.perf_counter()
    correct = labels == dataset.test.labels
    accuracy = 100 * float(correct.sum()) / len(labels)
    log.info("predicted %d images in %.2f s: accuracy %.2f %%", len(labels), predicted - fitted, accuracy)
    return SvmRecord(
        status="ok",
        test_accuracy=accuracy,
        train_time_ms=(fitted - start) * 1000,
        test_time_ms=(predicted - fitted) * 1000,
        startup_time_ms=startup_ms,
        peak_memory_mb=provenance.peak_memory_mb(),
        test_samples=len(labels),
        device="cpu",
        device_name=device_name,
        support_vectors=classifier.support_vectors,
        backend=classifier.backend,
        test_correct=hits.pack(correct),
        **attempt.columns(),
        **provenance.describe(SVM.libraries, options.threads, code),
    )


if __name__ == "__main__":
    run_script(main)
