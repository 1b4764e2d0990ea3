"""Finished runs to TensorBoard or MLflow.

    python scripts/export.py tensorboard|mlflow [--configfile FILE] [--study NAME …]

TensorBoard's files go to results/tensorboard/. MLflow's go to $MLFLOW_TRACKING_URI, or to the file
results/mlflow.db where that is not set. Calling it again adds what is new.
"""

import argparse
import os
from pathlib import Path

from ablations.command_line import add_config, log_to_stderr, take_config
from ablations.errors import run_script
from ablations.readable import readable
from ablations.tracking.exports import finished, to_mlflow, to_tensorboard

TENSORBOARD = Path("results/tensorboard")
MLFLOW = "sqlite:///results/mlflow.db"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("to", choices=["tensorboard", "mlflow"])
    add_config(parser)
    options = parser.parse_args()
    log_to_stderr()
    config = take_config(options)
    runs = {each.run: each for each in finished(config.runs())}
    if options.to == "tensorboard":
        written, place = to_tensorboard(runs.values(), TENSORBOARD), str(TENSORBOARD)
        look = f"tensorboard --logdir {TENSORBOARD}"
    else:
        place = os.environ.get("MLFLOW_TRACKING_URI") or MLFLOW
        Path("results").mkdir(exist_ok=True)
        studies = {
            name: [runs[run] for run in study.runs() if run in runs] for name, study in config.studies.items()
        }
        written = to_mlflow(studies, place)
        look = f"mlflow ui --backend-store-uri {place} (mlflow ui comes with the whole of the package mlflow)"
    finished_of = f"{len(runs)} of {len(config.runs())} are finished."
    print(readable(f"{written} runs written to {place}; {finished_of}\nSee them with: {look}"))


if __name__ == "__main__":
    run_script(main)
