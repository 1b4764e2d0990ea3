"""Rule profile_model: count the operations of a forward pass, and the parameters of the model."""

import argparse
from dataclasses import asdict
from pathlib import Path

from ablations.command_line import log_to_stderr
from ablations.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="torchvision's name of the architecture, or your own")
    parser.add_argument("--model-code", metavar="FILE.py:FUNCTION", help="what builds a model of your own")
    parser.add_argument(
        "--image-shape", type=int, nargs=3, required=True, metavar=("CHANNELS", "HEIGHT", "WIDTH")
    )
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="the TSV to write")
    options = parser.parse_args()
    log_to_stderr()

    from ablations.kinds.kind import PROFILE_COLUMNS
    from ablations.runs.records import write_table
    from ablations.training.model_cost import model_cost
    from ablations.training.models import build_model

    shape = tuple(options.image_shape)
    counts = model_cost(build_model(options.model, shape, options.classes, options.model_code), shape)
    row = {
        "model": options.model,
        "image_shape": "x".join(map(str, shape)),
        "classes": options.classes,
        **asdict(counts),
    }
    write_table(options.output, ["model", "image_shape", "classes", *PROFILE_COLUMNS], [row])


if __name__ == "__main__":
    run_script(main)
