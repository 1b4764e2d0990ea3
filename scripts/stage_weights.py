"""Rule stage_weights: fetch, verify and store weights of torchvision or of the config."""

import argparse
import json
from pathlib import Path

from ablations.command_line import log_to_stderr
from ablations.config.weights import FetchedWeights
from ablations.errors import AblationsError, run_script
from pydantic import ValidationError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="imagenet, or one of the definitions")
    parser.add_argument("--model", required=True, help="torchvision's name of the architecture")
    parser.add_argument("--definitions", default="{}", help="fetched weights of the config, by name, as JSON")
    parser.add_argument("--digests", default="{}", help="the config's imagenet_sha256, as JSON")
    parser.add_argument("--source-dir", type=Path, help="a directory of your own, which is searched first")
    parser.add_argument("--timeout-s", type=float, default=120, help="time limit of each source, in seconds")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors to write")
    options = parser.parse_args()
    log_to_stderr()

    from ablations.data.weights import imagenet_weights, stage_weights, weights_of_config

    if options.name == "imagenet":
        published = imagenet_weights(options.model, json.loads(options.digests).get(options.model))
    else:
        try:
            definition = FetchedWeights.model_validate(json.loads(options.definitions)[options.name])
        except (ValueError, TypeError, KeyError, ValidationError) as error:
            raise AblationsError(f"--definitions does not describe {options.name} ({error})") from None
        published = weights_of_config(definition)
    stage_weights(published, options.output, options.source_dir, options.timeout_s)


if __name__ == "__main__":
    run_script(main)
