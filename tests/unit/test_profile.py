"""What a profile gives to the runs: bounds of time, slots, and shares of a GPU."""

import pytest
from ablations.errors import AblationsError
from ablations.kinds import KINDS
from ablations.kinds.cnn import CNN
from ablations.tracking.profile import Profile, texts
from plan import plan


def test_resources_are_as_they_were_written():
    class Parsed:
        raw = "8000 * attempt"

    assert texts({"mem_mb": Parsed(), "cpus": 2}) == {"mem_mb": "8000 * attempt", "cpus": "2"}


def profile(**train_cnn: str) -> Profile:
    return Profile(resources={"train_cnn": train_cnn}, cores=4)


@pytest.mark.parametrize(
    ("given", "bounds"),
    [({}, None), ({"min_runtime": "10", "max_runtime": "480"}, (10, 480)), ({"runtime": "7"}, None)],
)
def test_bounds_of_time(given, bounds):
    assert profile(**given).time_bounds("train_cnn") == bounds
    assert profile(**given).time_bounds("fit_svm") is None


@pytest.mark.parametrize(
    "given",
    [
        {"min_runtime": "10"},
        {"max_runtime": "10"},
        {"min_runtime": "10", "max_runtime": "5"},
        {"min_runtime": "10m", "max_runtime": "20m"},
    ],
)
def test_wrong_bounds_of_time_are_a_sentence(given):
    with pytest.raises(AblationsError, match="set-resources of train_cnn: min_runtime and max_runtime"):
        profile(**given).time_bounds("train_cnn")


def test_bounds_of_memory_take_the_place_of_a_request():
    bounds = {"min_mem_mb": "2000", "max_mem_mb": "8000"}
    assert profile(**bounds).memory_bounds("train_cnn") == (2000, 8000)
    assert profile(mem_mb="8000 * attempt").memory_bounds("train_cnn") is None
    with pytest.raises(AblationsError, match="mem_mb is given beside min_mem_mb and max_mem_mb"):
        profile(mem_mb="8000", **bounds).memory_bounds("train_cnn")
    with pytest.raises(AblationsError, match="min_mem_mb and max_mem_mb are given together, in whole MB"):
        profile(min_mem_mb="2000").memory_bounds("train_cnn")


@pytest.mark.parametrize(
    ("settings", "slots"),
    [
        ({"cores": 4}, 4),
        ({"cores": 4, "threads": {"train_cnn": "3"}}, 1),
        ({"cores": 4, "threads": {"train_cnn": "all of them"}}, 4),
        ({}, 1),
        ({"nodes": 100}, 100),
        ({"nodes": 100, "jobs_at_a_time": 10}, 10),
        ({"nodes": 100, "jobs_at_a_time": 10, "resources": {"train_cnn": {"pack": "8"}}}, 80),
        ({"nodes": 10, "jobs_at_a_time": 10, "resources": {"train_cnn": {"pack": "8"}}}, 10),
        (
            {
                "nodes": 999,
                "jobs_at_a_time": 10,
                "resources": {"train_cnn": {"pack": "8", "gpus_per_job": "4"}},
            },
            320,
        ),
        ({"nodes": 999, "jobs_at_a_time": 10, "resources": {"train_cnn": {"pack": "auto"}}}, 10),
    ],
)
def test_slots(settings, slots):
    assert Profile(**settings).slots(CNN) == slots


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({"gres": "gpu:1"}, 1),
        ({"gres": "gpu"}, 1),
        ({"gres": "'gpu:a100:2(S:0-1)'"}, 2),
        ({"gres": "shard:4,gpu:h100:2"}, 2),
        ({"gres": "shard:4"}, None),
        ({"gpu": "2"}, 2),
        ({"gres": "gpu:1", "pack": "8"}, 0.125),
        ({"mem_mb": "4000"}, None),
    ],
)
def test_the_share_of_a_gpu(given, share):
    assert profile(**given).gpu_shares(KINDS.values()) == ({} if share is None else {"cnn": share})


@pytest.mark.parametrize("chosen", [True, False])
def test_the_plan_says_where_packs_are_chosen_later(chosen, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    values = {"batch_size": 16, "optimizer": "sgd", "lr": 0.1, "epochs": 1}
    grid = [{"dataset": "digits", "model": "resnet18", **values}]
    study = {"title": "T", "kind": "cnn", "seeds": [0], "grid": grid, "table": {"rows": "model"}}
    profiles = {("resnet18", "digits"): "profile.json"}
    monkeypatch.setattr("plan.read_profile", lambda path: {"macs": 10**6})
    plan({"one": study}, profiles, {}, {"cnn": 1}, {"cnn": 1.0}, {}, ["cnn"] if chosen else [])
    assert ("one per job" in capsys.readouterr().out) == chosen
