"""The training engine computes what a plain loop computes, repeatably, and records what it did."""

import pytest
import torch
from ablations.training import setup
from ablations.training import trainer as training
from ablations.training.cuda_graphs import GraphedStep
from ablations.training.models import build_model
from ablations.training.shown_progress import progress_lines
from torch.nn import functional as F
from trainings import SHAPE, call, digits, hyperparameters, without_times


def trained(**changes):
    """A model trained on digits, and the training."""
    hp = hyperparameters(**changes)
    setup.configure(hp, threads=1)
    model = build_model("resnet18", SHAPE, 10)
    return model, training.Trainer(model, digits(), hp, torch.device("cpu")).train()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_losses_agree_with_the_plain_loop_step_by_step(optimizer):
    """With one batch per epoch, a history is the losses of single steps: equal to one part in a thousand."""
    hp = hyperparameters(optimizer=optimizer, lr=1e-4, epochs=12)
    dataset = digits(train=32)
    setup.configure(hp, threads=1)
    model = build_model("resnet18", SHAPE, 10)
    result = training.Trainer(model, dataset, hp, torch.device("cpu")).train()
    torch.manual_seed(hp.seed)
    plain = build_model("resnet18", SHAPE, 10).train()
    stepper = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](plain.parameters(), lr=hp.lr)
    shuffle = torch.Generator().manual_seed(hp.seed)
    losses = []
    for _ in range(hp.epochs):
        order = list(torch.utils.data.RandomSampler(range(32), generator=shuffle))
        stepper.zero_grad()
        images = (dataset.train.images[order] / 255 - 0.5) / 0.5
        loss = F.cross_entropy(plain(images), dataset.train.labels[order])
        loss.backward()
        stepper.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1, "it learns"
    assert [epoch.train_loss for epoch in result.history] == pytest.approx(losses, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_engine_trains_what_the_plain_loop_trains(optimizer):
    # Batch normalisation of 1×1 maps amplifies float32's last bits; small steps keep them comparable.
    hp = hyperparameters(optimizer=optimizer, lr=1e-4, weight_decay=0.01)
    dataset = digits()
    setup.configure(hp, threads=1)
    model = build_model("resnet18", SHAPE, 10)
    result = training.Trainer(model, dataset, hp, torch.device("cpu")).train()

    torch.manual_seed(hp.seed)
    plain = build_model("resnet18", SHAPE, 10)
    cls = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    stepper = cls(plain.parameters(), lr=hp.lr, weight_decay=hp.weight_decay)
    shuffle = torch.Generator().manual_seed(hp.seed)
    images = (dataset.train.images / 255 - 0.5) / 0.5
    losses = []
    plain.train()
    for _ in range(hp.epochs):
        order = list(torch.utils.data.RandomSampler(images, generator=shuffle))
        total = 0.0
        for start in range(0, len(order), hp.batch_size):
            batch = order[start : start + hp.batch_size]
            stepper.zero_grad()
            loss = F.cross_entropy(plain(images[batch]), dataset.train.labels[batch])
            loss.backward()
            stepper.step()
            total += loss.item() * len(batch)
        losses.append(total / len(order))
    assert [epoch.train_loss for epoch in result.history] == pytest.approx(losses, rel=1e-3)


def test_the_same_seed_gives_the_same_weights():
    (one, first), (two, second) = trained(), trained()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert [e.train_loss for e in first.history] == [e.train_loss for e in second.history]


def test_another_seed_gives_another_run():
    (_, first), (_, second) = trained(), trained(seed=1)
    assert first.history[-1].train_loss != second.history[-1].train_loss


def test_a_history_has_a_row_for_each_epoch():
    _, result = trained(epochs=3)
    assert [epoch.epoch for epoch in result.history] == [1, 2, 3]
    assert result.train_seconds == pytest.approx(sum(epoch.seconds for epoch in result.history))
    assert result.test_seconds == pytest.approx(sum(epoch.test_seconds for epoch in result.history))
    for epoch in result.history:
        assert epoch.images_per_s == pytest.approx(96 / epoch.seconds)


def test_a_training_learns():
    _, result = trained(epochs=15, lr=0.02, momentum=0.9)
    assert result.history[-1].train_accuracy > 95


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged():
    _, result = trained(lr=100, optimizer="sgd", momentum=0.99, epochs=50)
    assert result.status == "diverged"
    assert len(result.history) < 50


def test_logits_that_are_not_finite_are_no_predictions():
    """Their arg max is class 0, with an accuracy of its share of the test images."""
    _, result = trained(lr=50, epochs=1, batch_size=16)
    assert (result.status, result.history) == ("diverged", [])


def test_layers_count_the_batches_of_a_training():
    model, _ = trained(epochs=2)
    counts = {int(c) for name, c in model.state_dict().items() if name.endswith("num_batches_tracked")}
    assert counts == {6}
    model.train()(torch.zeros(2, *SHAPE))
    assert int(model.bn1.num_batches_tracked) == 7, "and afterwards by themselves"


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_every_flag_of_the_precision_can_be_read(precision):
    """torch raises where its older flags contradict its newer ones, and other libraries read both."""
    setup.configure(hyperparameters(precision=precision), threads=1)
    with_tf32 = precision == "tf32"
    assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == with_tf32
    assert torch.get_float32_matmul_precision() == ("high" if with_tf32 else "highest")
    with torch.backends.cudnn.flags(enabled=True):
        assert setup.is_deterministic()


def test_bf16_is_a_different_computation_and_trains():
    (_, plain), (_, half) = trained(epochs=1), trained(epochs=1, precision="bf16")
    assert half.status == "ok"
    assert half.history[0].train_loss != plain.history[0].train_loss
    assert half.history[0].train_loss == pytest.approx(plain.history[0].train_loss, rel=0.1)


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adam", "weight_decay": 0.01, "precision": "bf16"}])
def test_where_batches_come_from_changes_nothing(changes):
    weights = []
    for source in ("device", "host"):
        hp = hyperparameters(**changes)
        setup.configure(hp, threads=1)
        model = build_model("resnet18", SHAPE, 10)
        trainer = training.Trainer(model, digits(train=70), hp, torch.device("cpu"), source=source)
        trainer.train()
        assert trainer.source == source
        weights.append(list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def as_a_graph(trainer: training.Trainer) -> GraphedStep:
    step, clear = trainer._forward_and_back, trainer._clear_gradients

    def record(work):
        # What is recorded where there are no gradients writes them anew at each replay.
        return lambda: (clear(), work())

    return GraphedStep(step, clear, trainer.hp.batch_size, record)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adam", "schedule": "cosine", "augment": "flip"},
        {"optimizer": "adamw", "weight_decay": 0.01},
    ],
)
def test_steps_that_are_recorded_and_replayed_train_the_same(changes):
    """The graph itself needs a GPU; what is recorded, when, and on which memory, does not."""
    weights, trainers = [], []
    for graphed in (False, True):
        hp = hyperparameters(batch_size=16, **changes)
        setup.configure(hp, threads=1)
        model = build_model("resnet18", SHAPE, 10)
        trainer = training.Trainer(model, digits(train=100), hp, torch.device("cpu"))
        if graphed:
            trainer._step = as_a_graph(trainer)
        trainers.append((trainer, trainer.train()))
        weights.append(list(model.parameters()))
    assert [trainer.graphed for trainer, _ in trainers] == [False, True]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    (_, plain), (_, replayed) = trainers
    assert [e.train_loss for e in plain.history] == [e.train_loss for e in replayed.history]


def test_channels_last_is_another_order_of_the_same_sums():
    (plain, one), (last, other) = trained(epochs=1, lr=1e-4), trained(epochs=1, lr=1e-4, channels_last=True)
    assert last.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert not plain.layer2[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert other.history[0].train_loss == pytest.approx(one.history[0].train_loss, rel=1e-3)


def test_progress_is_told_step_by_step():
    seen = []
    hp = hyperparameters()
    setup.configure(hp, threads=1)
    model = build_model("resnet18", SHAPE, 10)
    told = lambda done, total: seen.append((done, total))
    training.Trainer(model, digits(), hp, torch.device("cpu"), told).train()
    assert seen == [(i, 6) for i in range(1, 7)]


def test_progress_lines_have_an_eta(caplog):
    caplog.set_level("INFO")
    tell = progress_lines(every_s=0)
    tell(5, 10)
    assert "step 5 of 10" in caplog.text
    assert "ETA 0:00:0" in caplog.text


# --- the script ----------------------------------------------------------------------------------


def test_a_record_says_what_had_no_effect_on_a_cpu(staged, tmp_path):
    done = call(staged, tmp_path, "--precision", "tf32", "--device", "cpu")
    record = without_times(tmp_path / "record.tsv")
    assert (record["pin_memory"], record["pin_memory_effective"]) == (["true"], ["false"])
    assert (record["precision"], record["precision_effective"]) == (["tf32"], ["fp32"])
    assert (record["batches"], record["cuda_graph"]) == (["device"], ["false"])
    assert "pin_memory has no effect" in done.stderr


def test_a_diverged_run_is_a_result(staged, tmp_path):
    done = call(staged, tmp_path, "--optimizer", "sgd", "--lr", "100", "--epochs", "30")
    assert done.returncode == 0, done.stderr
    record = without_times(tmp_path / "record.tsv")
    assert (record["status"], record["test_accuracy"]) == (["diverged"], [""])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU: it cannot be missing")
@pytest.mark.parametrize(
    ("flags", "environment", "reason"),
    [
        (("--device", "cuda"), {}, "device is cuda"),
        ((), {"CUDA_VISIBLE_DEVICES": "0"}, "this job was given a GPU (CUDA_VISIBLE_DEVICES=0)"),
    ],
)
def test_a_job_never_trains_on_the_cpu_quietly(flags, environment, reason, staged, tmp_path):
    done = call(staged, tmp_path, *flags, **environment)
    assert done.returncode == 1
    assert f"error: {reason}, and torch finds no usable CUDA device here" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "record.tsv").exists()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--lr", "fast"), "--lr is 'fast'"),
        (("--epochs", "0"), "--epochs is '0'"),
        (("--momentum", "0.9"), "momentum is a hyperparameter of sgd"),
        (("--model", "resnet81"), "did you mean 'resnet18'"),
        (("--train-samples", "65"), "leave a batch of one"),
        (("--train-samples", "5000"), "digits has 1437 training images"),
        (("--dataset", "nothing.safetensors"), "is not a staged dataset"),
    ],
)
def test_bad_input_is_a_sentence_and_writes_no_record(flags, reason, staged, tmp_path):
    done = call(staged, tmp_path, *flags)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "record.tsv").exists()


def test_a_run_starts_from_weights_of_the_users_own(staged, tmp_path):
    torch.manual_seed(3)
    torch.save(build_model("resnet18", (3, 8, 8), 1000).state_dict(), tmp_path / "mine.pth")
    done = call(staged, tmp_path, "--pretrained", "mine", "--weights", str(tmp_path / "mine.pth"))
    assert done.returncode == 0, done.stderr
    assert without_times(tmp_path / "record.tsv")["weights_not_loaded"] == ["fc.weight fc.bias"]
    assert "not loaded: fc.weight fc.bias" in done.stderr
