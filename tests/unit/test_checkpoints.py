"""A run that was stopped, at any step, ends as an undisturbed one."""

import os
import time
from pathlib import Path

import pytest
import torch
from ablations.runs.attempts import Attempt, job_deadline
from ablations.runs.run import Run
from ablations.training import setup
from ablations.training import trainer as training
from ablations.training.checkpoints import Checkpoint, Stopped
from ablations.training.models import build_model
from test_records import make_run
from trainings import SHAPE, digits, hyperparameters

RUN = make_run()
MODEL = "shufflenet_v2_x0_5"  # small: here a checkpoint is written after every step
STEPS = 4  # 2 epochs of 64 images in batches of 32


def checkpoint_at(path: Path, run: Run = RUN, data: str = "its data", **options) -> Checkpoint:
    own = Attempt(path.with_name("record.tsv"), run)
    own.identify({"data": data})
    return Checkpoint(path, own, **options)


class Killed(Exception):
    """Stands for SIGKILL within one process: nothing after it is done."""


def run(folder: Path, kill_at: int | None = None, model_name: str = MODEL, **changes):
    """Train, with a checkpoint after every step; die after step `kill_at`."""
    hp = hyperparameters(**{"epochs": 2, "optimizer": "adam", "lr": 1e-3} | changes)
    setup.configure(hp, threads=1)
    model = build_model(model_name, SHAPE, 10)
    done = 0

    def on_step(step: int, total: int) -> None:
        nonlocal done
        done += 1
        if step == kill_at:
            raise Killed

    checkpoint = checkpoint_at(folder / "checkpoint.pt", interval_s=0)
    result = training.Trainer(model, digits(64), hp, torch.device("cpu"), on_step, checkpoint).train()
    return model, result, done, checkpoint


def equal(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def losses(result: training.Training) -> list[tuple[float, float]]:
    return [(epoch.train_loss, epoch.test_accuracy) for epoch in result.history]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_run_killed_at_any_step_ends_with_the_same_weights(optimizer, tmp_path):
    changes = {"optimizer": optimizer, "momentum": 0.9 if optimizer == "sgd" else 0.0}
    whole, expected, _, _ = run(tmp_path / "whole", **changes)
    for kill_at in range(1, STEPS + 1):
        folder = tmp_path / str(kill_at)
        with pytest.raises(Killed):
            run(folder, kill_at=kill_at, **changes)
        resumed, result, done, _ = run(folder, **changes)
        assert equal(whole, resumed), f"bit for bit, killed after step {kill_at}"
        assert losses(result) == losses(expected)
        # The step that was killed was not in a checkpoint yet, and is done again; none before it is.
        assert done == STEPS - kill_at + 1


def test_dropout_draws_the_same_numbers_after_a_kill(tmp_path):
    changes = {"model_name": "mobilenet_v2"}
    whole, _, _, _ = run(tmp_path / "whole", **changes)
    with pytest.raises(Killed):
        run(tmp_path / "killed", kill_at=2, **changes)
    resumed, _, _, _ = run(tmp_path / "killed", **changes)
    assert equal(whole, resumed)


def test_a_run_killed_twice_counts_three_attempts(tmp_path):
    for kill_at in (2, 3):
        with pytest.raises(Killed):
            run(tmp_path, kill_at=kill_at)
    _, _, _, checkpoint = run(tmp_path)
    assert len(checkpoint.attempt.seconds) == 3


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[torch.nn.Module, training.Training]:
    """A run that nothing happened to: its model and its result."""
    return run(tmp_path_factory.mktemp("undisturbed"))[:2]


@pytest.mark.parametrize(
    ("damage", "reported"),
    [
        (flip_a_bit, "is damaged"),
        (lambda p: p.write_bytes(p.read_bytes()[:-100]), "is damaged"),
        (lambda p: p.write_bytes(b""), "is damaged"),
        (lambda p: p.write_bytes(os.urandom(5000)), "is damaged"),
        (
            lambda p: checkpoint_at(p, make_run(train_samples=200)).save({"progress": {}}),
            "is of another run",
        ),
        (
            lambda p: checkpoint_at(p, data="changed").save({"progress": {}}),
            "is of another data",
        ),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_reported_and_not_used(
    damage, reported, undisturbed, tmp_path, caplog
):
    whole, expected = undisturbed
    with pytest.raises(Killed):
        run(tmp_path / "killed", kill_at=3)
    damage(tmp_path / "killed/checkpoint.pt")
    again, result, done, _ = run(tmp_path / "killed")
    assert reported in caplog.text
    assert done == STEPS, "it starts over"
    assert equal(whole, again)
    assert losses(result) == losses(expected)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil-was-here"),))


def test_a_checkpoint_that_calls_code_is_not_used(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    checkpoint_at(tmp_path / "checkpoint.pt").save({"progress": Evil()})
    assert checkpoint_at(tmp_path / "checkpoint.pt").load() is None
    assert "is not a checkpoint" in caplog.text
    assert not Path("evil-was-here").exists()


def test_a_run_stops_before_its_deadline_with_a_checkpoint(tmp_path):
    hp = hyperparameters(epochs=3)
    setup.configure(hp, threads=1)
    passed = checkpoint_at(tmp_path / "checkpoint.pt", deadline=time.time() - 1)
    model = build_model(MODEL, SHAPE, 10)
    with pytest.raises(
        Stopped, match="about to reach its time limit; the checkpoint of epoch 1, step 1"
    ) as e:
        training.Trainer(model, digits(), hp, torch.device("cpu"), checkpoint=passed).train()
    assert e.value.why == "time-out"
    assert passed.path.exists()


def test_a_run_that_must_stop_and_cannot_write_says_both(tmp_path):
    passed = checkpoint_at(tmp_path / "checkpoint.pt", deadline=time.time() - 1)
    passed.path.mkdir()
    with pytest.raises(Stopped, match="about to reach its time limit, and .* cannot be written") as e:
        passed.save({})
    assert e.value.why == "time-out"


def test_the_deadline_of_a_job():
    now = time.time()
    assert job_deadline({}, 3600) is None, "outside a job nothing ends a run"
    end = str(int(now) + 1000)
    assert job_deadline({"SLURM_JOB_ID": "1", "SLURM_JOB_END_TIME": end}, 3600) == int(end) - 90
    assert job_deadline({"SLURM_JOB_ID": "1", "SLURM_JOB_END_TIME": end}, 60) == int(end) - 15
    assert job_deadline({"SLURM_JOB_ID": "1"}, None) is None
    assert job_deadline({"SLURM_JOB_ID": "1"}, 7200) < now + 7200 - 90
