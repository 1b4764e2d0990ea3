"""How much faster than scikit-learn's SVC the support vector machines are fitted and predict.

The four published cells, on the staged images (`make part-b` stages them). Ours and SVC take turns in
one process, and each ratio is of a pair measured one after the other; the medians are over the cells.
Both may use the same number of threads; libsvm, inside SVC, uses one.

    .venv/bin/python benchmarks/svm.py [--threads 2] [--json PATH]
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

from ablations.data.staged import open_staged
from ablations.files import write_text
from ablations.kinds.svm import SvmHyperparameters
from ablations.training.svm import fit
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

CELLS = [(dataset, kernel) for dataset in ("mnist", "fashion_mnist") for kernel in ("rbf", "poly")]
SAMPLES = 10_000


def timed(call):
    """The seconds that `call` takes, and what it returns."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="directory of staged datasets")
    parser.add_argument("--threads", type=int, default=2, help="threads of matrix products")
    parser.add_argument("--repeats", type=int, default=2, help="pairs measured for each cell")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    ratios: dict[str, float] = {}
    heads = ["labels", "fit", "SVC", "ratio", "predict", "SVC", "ratio"]
    print(f"{'cell':<20} " + " ".join(f"{head:>7}" for head in heads))
    for dataset, kernel in CELLS:
        files = sorted(options.data.glob(f"{dataset}-*.safetensors"))
        if not files:
            sys.exit(f"{options.data} holds no staged {dataset}; call `make part-b` first, or give --data")
        staged = open_staged(files[-1], "np", SAMPLES)
        train = staged.train.images.reshape(SAMPLES, -1)
        test = staged.test.images.reshape(len(staged.test), -1)
        hp = SvmHyperparameters(kernel=kernel, train_samples=SAMPLES)
        pairs = []
        for _ in range(options.repeats):
            with threadpool_limits(options.threads):
                fit_s, ours = timed(lambda: fit(train, staged.train.labels, hp))
                predict_s, labels = timed(lambda: ours.predict(test))
                svc = SVC(kernel=kernel)
                svc_fit_s, _ = timed(lambda: svc.fit(train / 255, staged.train.labels))
                svc_predict_s, expected = timed(lambda: svc.predict(test / 255))
            equal = bool((labels == expected).all())
            pairs.append((fit_s, svc_fit_s, predict_s, svc_predict_s))
        fit_s, svc_fit_s, predict_s, svc_predict_s = map(statistics.median, zip(*pairs, strict=True))
        fit_ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
        predict_ratio = statistics.median(pair[3] / pair[2] for pair in pairs)
        name = f"{dataset}_{kernel}"
        ratios |= {f"{name}_fit_ratio": fit_ratio, f"{name}_predict_ratio": predict_ratio}
        numbers = (fit_s, svc_fit_s, fit_ratio, predict_s, svc_predict_s, predict_ratio)
        shown = f"{'equal' if equal else 'DIFFER':>7} " + " ".join(f"{number:>7.2f}" for number in numbers)
        print(f"{name:<20} {shown}")
    for what in ("fit", "predict"):
        median = statistics.median(v for name, v in ratios.items() if name.endswith(f"_{what}_ratio"))
        ratios[f"median_{what}_ratio"] = median
        print(f"median over the cells, {what}: {median:.1f} times as fast, {options.threads} threads")
    if options.json:
        write_text(options.json, json.dumps(ratios, indent=2) + "\n")


if __name__ == "__main__":
    main()
