"""What the options of a training cost: the time of a step with each of them, relative to one without.

    python benchmarks/options.py [--model resnet18] [--batch-size 16] [--steps 20] [--rounds 9]

All trainings are those of the engine, on one thread and the same random images of 28×28. They take their
turns one after the other. A time is that of the processor, so that other processes matter little. A ratio is
of two turns that followed one another; its median over the rounds is printed, with the quartiles.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import train
from ablations.kinds.cnn_hyperparameters import CnnHyperparameters
from ablations.training import setup

ADAM: dict[str, Any] = {"optimizer": "adam"}
SGD: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.9}
# What is compared -> the optimizer of both, and what one of them changes.
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing: the noise of this call": ("adam", {}),
    "schedule: cosine": ("adam", {"schedule": "cosine"}),
    "label_smoothing: 0.1": ("adam", {"label_smoothing": 0.1}),
    "clip_norm: 1": ("adam", {"clip_norm": 1.0}),
    "beta1: 0.8, beta2: 0.99": ("adam", {"beta1": 0.8, "beta2": 0.99}),
    "augment: flip": ("adam", {"augment": "flip"}),
    "augment: crop_flip": ("adam", {"augment": "crop_flip"}),
    "nesterov: true, with sgd": ("sgd", {"nesterov": True}),
}


def seconds(turn: Callable[[], float]) -> float:
    """The processor time of a turn."""
    start = time.process_time()
    turn()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20, help="steps of a turn")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    train.MODEL = options.model
    warnings.filterwarnings("ignore")
    usual = {"batch_size": options.batch_size, "lr": 1e-3, "epochs": 1, "seed": 0}

    def turn(changed: dict[str, Any]) -> Callable[[], float]:
        hp = CnnHyperparameters(**{**usual, **ADAM, **changed})
        return train.engine(hp, options.steps)

    setup.configure(CnnHyperparameters(**usual, **ADAM), 1)
    bases = {name: turn(base) for name, base in (("adam", ADAM), ("sgd", SGD))}
    turns = {
        name: turn({**(ADAM if of == "adam" else SGD), **changed}) for name, (of, changed) in OPTIONS.items()
    }
    for each in (*bases.values(), *turns.values()):
        each()
    ratios: dict[str, list[float]] = {name: [] for name in OPTIONS}
    for _ in range(options.rounds):
        for name, (of, _) in OPTIONS.items():
            # The base again for each: what else the machine does changes from second to second.
            ratios[name].append(seconds(turns[name]) / seconds(bases[of]))
    print(f"{options.model}, batch {options.batch_size}, one thread; medians of {options.rounds} rounds")
    for name, found in ratios.items():
        low, middle, high = statistics.quantiles(found, n=4)
        print(f"{name:34} {middle:.3f} × the time without ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
