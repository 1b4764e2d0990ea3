"""Rule stage_weights: fetch, verify and store torchvision's ImageNet weights of one model."""

import argparse
from pathlib import Path

from ablations.command_line import log_to_stderr
from ablations.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="torchvision's name of the architecture")
    parser.add_argument("--source-dir", type=Path, help="a directory of your own, which is searched first")
    parser.add_argument("--timeout-s", type=float, default=120, help="time limit of the download, in seconds")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors to write")
    options = parser.parse_args()
    log_to_stderr()

    from ablations.data.weights import published_weights, stage_weights

    published = published_weights(options.model)
    stage_weights(published, options.output, options.source_dir, options.timeout_s)


if __name__ == "__main__":
    run_script(main)
