"""What a user does every day: plan, run, rerun one, select, preview; with real runs on digits."""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from ablations.runs.gpus import driver_version
from checkout import PATIENCE_S, Checkout, jobs

# Those of all studies of config/config.yaml.
NETWORKS = 94
# The arguments of a call for all runs; tables and figures take most of the time of a small study.
MERGE = ("--configfile", "my.yaml", "--", "results/records.tsv")
# And those of one that only trains, for which no model is counted and nothing is merged.
TRAIN = ("--configfile", "my.yaml", "--until", "train_cnn")
STUDIES = """
studies:
  machines:
    title: Machines on digits
    kind: svm
    grid: [{dataset: digits, kernel: [rbf, poly], train_samples: [200, 400]}]
    table: {rows: [kernel, train_samples], values: [test_accuracy, support_vectors]}
  more:
    title: One point more, two shared
    kind: svm
    grid: [{dataset: digits, kernel: rbf, train_samples: [200, 400, 600]}]
    table: {rows: [train_samples], values: test_accuracy}
"""
RBF_200 = "results/runs/svm/digits/svc/kernel=rbf+train_samples=200/record.tsv"


def made_of_records(studies: int, designs: int = 0, figures: int = 4) -> dict[str, int]:
    """The jobs that make the tables and figures of so many studies, four of each from records."""
    return {"make_table": 4 * studies + designs, "plot_study": figures * studies}


RERUN = {"fit_svm": 1, "merge_records": 1, **made_of_records(2), "all": 1}
NEW_RUN = RERUN | made_of_records(2, designs=1)


@pytest.fixture(scope="module")
def finished_once(made_once) -> Checkout:
    """A checkout where two studies that share runs were finished."""

    def make(checkout: Checkout) -> None:
        checkout.config(STUDIES)
        done = checkout.snakemake("--configfile", "my.yaml")
        assert done.returncode == 0, done.stderr
        assert jobs(done)["fit_svm"] == 5, "seven points are named, two of them by both studies"

    return made_once("two_studies", make)


@pytest.fixture
def finished(finished_once: Checkout, tmp_path: Path) -> Checkout:
    """A copy of it for each test to spoil."""
    return Checkout(tmp_path / "project", like=finished_once)


def test_a_dry_run_shows_the_runs_of_each_study(checkout):
    done = checkout.snakemake("-n")
    assert done.returncode == 0, done.stderr
    printed = done.stdout + done.stderr
    assert re.search(r"^part_a +cnn +32 ", printed, re.M)
    assert re.search(r"^part_b +svm +4 ", printed, re.M)
    assert re.search(r"^question_2 +cnn +10 ", printed, re.M)
    assert re.search(r"^pretraining +cnn +30 ", printed, re.M)
    assert "98 runs in all; 11 runs belong to several studies" in printed
    assert (jobs(done)["train_cnn"], jobs(done)["fit_svm"]) == (NETWORKS, 4)
    assert (jobs(done)["stage_dataset"], jobs(done)["stage_weights"]) == (4, 1)
    assert not (checkout.root / "results").exists()


def test_the_slurm_profile_plans_the_same(checkout):
    done = checkout.snakemake("-n", profile="slurm")
    assert done.returncode == 0, done.stderr
    assert jobs(done)["train_cnn"] == NETWORKS


def test_many_datasets_are_ranked_and_many_seeds_profiled(checkout):
    checkout.config("""
studies:
  ranked:
    title: Five datasets
    kind: svm
    grid:
      - dataset: [mnist, fashion_mnist, kmnist, cifar10, digits]
        kernel: [rbf, poly]
        train_samples: [200, 400]
    table: {rows: [kernel, train_samples], columns: dataset}
  profiled:
    title: Five seeds
    kind: cnn
    grid: [{dataset: digits, model: resnet18, batch_size: 64, optimizer: [sgd, adam], lr: 0.01, epochs: 1}]
    seeds: [0, 1, 2, 3, 4]
    table: {rows: optimizer}
""")
    done = checkout.snakemake("-n", "--configfile", "my.yaml")
    assert done.returncode == 0, done.stderr
    # With five tables each, four figures, and the learning curves of networks.
    assert (jobs(done)["make_table"], jobs(done)["plot_study"]) == (2 * 5 + 2, 2 * 4 + 1 + 2)


def test_two_studies_that_name_the_same_point_train_it_once(finished):
    assert len(finished.records()) == 5
    machines = (finished.root / "results/tables/machines.tsv").read_text().splitlines()
    more = (finished.root / "results/tables/more.tsv").read_text().splitlines()
    assert len(machines) == 1 + 4
    assert len(more) == 1 + 3
    accuracy = machines[1].split("\t")[2]
    assert more[1].split("\t") == ["200", accuracy]


def test_a_second_call_does_nothing(finished):
    done = finished.snakemake("--configfile", "my.yaml")
    assert done.returncode == 0
    assert jobs(done) == {}
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_deleted_record_reruns_that_run_its_merge_and_the_tables(finished):
    before = finished.records()
    (finished.root / RBF_200).unlink()
    assert jobs(finished.snakemake("-n", "--configfile", "my.yaml")) == RERUN
    done = finished.snakemake(*MERGE, RBF_200)
    assert done.returncode == 0, done.stderr
    after = finished.records()
    assert [record for record in after if after[record] != before.get(record)] == [RBF_200]


def test_one_record_is_a_target(finished):
    (finished.root / RBF_200).unlink()
    done = finished.snakemake(RBF_200, "--configfile", "my.yaml")
    assert done.returncode == 0, done.stderr
    assert jobs(done) == {"fit_svm": 1}


def test_a_call_for_one_run_checks_every_study(finished):
    """Snakemake tells a workflow its targets only after parsing: a wrong study stops each call."""
    wrong = STUDIES.replace("kernel: rbf, train_samples", "kernel: rbf, C: 2.0, train_samples").replace(
        "    table: {rows: [train_samples]", "    exclude: [{C: 3.0}]\n    table: {rows: [train_samples]"
    )
    finished.config(wrong)
    for targets in ([], ["--", RBF_200]):
        done = finished.snakemake("-n", "--configfile", "my.yaml", *targets)
        printed = done.stdout + done.stderr
        assert done.returncode == 1
        assert "studies.more.exclude[0]: it removes nothing" in printed
        assert "Traceback" not in printed


def test_a_job_of_a_cluster_makes_no_list_of_all(finished):
    (finished.root / RBF_200).unlink()
    config = ("--configfile", "my.yaml")
    whole = finished.snakemake("-n", *config, "--", RBF_200)
    assert "runs in all" in whole.stdout + whole.stderr
    job = finished.snakemake("-n", "--mode", "remote", *config, "--", RBF_200)
    assert job.returncode == 0, job.stderr
    assert "runs in all" not in job.stdout + job.stderr


def test_a_run_outside_every_study_is_a_target_too(finished):
    target = "results/runs/svm/digits/svc/kernel=linear+train_samples=300+C=0.5/record.tsv"
    done = finished.snakemake(target, "--configfile", "my.yaml")
    assert done.returncode == 0, done.stderr
    assert "\tlinear\t300\t0.5\t" in (finished.root / target).read_text()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("kernel=rbf+train_samples=0200", "ask for 'kernel=rbf+train_samples=200'"),
        ("kernel=rbx+train_samples=200", "kernel: Input should be"),
    ],
)
def test_a_misspelled_target_is_a_sentence(target, expected, finished):
    done = finished.snakemake(f"results/runs/svm/digits/svc/{target}/record.tsv", "--configfile", "my.yaml")
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_another_place_to_look_for_files_runs_nothing_again(finished):
    done = finished.snakemake(
        "-n",
        "--configfile",
        "my.yaml",
        "--config",
        "source_dir=elsewhere",
        "device=cpu",
        "download_timeout_s=5",
    )
    assert jobs(done) == {}, done.stdout


def plan_with_one_more(finished: Checkout, *arguments: str) -> dict[str, int]:
    """The jobs of a call that names one run more than is finished."""
    finished.config(STUDIES.replace("[200, 400, 600]", "[200, 400, 600, 700]"))
    return jobs(finished.snakemake("-n", "--configfile", "my.yaml", *arguments))


def staged(checkout: Checkout) -> Path:
    (path,) = checkout.root.glob("data/digits-*.safetensors")
    return path


def test_purged_data_that_is_staged_again_trains_no_finished_run(finished):
    staged(finished).unlink()
    assert jobs(finished.snakemake("-n", "--configfile", "my.yaml")) == {}
    done = finished.snakemake("stage", "--configfile", "my.yaml")
    assert jobs(done) == {"stage_dataset": 1, "stage": 1}
    assert plan_with_one_more(finished) == NEW_RUN


def test_data_that_were_moved_train_no_finished_run(finished):
    (finished.root / "data").rename(finished.root / "scratch")
    assert plan_with_one_more(finished, "--config", "data_dir=scratch") == NEW_RUN


def test_a_newer_workflow_trains_no_finished_run(finished):
    rules = finished.root / "rules/runs.smk"
    rules.write_text(rules.read_text().replace("--threads {threads}", "--threads  {threads}"))
    (finished.root / "scripts/stage_dataset.py").touch()
    assert plan_with_one_more(finished) == NEW_RUN


@pytest.mark.parametrize("profile", ["", "slurm-packed"])
def test_newer_code_makes_tables_and_figures_again_but_no_run(profile, finished):
    """Also where a call names no profile: what reruns a job is the same for all."""
    rules = finished.root / "rules/runs.smk"
    rules.write_text(rules.read_text().replace("--threads {threads}", "--threads  {threads}"))
    with (finished.root / "scripts/fit_svm.py").open("a") as script:
        script.write("# mended\n")
    assert jobs(finished.snakemake("-n", "--configfile", "my.yaml", profile=profile)) == {}
    with (finished.root / "scripts/ablations/presentation/wording.py").open("a") as script:
        script.write("# mended\n")
    planned = jobs(finished.snakemake("-n", "--configfile", "my.yaml", profile=profile))
    assert planned == {"merge_records": 1, **made_of_records(2, designs=2), "all": 1}


def test_another_normalisation_trains_again(finished):
    datasets = finished.root / "config/datasets.yaml"
    head, digits, tail = datasets.read_text().partition("  digits:")
    datasets.write_text(head + digits + tail.replace("mean: [0.5]", "mean: [0.4]"))
    old = staged(finished)
    planned = plan_with_one_more(finished)
    assert (planned["stage_dataset"], planned["fit_svm"]) == (1, 6)
    assert old.exists(), "another project may still use it"


def test_a_run_that_the_study_lost_leaves_the_merged_records(finished):
    finished.config(STUDIES.replace("[200, 400, 600]", "[200, 400]"))
    done = finished.snakemake(*MERGE)
    assert done.returncode == 0, done.stderr
    assert len((finished.root / "results/records.tsv").read_text().splitlines()) == 1 + 4


def test_a_design_is_printed_before_anything_is_trained(checkout):
    done = checkout.snakemake("design")
    assert done.returncode == 0, done.stderr
    assert "  NOT separable: epochs, which is determined by lr" in done.stdout
    assert "  at least 1 more point is needed to separate all main effects" in done.stdout
    assert not (checkout.root / "results").exists()


def test_a_plan_says_what_is_left_and_how_wrong_it_was(finished):
    (finished.root / RBF_200).unlink()
    plan = finished.snakemake("plan", "--configfile", "my.yaml")
    assert plan.returncode == 0, plan.stderr
    rows = {line.split()[0]: line.split()[1:] for line in plan.stdout.splitlines() if line.strip()}
    assert rows["machines"][:2] == ["4", "1"]
    assert "the same model (1)" in plan.stdout, "the other kernel on as many images"
    assert "planned earlier" not in plan.stdout
    assert [row.split("\t")[0] for row in (finished.root / "results/plan.tsv").read_text().splitlines()] == [
        "run", RBF_200,
    ]  # fmt: skip
    finished.snakemake("--configfile", "my.yaml", "--", RBF_200)
    again = finished.snakemake("plan", "--configfile", "my.yaml")
    assert "1 run that was planned earlier took " in again.stdout
    assert "nothing to do" in again.stdout
    (finished.root / "results/plan.tsv").write_text("no\tplan\n")
    assert finished.snakemake("plan", "--configfile", "my.yaml").returncode == 0


def test_a_plan_counts_the_gpus_of_its_profile(checkout, tmp_path, monkeypatch):
    """Eight runs to a GPU, on a hundred GPUs, is what the packed profile says."""
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho MaxArraySize = 1001\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    checkout.config("""
device: cuda
studies:
  s:
    title: Long runs
    kind: cnn
    grid: [{dataset: digits, model: shufflenet_v2_x0_5, batch_size: [32, 40], optimizer: [adam, sgd],
            lr: 0.001, epochs: 100000, pin_memory: false}]
    table: {rows: [batch_size, optimizer], values: test_accuracy}
""")

    def planned(profile: str) -> dict[str, str]:
        plan = checkout.snakemake("plan", "--configfile", "my.yaml", profile=profile)
        assert plan.returncode == 0, plan.stderr
        # What is known of this machine says nothing of a cluster's nodes.
        lacks_gpu = profile == "local" and driver_version() is None
        assert plan.stderr.count("note: device is cuda, and networks cannot train") == lacks_gpu
        lines = plan.stdout.splitlines()
        first = next(i for i, line in enumerate(lines) if "makespan" in line)
        head, row = (re.split(r"  +", line) for line in lines[first : first + 2])
        return dict(zip(head, row, strict=True))

    # The first call counts the model, for all of them.
    assert "GPU-hours" not in planned("local")
    for profile, at_a_time, to_a_gpu in (("slurm", 100, 1), ("slurm-packed", 800, 8)):
        found = planned(profile)
        assert found["makespan"].endswith(f", {at_a_time} at a time")
        rows = (checkout.root / "results/plan.tsv").read_text().splitlines()[1:]
        hours = sum(float(row.split("\t")[1]) for row in rows) / 3600
        assert float(found["GPU-hours"]) == pytest.approx(hours / to_a_gpu, rel=0.02)


def test_a_plan_of_one_study_keeps_those_of_the_others(checkout):
    """They are the time limits of their runs."""
    checkout.config(STUDIES)

    def planned(*flags: str) -> set[str]:
        done = checkout.snakemake("plan", "--configfile", "my.yaml", *flags)
        assert done.returncode == 0, done.stderr
        rows = (checkout.root / "results/plan.tsv").read_text().splitlines()[1:]
        return {row.split("\t")[0] for row in rows}

    every = planned()
    assert len(every) > 3
    assert planned("--config", "studies=[more]") == every
    for threads, at_a_time in ((1, 2), (2, 1)):
        done = checkout.snakemake(
            "plan", "--configfile", "my.yaml", "--cores", "2", "--set-threads", f"fit_svm={threads}"
        )
        assert f", {at_a_time} at a time" in done.stdout


def test_a_part_asks_for_nothing_that_is_not_there(checkout):
    """Not even for the profile of a model that cannot take the images, of which no run can be there."""
    checkout.config("""
studies:
  s:
    title: Images of 8 by 8
    kind: cnn
    grid: [{dataset: digits, model: [alexnet, vgg11], batch_size: 32, optimizer: sgd, lr: 0.01, epochs: 1,
            pin_memory: false}]
    table: {rows: [model], values: test_accuracy}
""")
    part = ("--configfile", "my.yaml", "--config", "partial=true")
    assert jobs(checkout.snakemake("-n", *part)) == {
        "merge_records": 1, **made_of_records(1, designs=1, figures=5), "all": 1,
    }  # fmt: skip
    done = checkout.snakemake(*part, "--", "results/tables/s.md")
    assert done.returncode == 0, done.stderr
    assert (checkout.root / "results/tables/s.md").read_text().count("missing") == 3


def test_on_a_cluster_the_plan_sets_the_limit_of_a_job(checkout):
    run = (
        "results/runs/cnn/digits/resnet18/batch_size=32+optimizer=sgd+lr=0.1+epochs=1+pin_memory=false"
        "+train_samples=960+seed=0/record.tsv"
    )

    def limit(*bounds: str) -> str:
        """The minutes that the job would ask for, or what is wrong with its bounds."""
        flags = ["--set-resources", *bounds] if bounds else []
        done = checkout.snakemake(
            run, "-n", "-p", *flags, "--configfile", "config/quickstart.yaml", profile="slurm"
        )
        printed = done.stdout + done.stderr
        assert "Traceback" not in printed
        if bounds == ():
            assert "--batches host" in printed, "the config varies pin_memory"
        found = re.search(r"--time-limit-min (\d+)", printed)
        return found.group(1) if found else printed

    assert limit() == "480", "nothing is known: the most"
    plan = checkout.root / "results/plan.tsv"
    plan.parent.mkdir(exist_ok=True)
    plan.write_text(f"run\tseconds\tbasis\tplanned_on\n{run}\t600.0\tthe same model\t2026-01-01\n")
    assert limit() == "35", "three times ten minutes, and three around them, in steps of five"
    # On the command line they replace those of the profile, all of them.
    assert limit("train_cnn:min_runtime=10", "train_cnn:max_runtime=20") == "20"
    assert limit("train_cnn:runtime=7") == "7"
    wrong = limit("train_cnn:min_runtime=10", "train_cnn:max_runtime=5")
    assert "set-resources of train_cnn: min_runtime and max_runtime are given together" in wrong
    assert "found: 10, 5" in wrong


def test_on_a_cluster_the_plan_sets_the_memory_of_a_job(checkout):
    checkout.config(STUDIES)

    def request(*bounds: str) -> str:
        """The memory that the job would ask for, or what is wrong with its bounds."""
        flags = ("-n", "-p", "--set-resources", *(f"fit_svm:{bound}" for bound in bounds))
        done = checkout.snakemake(RBF_200, "--configfile", "my.yaml", *flags, profile="slurm")
        printed = done.stdout + done.stderr
        assert "Traceback" not in printed
        found = re.search(r"--memory-mb (\d+)", printed)
        return found.group(1) if found else printed

    bounds = ("min_mem_mb=2000", "max_mem_mb=16000")
    assert request(*bounds) == "16000", "nothing is known: the most"
    plan = checkout.root / "results/plan.tsv"
    plan.parent.mkdir(exist_ok=True)
    head = "run\tseconds\tbasis\tplanned_on\tgpu_mb\tmem_mb"
    plan.write_text(f"{head}\n{RBF_200}\t600.0\tthe same model\t2026-01-01\t0\t3500\n")
    assert request(*bounds) == "3500"
    assert request("min_mem_mb=4000", "max_mem_mb=16000") == "4000"
    assert "min_mem_mb and max_mem_mb are given together" in request("min_mem_mb=4000")


def test_a_preview_leaves_the_lock_of_a_running_study(finished):
    locks = finished.root / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.input.lock").write_text("data/digits.safetensors\n")
    (locks / "0.output.lock").write_text(f"{RBF_200}\n")
    alive = (finished.root / ".snakemake/controller").open("w")
    fcntl.flock(alive, fcntl.LOCK_SH)
    table = "results/preview/tables/more.md"
    done = finished.snakemake("--nolock", "--configfile", "my.yaml", "--", table)
    assert done.returncode == 0, done.stderr
    assert (finished.root / table).exists()
    assert len(list(locks.iterdir())) == 2
    refused = finished.snakemake("--configfile", "my.yaml", "--forcerun", "merge_records")
    assert refused.returncode == 1
    assert "Directory cannot be locked" in refused.stderr
    alive.close()


def test_thousands_of_records_are_merged_by_the_rule(finished):
    """All of them as inputs of one job: more than the 128 KiB that a shell's command can have."""
    finished.config(
        """
studies:
  many:
    title: Thousands
    kind: svm
    grid: [{dataset: digits, kernel: rbf, train_samples: 200, C: [LIST]}]
    table: {rows: [C], values: test_accuracy}
""".replace("LIST", ", ".join(str(c) for c in range(1, 2001)))
    )
    one = (finished.root / RBF_200).read_text()
    for c in range(2, 2001):
        folder = finished.root / f"results/runs/svm/digits/svc/kernel=rbf+train_samples=200+C={c}"
        folder.mkdir()
        (folder / "record.tsv").write_text(one.replace("rbf\t200\t1\t", f"rbf\t200\t{c}\t"))
    done = finished.snakemake("results/records.tsv", "--configfile", "my.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    assert jobs(done) == {"merge_records": 1}
    assert len((finished.root / "results/records.tsv").read_text().splitlines()) == 2001
    assert len(" ".join(finished.records())) > 2**17


def test_a_run_starts_from_weights_named_in_the_config(checkout):
    """From a file of the user's own, and from one that is staged: here, it is in `source_dir`."""
    import torch
    from ablations.training.models import build_model

    state = build_model("shufflenet_v2_x0_5", (3, 8, 8), 1000).state_dict()
    torch.save(state, checkout.root / "own.pth")
    (checkout.root / "sources/weights").mkdir(parents=True)
    body = [tensor for name, tensor in state.items() if not name.startswith("fc.")]
    names = [name.rpartition(".")[2] for name in state]
    fetched = checkout.root / "sources/weights/body.pt"
    torch.save({f"{i}.{name}": t for i, (name, t) in enumerate(zip(names, body, strict=False))}, fetched)
    checkout.config(f"""
source_dir: sources
weights:
  mine: own.pth
  fetched:
    model: shufflenet_v2_x0_5
    file: {{name: body.pt, sha256: {hashlib.sha256(fetched.read_bytes()).hexdigest()}}}
    in_order: [conv1, stage2, stage3, stage4, conv5]
studies:
  s:
    title: From weights of my own
    kind: cnn
    grid: [{{dataset: digits, model: shufflenet_v2_x0_5, batch_size: 32, optimizer: sgd, lr: 0.01, epochs: 1,
            pin_memory: false, train_samples: 64, pretrained: [mine, fetched]}}]
    table: {{rows: [pretrained], values: test_accuracy}}
""")
    done = checkout.snakemake(*TRAIN)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [(checkout.root / record).read_text() for record in checkout.records()]
    assert [re.search(r"\t(mine|fetched)\t", text)[1] for text in records] == ["fetched", "mine"]
    assert all("\tfc.weight fc.bias\t" in text for text in records)


def test_imagenet_weights_that_are_not_the_published_ones_stop_the_run(checkout):
    """The whole way of `pretrained: imagenet`, up to a file with the right name and other content."""
    (checkout.root / "mine/weights").mkdir(parents=True)
    (checkout.root / "mine/weights/resnet18-f37072fd.pth").write_bytes(b"something else")
    checkout.config("""
source_dir: mine
download_timeout_s: 5
studies:
  s:
    title: From ImageNet
    kind: cnn
    grid: [{dataset: digits, model: resnet18, batch_size: 32, optimizer: sgd, lr: 0.01, epochs: 1,
            pin_memory: false, train_samples: 64, pretrained: imagenet}]
    table: {rows: [pretrained], values: test_accuracy}
""")
    done = checkout.snakemake(*TRAIN)
    assert done.returncode == 1
    printed = done.stdout + done.stderr
    assert "expected f37072fd47e89c5e" in printed
    assert "Traceback" not in printed
    assert checkout.records() == {}
    assert not (checkout.root / "data/weights/imagenet/resnet18.safetensors").exists()


def test_a_changed_title_makes_its_table_alone(finished):
    finished.config(STUDIES.replace("Machines on digits", "Another title"))
    done = finished.snakemake("-n", "--configfile", "my.yaml")
    finished.config(STUDIES)
    assert jobs(done) == {**made_of_records(1, designs=1), "all": 1}


def test_a_selection_runs_that_study(checkout):
    checkout.config(STUDIES)
    done = checkout.snakemake("-n", "--configfile", "my.yaml", "--config", "studies=[more]")
    assert jobs(done)["fit_svm"] == 3
    assert "machines" not in done.stdout + done.stderr


def test_a_failing_run_leaves_the_others_and_is_rerun_alone(checkout):
    """A batch of one cannot be normalised: that run fails, by itself, at its start."""
    study = """
studies:
  s:
    title: One run fails
    kind: cnn
    grid: [{dataset: digits, model: shufflenet_v2_x0_5, batch_size: [30, 32], optimizer: sgd, lr: 0.01,
            epochs: 1, pin_memory: false, train_samples: 65}]
    table: {rows: [batch_size, train_samples], values: test_accuracy}
"""
    # 65 images in batches of 32 leave one; in batches of 30 they leave five.
    checkout.config(study)
    done = checkout.snakemake("--configfile", "my.yaml")
    assert done.returncode == 1
    assert len(checkout.records()) == 1, "keep-going: the other run finished"
    assert "leave a batch of one" in done.stdout + done.stderr, "the log of what failed is shown"
    assert re.search(r"^\[1/2\] batch_size=30: Test accuracy \d+\.\d\d % in \d+ s", done.stderr, re.M)
    assert re.search(r"^1 run failed:\n  1 × error: 65 training images in batches of 32", done.stderr, re.M)
    assert "Finished jobid" not in done.stderr
    assert not (checkout.root / "results/tables/s.md").exists()

    preview = checkout.snakemake("results/preview/tables/s.md", "--configfile", "my.yaml")
    assert preview.returncode == 0, preview.stderr
    shown = (checkout.root / "results/preview/tables/s.md").read_text()
    assert re.search(r"\| +32 \| +65 \| +missing", shown)
    assert re.search(r"\| +30 \| +65 \| +\**\d+\.\d\d", shown)
    assert "1 of 2 runs are missing" in shown
    planned = jobs(checkout.snakemake("-n", "pages", "--configfile", "my.yaml"))
    assert planned == {"plot_study": 5, "make_page": 1, "make_index": 1, "pages": 1}, "it waits for no run"

    # The final tables and the report, of what is there: nothing is trained.
    before = checkout.records()
    part = ("--configfile", "my.yaml", "--config", "partial=true")
    assert "train_cnn" not in jobs(checkout.snakemake("-n", *part))
    part += ("--", "results/tables/s.html", "results/figures/s_grid.png")
    done = checkout.snakemake(*part)
    assert done.returncode == 0, done.stderr
    assert "train_cnn" not in jobs(done)
    assert "1 of them are completed" in done.stdout + done.stderr
    assert re.search(r"\| +32 \| +65 \| +missing", (checkout.root / "results/tables/s.md").read_text())
    assert "failed" in (checkout.root / "results/figures/s_grid.svg").read_text()
    done = checkout.snakemake("--report", "results/part.html", *part)
    assert done.returncode == 0, done.stderr
    assert "map of the grid" in (checkout.root / "results/part.html").read_text()
    assert "1 of 2 runs are missing" in (checkout.root / "results/tables/s.html").read_text()

    again = checkout.snakemake("--configfile", "my.yaml")
    assert again.returncode == 1
    made = made_of_records(1, figures=5)
    assert jobs(again) == {"train_cnn": 1, "merge_records": 1, **made, "all": 1}
    assert checkout.records() == before


def test_a_preview_of_nothing_has_every_cell_marked(checkout):
    checkout.config(STUDIES)
    done = checkout.snakemake("preview", "--configfile", "my.yaml", "--config", "studies=[machines]")
    assert done.returncode == 0, done.stderr
    shown = (checkout.root / "results/preview/tables/machines.md").read_text()
    assert shown.count("missing") == 8 + 1
    assert shown in done.stdout


def test_a_truncated_record_stops_the_merge_and_is_named(finished):
    record = finished.root / RBF_200
    whole = record.read_text()
    record.write_text(whole[:-30])
    done = finished.snakemake(*MERGE)
    assert done.returncode == 1
    assert f"{RBF_200}: it is truncated" in done.stdout + done.stderr
    assert "delete it, and run the same command to repeat that run" in done.stdout + done.stderr
    record.unlink()
    done = finished.snakemake(*MERGE)
    assert done.returncode == 0, done.stderr
    assert jobs(done)["fit_svm"] == 1


@pytest.fixture
def training(checkout) -> Iterator[tuple[psutil.Popen, list[psutil.Process]]]:
    """Snakemake in the middle of a study of one network: its process, and those of its jobs."""
    checkout.config("""
studies:
  s:
    title: Long enough to be killed
    kind: cnn
    grid: [{dataset: digits, model: resnet18, batch_size: 16, optimizer: sgd, lr: 0.01, epochs: 10,
            pin_memory: false, train_samples: 160}]
    table: {rows: [batch_size], values: test_accuracy}
""")
    process = psutil.Popen(
        [sys.executable, "-m", "snakemake", "--profile", "profiles/local", *TRAIN],
        cwd=checkout.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not any("epoch 1/10" in log.read_text() for log in checkout.root.glob("results/runs/**/run.log")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    family = process.children(recursive=True)
    # It stands still in its first epochs, however slow this machine is, until the test lets it continue.
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.suspend()
    yield process, family
    for member in [*family, process]:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def resume(family: list[psutil.Process]) -> None:
    for member in family:
        with suppress(psutil.NoSuchProcess):  # a short one, which had ended before it could be stopped
            member.resume()


def test_a_study_can_be_planned_while_it_runs(training, checkout):
    process, family = training
    done = checkout.snakemake("--nolock", "plan", "--configfile", "my.yaml")
    assert done.returncode == 0, done.stderr
    assert len((checkout.root / "results/plan.tsv").read_text().splitlines()) == 2
    resume(family)
    assert process.wait(timeout=PATIENCE_S) == 0
    assert len(checkout.records()) == 1


def test_a_second_call_leaves_the_locks_of_the_first(training, checkout):
    process, family = training
    locks = sorted((checkout.root / ".snakemake/locks").iterdir())
    assert locks
    for arguments in (("-n",), ()):
        done = checkout.snakemake("--configfile", "my.yaml", *arguments)
        assert "its lock is removed" not in done.stderr
        assert sorted((checkout.root / ".snakemake/locks").iterdir()) == locks
    assert "Directory cannot be locked" in done.stderr
    resume(family)
    assert process.wait(timeout=PATIENCE_S) == 0


def test_only_a_call_that_runs_jobs_removes_the_locks_of_a_dead_one(finished):
    locks = finished.root / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.output.lock").write_text(f"{RBF_200}\n")
    (finished.root / ".snakemake/controller").write_text(platform.node())
    for look in ("--dry-run", "--lint", "--report r.html", "--touch"):
        done = finished.snakemake("--configfile", "my.yaml", *look.split())
        assert "its lock is removed" not in done.stderr
        assert [path.name for path in locks.iterdir()] == ["0.output.lock"], done.stderr
    done = finished.snakemake("--configfile", "my.yaml")
    assert "its lock is removed" in done.stderr
    assert not list(locks.glob("*"))


def test_after_everything_was_killed_the_same_command_resumes(training, checkout):
    process, family = training
    for member in [*family, process]:
        member.send_signal(signal.SIGKILL)
    process.wait()
    assert checkout.records() == {}
    done = checkout.snakemake(*TRAIN)
    assert done.returncode == 0, done.stderr
    assert "The last call here was killed; its lock is removed" in done.stderr
    assert len(checkout.records()) == 1
    assert not list(checkout.root.glob("results/runs/**/.*.tmp"))


def test_after_snakemake_alone_was_killed_no_run_has_two_writers(training, checkout):
    """Its jobs live on: the same command waits for the one at the run, and trains nothing."""
    process, family = training
    (run,) = (m for m in family if m.name().startswith("python") and "scripts/train_cnn.py" in m.cmdline())
    process.kill()
    process.wait()
    log = next(checkout.root.glob("results/runs/**/run.log"))
    with ThreadPoolExecutor() as pool:
        again = pool.submit(checkout.snakemake, *TRAIN)
        # Snakemake removes the log of the run that it begins again.
        while not log.exists() or "is at this run; waiting" not in log.read_text():
            assert not again.done()
            time.sleep(0.02)
        resume(family)
    assert again.result().returncode == 0, again.result().stderr
    assert f"process {run.pid} on " in log.read_text()
    assert "epoch 1/10" not in log.read_text(), "the second process trains nothing"
    assert len(checkout.records()) == 1


def test_a_run_that_outlives_snakemake_is_not_trained_again(training, checkout):
    """It writes its record, and nobody removes the mark by which Snakemake takes it for incomplete."""
    process, family = training
    process.kill()
    process.wait()
    resume(family)
    psutil.wait_procs(family, timeout=PATIENCE_S)
    before = checkout.records()
    assert len(before) == 1
    assert list(checkout.root.glob(".snakemake/incomplete/**/*")), "the mark is there"
    done = checkout.snakemake(*TRAIN)
    assert done.returncode == 0, done.stderr
    assert "train_cnn" not in jobs(done)
    assert checkout.records() == before


def test_a_printed_command_can_be_pasted(finished):
    (finished.root / RBF_200).unlink()
    done = finished.snakemake(RBF_200, "--configfile", "my.yaml", "-n", "-p")
    printed = (done.stdout + done.stderr).splitlines()
    command = next(line for line in printed if "scripts/fit_svm.py" in line).partition("Shell command: ")[2]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    subprocess.run(["bash", "-c", command], cwd=finished.root, env=environment, check=True)
    assert (finished.root / RBF_200).exists()


def test_the_workflow_runs_in_another_directory(finished, tmp_path):
    shutil.copytree(finished.root / "data", tmp_path / "data")
    finished.config(STUDIES.replace("[200, 400, 600]", "200"))
    done = finished.snakemake(
        "--configfile", "my.yaml", "--config", "studies=[more]", "--directory", str(tmp_path), "--",
        "results/tables/more.md",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/tables/more.md").is_file()


@pytest.mark.parametrize("profile", ["slurm", "slurm-packed"])
def test_a_directory_whose_name_slurm_would_replace_is_refused(profile, tmp_path):
    checkout = Checkout(tmp_path / "lr5%all")
    checkout.config(STUDIES)
    done = checkout.snakemake("--configfile", "my.yaml", profile=profile)
    assert done.returncode == 1
    assert "has a % in its path" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout.root / "results").exists()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (STUDIES.replace("kernel: [rbf, poly]", "kernel: [rbx]"), "did you mean 'rbf'"),
        (STUDIES.replace("  more:", "  machines:"), "'machines' is repeated here"),
        ("- a list", "keys at top level"),
    ],
)
def test_a_wrong_config_ends_before_any_job(config, expected, checkout):
    checkout.config(config)
    before = {
        p for p in checkout.root.rglob("*") if ".snakemake" not in p.parts and "__pycache__" not in p.parts
    }
    done = checkout.snakemake("--configfile", "my.yaml")
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    after = {
        p for p in checkout.root.rglob("*") if ".snakemake" not in p.parts and "__pycache__" not in p.parts
    }
    assert before == after, "nothing is written"


def test_an_image_folder_of_ones_own_becomes_a_study(checkout):
    """The README's way to add a dataset and a model."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 5)):
        for name, level in (("dark", 40), ("light", 200)):
            folder = checkout.root / "pictures" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(level - 30, level + 30, (20, 20, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    checkout.config("""
datasets:
  pictures: {format: image_folder, path: pictures, image_shape: [3, 16, 16], classes: 2,
             mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}
studies:
  both:
    title: Pictures of my own
    kind: cnn
    grid: [{dataset: pictures, model: shufflenet_v2_x0_5, batch_size: 10, optimizer: adam, lr: 0.001,
            epochs: 2, pin_memory: false}]
    table: {rows: [model], values: [test_accuracy, gmacs, params_m]}
  machine:
    title: A machine on pictures
    kind: svm
    grid: [{dataset: pictures, kernel: linear, train_samples: all}]
    table: {rows: [dataset], values: test_accuracy}
""")
    tables = ("results/tables/machine.tsv", "results/tables/both.md")
    done = checkout.snakemake("--configfile", "my.yaml", "--", *tables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout.root / "results/tables/machine.tsv").read_text().splitlines()[1] == "pictures\t100.00"
    assert "shufflenet_v2_x0_5" in (checkout.root / "results/tables/both.md").read_text()
