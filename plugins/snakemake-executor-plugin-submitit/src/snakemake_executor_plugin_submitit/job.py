"""The program that a submitted job starts: it checks the folder, then lets submitit run the pack.

python -m snakemake_executor_plugin_submitit.job FOLDER
"""

import importlib
import sys
from pathlib import Path

from snakemake_executor_plugin_submitit.private_folder import opened_private


def main() -> None:
    """Run the pack in the folder that the command line names."""
    # submitit imports numpy, where it is installed, for pickles with arrays. A pack has none: it is hidden.
    hidden = sys.modules.setdefault("numpy", None)  # type: ignore[arg-type]
    submission = importlib.import_module("submitit.core.submission")
    if hidden is None:
        del sys.modules["numpy"]
    with opened_private(Path(sys.argv[1])) as folder:
        submission.process_job(folder)


if __name__ == "__main__":
    main()
