"""Write environment.yaml: every pin of requirements.txt, for conda."""

import re
from pathlib import Path

HERE = Path(__file__).parent
HEADER = """\
# For `snakemake --software-deployment-method conda`, or `conda env create -f envs/environment.yaml`.
# What calls Snakemake with profiles/slurm-packed needs the plugin too: pip install --no-deps ./plugins/*
# Written by `make lock` with the versions of requirements.txt; edit requirements.in instead.
name: ablation-tables
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def environment() -> str:
    """The text that environment.yaml has to have."""
    locked = re.findall(r"^([a-z0-9._-]+==\S+)", (HERE / "requirements.txt").read_text(), re.M)
    return HEADER + "".join(f"      - {pin}\n" for pin in locked)


if __name__ == "__main__":
    (HERE / "environment.yaml").write_text(environment())
