"""Exports: what the trackers' own readers find again."""

import subprocess
import sys
from pathlib import Path

import pytest
from ablations.errors import AblationsError
from ablations.kinds.cnn import CNN, CnnRecord
from ablations.runs.records import write_history, write_record
from ablations.runs.run import Run, parse_hyperparameters
from ablations.tracking.exports import finished, to_mlflow, to_tensorboard
from ablations.training.trainer import Epoch
from test_records import make_record, make_run

EXPORT = Path(__file__).parents[2] / "scripts/export.py"
RUN = Run(
    CNN,
    "digits",
    "resnet18",
    parse_hyperparameters(
        CNN, "batch_size=16+optimizer=adam+lr=0.001+epochs=2+pin_memory=false+train_samples=960+seed=0"
    ),
)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A network of two epochs and a machine, finished."""
    monkeypatch.chdir(tmp_path)
    plain = dict(make_record())
    for name in ("support_vectors", "backend", "scikit_learn_version"):
        plain.pop(name)
    network = CnnRecord(
        **plain | {"test_accuracy": 91.5, "train_accuracy": 93.0, "train_loss": 0.25, "test_correct": None},
        pin_memory_effective=False,
        precision_effective="fp32",
        torch_version="2",
        torchvision_version="0",
    )
    write_record(Path(RUN.record), RUN, network)
    epochs = [
        Epoch(n, 0.5 / n, 80.0 + n, 70.0 + n, seconds=10.0, test_seconds=1.0, images_per_s=100.0)
        for n in (1, 2)
    ]
    write_history(Path(RUN.directory) / "history.tsv", epochs, Epoch)
    write_record(Path(make_run().record), make_run(), make_record())
    return [RUN, make_run()]


def read_tensorboard(folder: Path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: make tensorboard installs it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_reads_every_epoch_at_its_time(runs):
    assert to_tensorboard(finished(runs), Path("out")) == 2
    events = read_tensorboard(Path("out") / Path(RUN.directory).relative_to("results/runs"))
    losses = events.Scalars("epoch/train_loss")
    assert [(event.step, event.value) for event in losses] == [(1, 0.5), (2, 0.25)]
    assert losses[1].wall_time - losses[0].wall_time == pytest.approx(11)
    assert events.Scalars("run/test_accuracy")[0].value == 91.5
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_an_export_made_again_adds_what_is_new_alone(runs):
    assert [to_tensorboard(finished(runs), Path("out")) for _ in range(2)] == [2, 0]
    place = Path("out") / Path(RUN.directory).relative_to("results/runs")
    write_record(Path(make_run().record), make_run(), make_record(test_accuracy=50.0, test_correct=None))
    assert to_tensorboard(finished(runs), Path("out")) == 1
    assert len(list(place.glob("events.*"))) == 1
    changed = Path("out") / Path(make_run().directory).relative_to("results/runs")
    assert [event.value for event in read_tensorboard(changed).Scalars("run/test_accuracy")] == [50.0]


def test_mlflow_finds_hyperparameters_metrics_and_epochs(runs, tmp_path):
    pytest.importorskip("mlflow", reason="MLflow is not installed: make mlflow installs it")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    network, machine = finished(runs)
    assert to_mlflow({"networks": [network], "both": [network, machine]}, uri) == 3
    client = MlflowClient(uri)
    of = {name: client.get_experiment_by_name(name).experiment_id for name in ("networks", "both")}
    (found,) = client.search_runs([of["networks"]])
    assert found.data.params["optimizer"] == "adam"
    assert found.data.metrics["test_accuracy"] == 91.5
    history = client.get_metric_history(found.info.run_id, "epoch/train_loss")
    assert [(each.step, each.value) for each in history] == [(1, 0.5), (2, 0.25)]
    assert found.info.status == "FINISHED"
    # Again: nothing. A changed record: its runs are replaced.
    assert to_mlflow({"networks": [network], "both": [network, machine]}, uri) == 0
    write_record(Path(make_run().record), make_run(), make_record(test_accuracy=50.0, test_correct=None))
    assert to_mlflow({"both": finished(runs)}, uri) == 1
    accuracies = {
        run.data.params["model"]: run.data.metrics["test_accuracy"]
        for run in client.search_runs([of["both"]])
    }
    assert accuracies == {"resnet18": 91.5, "svc": 50.0}


def test_a_store_that_cannot_be_reached_is_a_sentence(runs, monkeypatch):
    pytest.importorskip("mlflow", reason="MLflow is not installed: make mlflow installs it")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    sentence = r"MLflow at http://\*\*\*@127.0.0.1:9 did not take the runs"
    with pytest.raises(AblationsError, match=sentence) as error:
        to_mlflow({"s": finished(runs)}, "http://me:s3cret@127.0.0.1:9")
    assert "s3cret" not in str(error.value)


def test_without_the_package_the_user_is_told_how_to_get_it(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(AblationsError, match=r"make tensorboard"):
        to_tensorboard(finished(runs), Path("out"))


def test_the_command_exports_what_is_there(runs, tmp_path):
    """The shipped config has none of these runs: it writes none, and says so."""
    (tmp_path / "my.yaml").write_text(
        "studies:\n  s:\n    title: A machine\n    kind: svm\n"
        "    grid: [{dataset: digits, kernel: [rbf, poly], train_samples: 100}]\n"
        "    table: {rows: [kernel], values: test_accuracy}\n"
    )
    command = [sys.executable, str(EXPORT), "tensorboard", "--configfile", "my.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 runs written to results/tensorboard; 1 of 2 are finished." in done.stdout
    Path(make_run().record).write_text("no\trecord\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "record.tsv" in done.stderr
