"""What a submitted job starts: submitit, once the folder is known to be the owner's alone.

python -m snakemake_executor_plugin_submitit.job FOLDER
"""

import sys
from pathlib import Path

from submitit.core.submission import process_job

from snakemake_executor_plugin_submitit.folder import opened_private


def main() -> None:
    with opened_private(Path(sys.argv[1])) as folder:
        process_job(folder)


if __name__ == "__main__":
    main()
