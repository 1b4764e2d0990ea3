"""A user's own script from its config to its tables, and what its user does next."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkout import Checkout, jobs

SCRIPT = """
import json, sys
import beside
values = dict(word.split("=") for word in sys.argv[1:])
depth, seed = int(values["depth"]), int(values["seed"])
print(json.dumps({"score": depth + seed / 10, "size": 2 * depth}))
"""
CONFIG = {
    "kinds": {
        "toy": {
            "command": "python toy.py {overrides} seed={seed}",
            "hyperparameters": {"depth": "int"},
            "metrics": {
                "score": {"label": "Score", "better": "higher"},
                "size": {"label": "Size", "unit": "k", "noise": "exact", "decimals": 0, "better": "lower"},
            },
            "code": "toy.py",
        },
        "other": {"hyperparameters": {"depth": "int"}, "metrics": {"score": {"decimals": 1}}},
    },
    "studies": {
        "all": {
            "title": "All depths",
            "kind": "toy",
            "grid": [{"depth": [2, 4, 8]}],
            "seeds": [0, 1],
            "table": {"rows": ["depth"], "values": ["score", "size"]},
            "published": "published.tsv",
        },
        "some": {
            "title": "Some depths",
            "kind": "toy",
            "grid": [{"depth": [4, 8]}],
            "seeds": [0, 1],
            "table": {"rows": ["depth"]},
        },
        "elsewhere": {
            "title": "Depths of others",
            "kind": "other",
            "grid": [{"depth": [2, 4]}],
            "table": {"rows": ["depth"]},
            "records": "others.csv",
        },
    },
}
TABLES = [
    "results/tables/all.md", "results/tables/all_effects.tsv", "results/tables/all_vs_published.tsv",
    "results/tables/some.md", "results/tables/elsewhere.md", "results/records.parquet",
]  # fmt: skip
RECORDS = [
    f"results/runs/toy/none/none/depth={depth}+seed={seed}/record.tsv"
    for depth in (2, 4, 8)
    for seed in (0, 1)
]

pytestmark = pytest.mark.xdist_group("own kinds")


@pytest.fixture(scope="module")
def made(made_once) -> Checkout:
    """The tables of the three studies."""

    def make(checkout: Checkout) -> None:
        (checkout.root / "toy.py").write_text(SCRIPT)
        (checkout.root / "beside.py").touch()
        plant(checkout.root)
        (checkout.root / "others.csv").write_text("depth,seed,score\n2,0,7.5\n4,0,8.5\n")
        (checkout.root / "published.tsv").write_text("depth\tscore\tsize\n2\t2.1\t4\n8\t9.9\t16\n")
        done = call(checkout, CONFIG)
        assert done.returncode == 0, done.stderr
        (checkout.root / "first.out").write_text(done.stderr)

    return made_once("own_kinds", make)


@pytest.fixture
def own(made: Checkout, tmp_path) -> Checkout:
    """A copy to work in."""
    return Checkout(tmp_path / "project", like=made)


PLANTED = "import pathlib; pathlib.Path({mark!r}).touch(); raise ImportError('planted')"


def plant(root: Path) -> None:
    """Modules that somebody else has put where Python would import them from."""
    for place in (root, root / ".snakemake/scripts"):
        place.mkdir(exist_ok=True, parents=True)
        # The last two are optional parts of pandas, and not installed.
        for name in ("pickle", "snakemake", "pandas", "numexpr", "bottleneck"):
            (place / f"{name}.py").write_text(PLANTED.format(mark=str(root / "planted")))


def call(
    checkout: Checkout, config: dict, *arguments: str, tables: list[str] = TABLES
) -> subprocess.CompletedProcess[str]:
    """Ask for all records and these tables; each takes a second, and a test needs those that it reads."""
    checkout.config(yaml.safe_dump(config, sort_keys=False))
    return checkout.snakemake("--configfile", "my.yaml", *arguments, "--", *tables, *RECORDS)


def changed(**kind) -> dict:
    """The config with changes of the kind."""
    toy = {**CONFIG["kinds"]["toy"], **kind}
    return {**CONFIG, "kinds": {**CONFIG["kinds"], "toy": toy}}


def status(checkout: Checkout, *arguments: str) -> str:
    command = [sys.executable, "scripts/status.py", "--configfile", "my.yaml", *arguments]
    return subprocess.run(command, cwd=checkout.root, capture_output=True, text=True, check=True).stdout


def table(checkout: Checkout, name: str) -> str:
    return (checkout.root / f"results/tables/{name}").read_text()


def test_each_run_of_two_studies_is_executed_once(made):
    assert jobs_of(made)["run_toy"] == 6
    assert sorted(made.records()) == sorted(RECORDS)


def test_modules_beside_the_config_are_imported_by_the_command_alone(made):
    assert not (made.root / "planted").exists()


def test_nothing_is_written_through_a_link_in_the_results(own, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(own.root / "results/runs/toy")
    (own.root / "results/runs/toy").symlink_to(tmp_path / "elsewhere")
    done = call(own, CONFIG)
    assert done.returncode == 1
    assert "results/runs/toy is a link" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "elsewhere").iterdir())


def jobs_of(checkout: Checkout) -> dict[str, int]:
    printed = (checkout.root / "first.out").read_text()
    return jobs(subprocess.CompletedProcess([], 0, "", printed))


def test_the_tables_show_the_metrics_that_the_script_printed(made):
    shown = table(made, "all.md")
    assert re.search(r"\| +depth \| +Score ↑ \| +Size \(k\) ↓ \|", shown)
    assert re.search(r"\| +8 \| +8.05 ± 0.07 \| +16 \|", shown.replace("**", ""))
    assert "4.05 ± 0.07" in table(made, "some.md")
    assert re.search(r"\| +4 \| +8.5", table(made, "elsewhere.md"))


def test_effects_and_published_values_take_own_metrics(made):
    rows = [line.split("\t") for line in table(made, "all_effects.tsv").splitlines()]
    found = {tuple(row[rows[0].index(name)] for name in ("metric", "first", "second")) for row in rows[1:]}
    assert ("score", "2", "4") in found
    verdicts = table(made, "all_vs_published.tsv").splitlines()
    assert [line.split("\t")[6] for line in verdicts[1:]] == [
        "within noise", "reproduced", "differs", "reproduced",
    ]  # fmt: skip


def test_parquet_has_own_metrics_as_numbers(made):
    from pyarrow import parquet

    records = parquet.read_table(made.root / "results/records.parquet").to_pylist()
    assert [row["score"] for row in records if row["kind"] == "toy"] == [2.0, 2.1, 4.0, 4.1, 8.0, 8.1]


def test_a_deleted_record_is_made_again_alone(own):
    before = own.records()
    (own.root / RECORDS[3]).unlink()
    assert json.loads(status(own, "--json"))["studies"]["all"]["done"] == 5
    done = call(own, CONFIG, tables=["results/records.tsv"])
    assert done.returncode == 0, done.stderr
    assert jobs(done)["run_toy"] == 1
    assert {record for record, time in own.records().items() if time != before[record]} == {RECORDS[3]}


def test_a_hyperparameter_added_with_a_default_reruns_nothing(own):
    config = changed(
        hyperparameters={"depth": "int", "act": {"choices": ["relu", "gelu"], "default": "relu"}}
    )
    done = call(own, config, "-n")
    assert done.returncode == 0, done.stderr
    assert "run_toy" not in jobs(done)
    assert call(own, config, tables=["results/tables/all.md"]).returncode == 0
    assert "8.05 ± 0.07" in table(own, "all.md")


def test_changes_of_command_labels_and_metrics_rerun_nothing(own):
    metrics = {**CONFIG["kinds"]["toy"]["metrics"], "score": {"label": "Points"}, "loss": {"better": "lower"}}
    config = changed(command="python toy.py {overrides} seed={seed} # now", metrics=metrics)
    assert "run_toy" not in jobs(call(own, config, "-n"))
    done = call(own, config, tables=["results/tables/all.md"])
    assert done.returncode == 0, done.stderr
    assert "run_toy" not in jobs(done)
    assert "Points" in table(own, "all.md")


def test_runs_of_other_code_are_named_and_rerun_on_demand(own):
    (own.root / "toy.py").write_text(SCRIPT + "\n# another version\n")
    (own.root / RECORDS[0]).unlink()
    done = call(own, CONFIG, tables=["results/tables/all.md"])
    assert jobs(done)["run_toy"] == 1, "nothing else reruns by itself"
    assert "The runs were made by different code: 5 by files of digest" in table(own, "all.md")
    assert "different code" in status(own)
    outdated = status(own, "--outdated").split()
    assert sorted(outdated) == sorted(RECORDS[1:])
    done = own.snakemake("--configfile", "my.yaml", "--forcerun", *outdated, "--", "results/tables/all.md")
    assert done.returncode == 0, done.stderr
    assert jobs(done)["run_toy"] == 5
    assert "different code" not in table(own, "all.md")
    assert status(own, "--outdated") == ""


def test_a_new_table_of_results_is_merged_again(own):
    (own.root / "others.csv").write_text("depth,seed,score\n2,0,7.5\n4,0,9.9\n")
    done = call(own, CONFIG, tables=["results/tables/elsewhere.md"])
    assert "run_toy" not in jobs(done)
    assert re.search(r"\| +4 \| +9.9", table(own, "elsewhere.md"))


def test_a_failing_script_fails_in_a_sentence_and_stops_no_other(own):
    (own.root / "toy.py").write_text(SCRIPT.replace("print", "depth == 4 and exit(3)\nprint"))
    for record in RECORDS:
        (own.root / record).unlink()
    done = call(own, CONFIG, tables=["results/tables/all.md"])
    assert done.returncode == 1
    assert "depth=4+seed=1: the command ended with exit status 3; its output is in" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(own.records()) == 4
    assert "1 error" in status(own) or "2 error" in status(own)


def test_runs_share_a_gpu_by_what_their_like_took_of_one(own):
    """There is no GPU here: the plan gets what it would say after runs on one."""
    one, other, *_ = RECORDS
    for record in (one, other):
        (own.root / record).unlink()
    auto = ("--set-resources", "run_toy:pack=auto", "run_toy:gpu_total_mb=10000")

    def make(record: str) -> str:
        """Make a run by the packed profile, without SLURM; what the call prints."""
        done = own.snakemake(
            record, "--configfile", "my.yaml", "--submitit-cluster", "local", *auto, profile="slurm-packed"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "pack: auto chooses 1: how much of the GPU's memory a job needs (gpu_mem_mb) is not" in make(one)
    own.snakemake("plan", "--configfile", "my.yaml")
    plan = own.root / "results/plan.tsv"
    names, row = (line.split("\t") for line in plan.read_text().splitlines())
    planned = dict(zip(names, row, strict=True))
    # The others have only started Python.
    assert (planned["run"], planned["gpu_mb"], planned["mem_mb"]) == (other, "0", "500")
    plan.write_text(plan.read_text().replace("\t0\t", "\t2100\t"))
    assert "pack: auto chooses 4: a job needs 2100 MB of a GPU with 10000 MB" in make(other)


def test_the_plan_and_the_design_know_own_kinds(own):
    for record in RECORDS[:2]:
        (own.root / record).unlink()
    done = own.snakemake("--configfile", "my.yaml", "--nolock", "--quiet", "rules", "--", "design", "plan")
    assert done.returncode == 0, done.stderr
    assert "3 points × 2 seeds, over depth (3)" in done.stdout
    assert "the same model (2)" in done.stdout
