"""Scores from the logits of the test set agree with scikit-learn, and with examples made by hand."""

import numpy as np
import pytest
import torch
from ablations.kinds.cnn import CNN
from ablations.training import setup
from ablations.training import trainer as training
from ablations.training.models import build_model
from ablations.training.scores import (
    calibration_error,
    class_accuracies,
    macro_f1,
    negative_log_likelihood,
    scores,
)
from sklearn.metrics import f1_score, log_loss, recall_score
from test_checkpoints import Killed, checkpoint_at
from trainings import SHAPE, digits, hyperparameters


def example(images: int = 500, classes: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits as float32, and labels that they predict better than chance."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    logits = rng.normal(0, 2, (images, classes))
    logits[np.arange(images), labels] += 2
    return logits.astype(np.float32), labels


def logits_of(*probabilities: float) -> np.ndarray:
    """Logits of two classes: the first has the given probability."""
    first = np.array(probabilities)
    return np.log(np.stack([first, 1 - first], axis=1))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(float))
    return powers / powers.sum(1, keepdims=True)


def test_macro_f1_is_that_of_scikit_learn():
    logits, labels = example()
    predicted = logits.argmax(1)
    assert macro_f1(predicted, labels) == pytest.approx(f1_score(labels, predicted, average="macro"))


@pytest.mark.parametrize("left_out", ["labels", "predictions", "both"])
def test_macro_f1_of_a_class_that_does_not_occur_is_that_of_scikit_learn(left_out):
    logits, labels = example()
    if left_out != "predictions":
        labels[labels == 3] = 4
    if left_out != "labels":
        logits[:, 3] = -100
    predicted = logits.argmax(1)
    expected = f1_score(labels, predicted, average="macro", zero_division=0)
    assert macro_f1(predicted, labels) == pytest.approx(expected)


def test_the_negative_log_likelihood_is_that_of_scikit_learn_and_of_torch():
    logits, labels = example()
    found = negative_log_likelihood(logits, labels)
    assert found == pytest.approx(log_loss(labels, softmax(logits)))
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert found == pytest.approx(loss.item(), rel=1e-6)


def test_large_logits_do_not_overflow():
    logits = np.array([[1e30, 0], [0, 1e4]], dtype=np.float32)
    assert negative_log_likelihood(logits, np.array([0, 1])) == 0
    assert negative_log_likelihood(logits, np.array([0, 0])) == 5000
    assert calibration_error(logits, np.array([True, False])) == 0.5


def test_the_accuracy_of_a_class_is_its_recall():
    logits, labels = example()
    predicted = logits.argmax(1)
    expected = recall_score(labels, predicted, average=None)
    assert class_accuracies(predicted, labels, 7) == pytest.approx(expected)


def test_a_class_without_images_has_no_accuracy():
    found = scores(logits_of(0.9, 0.8), np.array([0, 0]), np.array([0, 0]))
    assert found["test_class_accuracy"] == "100;"
    assert found["worst_class_accuracy"] == 100


def test_the_calibration_error_of_an_example_made_by_hand():
    """Bins are a fifteenth wide: 0.70 and 0.72 share one (0.667 to 0.733), and 0.95 is in the last."""
    logits = logits_of(0.70, 0.72, 0.95, 0.95)
    correct = np.array([True, False, True, True])
    # 2 of 4 images: |0.5 − 0.71|; the other 2: |1 − 0.95|.
    assert calibration_error(logits, correct) == pytest.approx(0.5 * 0.21 + 0.5 * 0.05)


def test_a_model_without_a_wrong_or_unsure_answer_is_calibrated():
    logits = np.array([[100.0, 0], [0, 100.0]])
    assert calibration_error(logits, np.array([True, True])) == pytest.approx(0)
    assert calibration_error(logits, np.array([False, False])) == pytest.approx(1)


def test_a_score_is_a_metric_of_its_kind():
    assert {"test_macro_f1", "test_ece", "test_nll", "worst_class_accuracy"} <= CNN.metrics.keys()
    for metric in CNN.metrics.values():
        assert metric.column in {*CNN.record.model_fields, "macs", "flops", "params"}


# --- of a training -------------------------------------------------------------------------------


def trainer_of(source: training.Source = "device", checkpoint=None, on_step=lambda done, total: None):
    hp = hyperparameters(optimizer="adam", lr=1e-3)
    setup.configure(hp, threads=1)
    model = build_model("shufflenet_v2_x0_5", SHAPE, 10)
    return training.Trainer(model, digits(), hp, torch.device("cpu"), on_step, checkpoint, source)


def scores_of(trainer: training.Trainer) -> dict[str, object]:
    predicted, labels = trainer.tested.predicted.numpy(), trainer.dataset.test.labels.numpy()
    return scores(trainer.tested.logits.numpy(), predicted, labels)


@pytest.mark.parametrize("source", ["device", "host"])
def test_logits_are_kept_after_the_last_epoch_alone(source, monkeypatch):
    """In small batches, of which the last is short."""
    monkeypatch.setattr(training, "PIXELS", 0)
    trainer = trainer_of(source)
    seen = []
    evaluate = training.evaluate

    def look(*given, **options):
        found = evaluate(*given, **options)
        seen.append(found.logits)
        return found

    monkeypatch.setattr(training, "evaluate", look)
    result = trainer.train()
    assert seen[0] is None
    assert seen[1].shape == (50, 10)
    assert torch.equal(seen[1].argmax(1), trainer.tested.predicted)
    right = (seen[1].argmax(1) == trainer.dataset.test.labels).float().mean().item()
    assert result.history[-1].test_accuracy == pytest.approx(100 * right)


@pytest.mark.parametrize("kill_at", [2, 4, 6])
def test_a_resumed_run_has_the_same_scores(kill_at, tmp_path):
    """The sixth step is the last one: its checkpoint is written, and the evaluation is still to come."""
    whole = trainer_of()
    whole.train()

    def kill(done: int, total: int) -> None:
        if done == kill_at:
            raise Killed

    with pytest.raises(Killed):
        trainer_of(checkpoint=checkpoint_at(tmp_path / "c.pt", interval_s=0), on_step=kill).train()
    resumed = trainer_of(checkpoint=checkpoint_at(tmp_path / "c.pt", interval_s=0))
    resumed.train()
    assert torch.equal(resumed.tested.logits, whole.tested.logits)
    assert scores_of(resumed) == scores_of(whole)


def test_a_run_killed_between_the_last_step_and_the_record_has_the_same_scores(tmp_path):
    whole = trainer_of()
    whole.train()
    trainer_of(checkpoint=checkpoint_at(tmp_path / "c.pt", interval_s=0)).train()
    # Nothing was recorded of it: it is trained again from its last checkpoint.
    again = trainer_of(checkpoint=checkpoint_at(tmp_path / "c.pt", interval_s=0))
    assert again.progress.step == again.steps_per_epoch
    again.train()
    assert scores_of(again) == scores_of(whole)
