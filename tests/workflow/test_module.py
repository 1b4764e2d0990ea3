"""The workflow as a module of another workflow, with the config that the other gives it."""

import subprocess
import sys

from checkout import Checkout, jobs

OTHER = """
STUDIES = {"s": {
    "title": "One machine", "kind": "svm",
    "grid": [{"dataset": "digits", "kernel": "rbf", "train_samples": 200}],
    "table": {"rows": ["kernel"], "values": "test_accuracy"}}}

module ablations:
    snakefile: "project/Snakefile"
    config: {"studies": STUDIES}

use rule * from ablations as ablations_*

rule paper:
    default_target: True
    input: "results/tables/s.tex"
    output: "paper.txt"
    shell: "cp {input} {output}"
"""


def test_another_workflow_makes_a_table_of_its_own_study(checkout: Checkout):
    other = checkout.root.parent
    (other / "Snakefile").write_text(OTHER)
    command = [sys.executable, "-m", "snakemake", "--profile", "project/profiles/local"]
    command += ["--workflow-profile", "project/profiles/default"]
    done = subprocess.run(command, cwd=other, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert jobs(done) == {
        "ablations_stage_dataset": 1, "ablations_fit_svm": 1, "ablations_merge_records": 1,
        "ablations_make_table": 1, "paper": 1,
    }  # fmt: skip
    assert "One machine" in (other / "paper.txt").read_text()
