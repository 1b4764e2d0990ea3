"""Chaos for half a minute, from one seed; `make chaos` plays it for as long as you like."""

import random
import subprocess
import sys
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from chaos import COUNTS, TRAINEE, Episode, Watcher, make_reference, play
from chaos_faults import FAULTS, draw
from cluster import Cluster

# One of each party that can die, and the two ways in which a queue lies.
KINDS = ("run-kill", "pack-kill", "controller-kill", "cancel-array", "squeue-slow", "sbatch-lies")


@pytest.mark.parametrize("seed", [3])
def test_a_study_ends_as_if_nothing_had_happened(seed, cluster: Cluster, tmp_path):
    reference = make_reference(tmp_path / "reference", COUNTS)
    faults = draw(random.Random(seed), KINDS, count=5)
    episode = Episode(seed, 0, "submitit", pack=4, direct="auto", faults=faults)
    play(episode, cluster, reference, tmp_path / "e0")
    assert not episode.violations
    # Some may miss: which run or job is there depends on how fast the machine is.
    assert sum(episode.struck.values()) >= 1, (tmp_path / "e0.jsonl").read_text()
    assert not (tmp_path / "e0/project").exists(), "its file system does not stay mounted"


def test_a_seed_draws_the_same_faults_each_time():
    first, second = (draw(random.Random("1:7"), list(FAULTS), count=20) for _ in range(2))
    assert first == second
    assert draw(random.Random("1:8"), list(FAULTS), count=20) != first


@pytest.mark.parametrize("change", [lambda record: record.write_text("again"), Path.unlink])
def test_a_finished_record_that_changes_is_noticed(change, tmp_path):
    record = tmp_path / "results/runs/a/record.tsv"
    record.parent.mkdir(parents=True)
    record.write_text("trained")
    metadata = tmp_path / ".snakemake/metadata"
    metadata.mkdir(parents=True)
    name = urlsafe_b64encode(b"results/runs/a/record.tsv").decode()
    # Snakemake divides a long name among folders.
    (metadata / f"@{name[:9]}").mkdir()
    (metadata / f"@{name[:9]}" / name[9:]).touch()
    watcher = Watcher(tmp_path)
    watcher.look()
    change(record)
    watcher.look()
    assert watcher.end().keys() == {"results/runs/a/record.tsv"}


def test_a_second_writer_is_noticed(tmp_path):
    command = [sys.executable, str(TRAINEE), "--steps", "2", "--seed", "0", str(tmp_path), str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    for process in both:
        process.wait()
    assert "two writers train steps=2+seed=0" in (tmp_path / "violations").read_text()
