"""What a study keeps of its runs: refused where it cannot be, found for each run, and what the files hold."""

from pathlib import Path

import pytest
import torch
import torchvision
from ablations.config.reading import load_config
from ablations.config.sections import ConfigError
from ablations.data.staged import open_staged
from ablations.kinds.cnn import CNN
from ablations.runs.records import read_record
from ablations.training import kept
from ablations.training.models import build_model
from safetensors import safe_open
from safetensors.torch import load_file
from test_scores import negative_log_likelihood
from torch import nn
from trainings import PROJECT, call

DATASETS = PROJECT / "config/datasets.yaml"
CONFIG = """
studies:
  all:
    title: Kept
    kind: cnn
    grid:
      - dataset: digits
        model: [resnet18, resnet34]
        batch_size: [32, 64]
        recipe:
          - {optimizer: sgd, lr: 0.1, momentum: 0.9}
          - {optimizer: sgd, lr: 0.1}
          - {optimizer: adam, lr: 1e-3, weight_decay: 0.01}
        epochs: 1
        pin_memory: false
      - {dataset: digits, model: resnet18, batch_size: 32, optimizer: adam, lr: 1e-3, epochs: [1, 2],
         pin_memory: false, train_samples: [160, all]}
    exclude:
      - {model: resnet34, batch_size: 64}
      - {train_samples: 160, seed: 1}
    seeds: [0, 1]
    keep: KEEP
    table:
      rows: [model, batch_size, optimizer, lr, epochs, train_samples, momentum, weight_decay]
      values: test_nll
  one:
    title: Not kept
    kind: cnn
    grid:
      - {dataset: digits, model: [resnet18, resnet50], batch_size: 32, optimizer: adam, lr: 1e-3, epochs: 1,
         pin_memory: false}
    seeds: [0, 2]
    table: {rows: [model], values: test_accuracy}
  machines:
    title: Machines
    kind: svm
    grid: [{dataset: digits, kernel: [poly, rbf], train_samples: 200}]
    table: {rows: [kernel], values: test_accuracy}
"""


def config_of(tmp_path: Path, text: str = CONFIG, keep: str = "[weights, logits]"):
    (tmp_path / "my.yaml").write_text(text.replace("KEEP", keep))
    return load_config([DATASETS, tmp_path / "my.yaml"], root=PROJECT)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("[weights, checkpoint]", "it may hold 'weights' or 'logits'"),
        ("weight", "did you mean 'weights'?"),
        ("[]", "it holds an empty list"),
        ("[logits, logits]", "it holds 'logits' twice"),
    ],
)
def test_what_cannot_be_kept_is_refused(keep, expected, tmp_path):
    with pytest.raises(ConfigError) as error:
        config_of(tmp_path, keep=keep)
    assert "studies.all.keep" in str(error.value)
    assert expected in str(error.value)


def test_a_study_of_a_kind_that_keeps_nothing_refuses_the_key(tmp_path):
    text = CONFIG.replace("kind: svm", "kind: svm\n    keep: weights")
    with pytest.raises(ConfigError) as error:
        config_of(tmp_path, text)
    assert str(error.value) == (
        "studies.machines.keep: it holds 'weights'; nothing of support vector machines can be kept besides "
        "their records; leave `keep` out"
    )


def test_a_run_is_held_by_the_studies_that_expand_to_it(tmp_path):
    config = config_of(tmp_path)
    for study in config.studies.values():
        for run in config.runs():
            assert study.holds(run) == (run in study.runs()), run.record


@pytest.mark.parametrize("name", ["config", "quickstart"])
def test_each_run_of_the_shipped_studies_is_held(name):
    config = load_config([DATASETS, PROJECT / f"config/{name}.yaml"], root=PROJECT)
    for run, names in config.runs().items():
        assert [name for name, study in config.studies.items() if study.holds(run)] == names


def test_a_run_is_kept_if_one_of_its_studies_keeps_it(tmp_path):
    config = config_of(tmp_path, keep="logits")
    for run, names in config.runs().items():
        assert config.kept_of(run) == (["logits"] if "all" in names else [])


def test_no_study_is_expanded_to_find_what_is_kept_of_a_run(tmp_path):
    run = next(iter(config_of(tmp_path).runs()))
    config = load_config([DATASETS, tmp_path / "my.yaml"], root=PROJECT, expand=False)
    assert config.kept_of(run) == ["weights", "logits"]
    assert all(study._runs is None for study in config.studies.values())


# --- the files -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(staged, tmp_path_factory) -> Path:
    """A finished run with all that can be kept of it; its convolutions left out dead taps."""
    folder = tmp_path_factory.mktemp("finished")
    done = call(staged, folder, "--epochs", "2", "--train-samples", "640", "--keep", "weights logits")
    assert done.returncode == 0, done.stderr
    assert f"kept {folder}/weights.safetensors" in done.stderr
    return folder


def plain_resnet18() -> nn.Module:
    """As someone without this project builds it."""
    model = torchvision.models.resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return model


def test_the_weights_are_those_of_the_plain_torchvision_model(finished, staged):
    model = plain_resnet18()
    model.load_state_dict(load_file(finished / "weights.safetensors"))
    dataset = open_staged(staged, "pt")
    mean, std = (torch.tensor(value)[:, None, None] for value in (dataset.mean, dataset.std))
    with torch.no_grad():
        logits = model.eval()((dataset.test.images / 255 - mean) / std)
    _, record = read_record(finished / "record.tsv")
    right = (logits.argmax(1) == dataset.test.labels).float().mean().item()
    assert record.test_accuracy > 30, "it has learned"
    assert 100 * right == pytest.approx(record.test_accuracy, abs=1e-4)
    kept_logits = load_file(finished / "logits.safetensors")["logits"]
    torch.testing.assert_close(logits, kept_logits, rtol=1e-3, atol=1e-3)


def test_the_logits_are_in_the_order_of_the_test_set(finished, staged):
    found = load_file(finished / "logits.safetensors")
    dataset = open_staged(staged, "pt")
    _, record = read_record(finished / "record.tsv")
    assert found["logits"].dtype == torch.float32
    assert found["logits"].shape == (record.test_samples, 10)
    assert torch.equal(found["labels"], dataset.test.labels)
    likelihood = negative_log_likelihood(found["logits"].numpy(), found["labels"].numpy())
    assert record.test_nll == pytest.approx(likelihood, abs=1e-6)


def test_the_files_name_their_run(finished):
    run, _ = read_record(finished / "record.tsv")
    for name in CNN.can_keep:
        with safe_open(finished / f"{name}.safetensors", framework="np") as file:
            assert file.metadata() == {"run": run.directory}


def test_without_keep_nothing_is_kept_and_files_of_an_earlier_training_go(staged, tmp_path):
    (tmp_path / "weights.safetensors").write_text("of an earlier training")
    done = call(staged, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.tsv", "record.tsv", "run.lock"]


def test_nothing_is_kept_of_a_diverged_run(staged, tmp_path):
    flags = ("--optimizer", "sgd", "--lr", "100", "--epochs", "30", "--keep", "weights")
    done = call(staged, tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_record_is_written_after_what_is_kept(staged, tmp_path):
    """A run whose files cannot be written has not finished."""
    (tmp_path / "weights.safetensors").mkdir()
    done = call(staged, tmp_path, "--keep", "weights")
    assert done.returncode == 1
    assert not (tmp_path / "record.tsv").exists()


@pytest.mark.parametrize("channels_last", [False, True])
def test_kept_weights_are_contiguous_and_load_into_the_plain_model(channels_last, tmp_path):
    from ablations.training.live_taps import trim

    model = trim(build_model("resnet18", (1, 28, 28), 10), (1, 28, 28))
    if channels_last:
        model.to(memory_format=torch.channels_last)
    kept.keep(["weights"], tmp_path, "a run", model, torch.zeros(1, 10), torch.zeros(1))
    plain = plain_resnet18()
    plain.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, plain.state_dict()[name]), name
