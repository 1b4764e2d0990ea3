"""The program that a submitted job starts: it checks the folder, then lets submitit run the pack.

python -m snakemake_executor_plugin_submitit.job FOLDER
"""

import sys
from pathlib import Path

from submitit.core.submission import process_job

from snakemake_executor_plugin_submitit.private_folder import opened_private


def main() -> None:
    """Run the pack in the folder that the command line names."""
    with opened_private(Path(sys.argv[1])) as folder:
        process_job(folder)


if __name__ == "__main__":
    main()
