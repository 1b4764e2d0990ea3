"""Rule stage_dataset: fetch, verify and store one dataset."""

import argparse
import json
from pathlib import Path

from ablations.command_line import log_to_stderr
from ablations.config.datasets import Dataset
from ablations.data.sources import StagingRequest
from ablations.data.staging import stage
from ablations.errors import AblationsError, run_script
from pydantic import ValidationError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the name of the dataset")
    parser.add_argument("--definition", required=True, help="its entry in config/datasets.yaml, as JSON")
    parser.add_argument("--sources", default="{}", help="the `sources` of each dataset, by its name, as JSON")
    parser.add_argument("--source-dir", type=Path, help="a directory of your own, which is searched first")
    base = "base of the definition's relative path; of several, the first that has it"
    parser.add_argument("--root", type=Path, action="append", help=base)
    parser.add_argument("--timeout-s", type=float, default=120, help="time limit of each source, in seconds")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors to write")
    options = parser.parse_args()
    log_to_stderr()
    try:
        sources = json.loads(options.sources).get(options.dataset, [])
        entry = json.loads(options.definition) | {"sources": sources}
        definition = Dataset.model_validate(entry)
    except (ValueError, TypeError, AttributeError, ValidationError) as error:
        raise AblationsError(f"--definition and --sources do not describe a dataset ({error})") from None
    roots = options.root or [Path()]
    request = StagingRequest(options.dataset, definition, options.source_dir, roots, options.timeout_s)
    stage(request, options.output)


if __name__ == "__main__":
    run_script(main)
