"""Every optional hyperparameter trains what torch's own loop with it trains, and resumes to the same bits."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from ablations.data.held_out import hold_out
from ablations.errors import AblationsError
from ablations.kinds.cnn_hyperparameters import CnnHyperparameters
from ablations.runs.records import read_history
from ablations.training import setup
from ablations.training import trainer as training
from ablations.training.augmentation import augmentation_of
from ablations.training.models import build_model, set_dropout
from ablations.training.schedules import LearningRate
from test_checkpoints import Killed, equal, losses, run
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler as torchs
from trainings import SHAPE, call, digits, hyperparameters, without_times

OPTIONS = [
    {"momentum": 0.9, "nesterov": True},
    {"optimizer": "adam", "beta1": 0.8, "beta2": 0.99},
    {"optimizer": "adamw", "beta1": 0.5, "weight_decay": 0.01},
    {"schedule": "cosine"},
    {"schedule": "step", "warmup_epochs": 1},
    {"schedule": "one_cycle", "optimizer": "adam"},
    {"label_smoothing": 0.1},
    {"clip_norm": 0.5, "weight_decay": 0.01},
    {"augment": "flip"},
    {"augment": "crop_flip", "data_seed": 7},
    {"data_seed": 7},
    # At a higher rate, the last bits of a float decide which way this training goes.
    {"dropout": 0.5, "lr": 1e-4},
]


def named(changes: dict) -> str:
    return ",".join(f"{name}={value}" for name, value in changes.items())


def torch_scheduler(optimizer: torch.optim.Optimizer, hp: CnnHyperparameters, per_epoch: int):
    """torch's own scheduler for the settings of a run."""
    warm_up, total = hp.warmup_epochs * per_epoch, hp.epochs * per_epoch
    steps = total - warm_up
    main = {
        "constant": lambda: torchs.ConstantLR(optimizer, factor=1.0),
        "cosine": lambda: torchs.CosineAnnealingLR(optimizer, T_max=steps),
        "step": lambda: torchs.MultiStepLR(optimizer, [-(-steps // 2), -(-3 * steps // 4)], gamma=0.1),
        "one_cycle": lambda: torchs.OneCycleLR(optimizer, hp.lr, steps, cycle_momentum=False),
    }[hp.schedule]
    if not warm_up:
        return main()
    rising = torchs.LambdaLR(optimizer, lambda step: (step + 1) / warm_up)
    return torchs.SequentialLR(optimizer, [rising, main()], [warm_up])


def changed_one_by_one(images: torch.Tensor, hp: CnnHyperparameters, epoch: int, count: int) -> torch.Tensor:
    """The images of an epoch, in its order, each cropped and mirrored by slices of its own."""
    augmentation = augmentation_of(hp, SHAPE)
    if augmentation is None:
        return images
    down, across = augmentation.margins
    result = []
    for image, mirrored, row, column in zip(images, *augmentation.draw(epoch, count), strict=True):
        wide = np.pad(image.numpy(), ((0, 0), (down, down), (across, across)))
        cut = wide[:, row : row + image.shape[1], column : column + image.shape[2]]
        result.append(torch.from_numpy(cut[:, :, ::-1].copy() if mirrored else cut.copy()))
    return torch.stack(result)


def plain_losses(hp: CnnHyperparameters, code: str | None = None) -> list[float]:
    """The training losses of torch's plain loop."""
    dataset = digits(64)
    torch.manual_seed(hp.seed)
    model = build_model("resnet18", SHAPE, 10, code).train()
    if hp.dropout != "default":
        model.fc = nn.Sequential(nn.Dropout(hp.dropout), model.fc)
    common = {"lr": hp.lr, "weight_decay": hp.weight_decay}
    if hp.optimizer == "sgd":
        common |= {"momentum": hp.momentum, "nesterov": hp.nesterov}
    else:
        common |= {"betas": (hp.beta1, hp.beta2)}
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[hp.optimizer](
        model.parameters(), **common
    )
    scheduler = torch_scheduler(optimizer, hp, per_epoch=-(-len(dataset.train) // hp.batch_size))
    shuffle = torch.Generator().manual_seed(hp.seed if hp.data_seed == "seed" else hp.data_seed)
    found = []
    for epoch in range(1, hp.epochs + 1):
        order = list(torch.utils.data.RandomSampler(range(len(dataset.train)), generator=shuffle))
        images = changed_one_by_one(dataset.train.images[order], hp, epoch, len(order))
        labels, total = dataset.train.labels[order], 0.0
        for batch in torch.arange(len(order)).split(hp.batch_size):
            optimizer.zero_grad()
            logits = model((images[batch] / 255 - 0.5) / 0.5)
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=hp.label_smoothing)
            loss.backward()
            if hp.clip_norm != "none":
                nn.utils.clip_grad_norm_(model.parameters(), hp.clip_norm)
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(batch)
        found.append(total / len(order))
    return found


def run_of(**changes):
    hp = hyperparameters(**changes)
    setup.configure(hp, threads=1)
    model = build_model("resnet18", SHAPE, 10)
    if hp.dropout != "default":
        # torchvision's networks with dropout magnify the last bits of such small images.
        model.fc = nn.Sequential(nn.Dropout(0.0), model.fc)
        set_dropout(model, hp.dropout)
    return model, training.Trainer(model, digits(64), hp, torch.device("cpu")).train()


@functools.cache
def engine_losses(**changes) -> list[float]:
    """Those of the engine; of plain settings, for all options that are compared with them."""
    return [epoch.train_loss for epoch in run_of(**changes)[1].history]


@pytest.mark.parametrize("changes", OPTIONS, ids=named)
@pytest.mark.filterwarnings("ignore:The epoch parameter", "ignore:To get the last learning rate")
def test_the_engine_trains_what_torchs_loop_trains(changes):
    """The losses are torch's, but for float32's last bits; without the option they differ far more."""
    start = {"lr": 1e-3 if changes.get("optimizer", "sgd") == "sgd" else 1e-5, "epochs": 3}
    same = {"optimizer", "weight_decay", "momentum", "lr"}
    other = {name: value for name, value in changes.items() if name in same}
    expected = np.array(plain_losses(hyperparameters(**start | changes)))
    error, effect = (np.abs(engine_losses(**start | given) - expected).max() for given in (changes, other))
    assert 20 * error < effect


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "cosine", "warmup_epochs": 1, "momentum": 0.9, "nesterov": True, "augment": "flip"},
        {"schedule": "one_cycle", "optimizer": "adam", "beta1": 0.8, "augment": "crop_flip", "data_seed": 7},
        {"schedule": "step", "label_smoothing": 0.1, "clip_norm": 0.5},
    ],
    ids=named,
)
def test_a_run_with_options_that_is_killed_ends_with_the_same_weights(changes, tmp_path):
    whole, expected, _, _ = run(tmp_path / "whole", **{"optimizer": "sgd"} | changes)
    for kill_at in (1, 3, 4):
        with pytest.raises(Killed):
            run(tmp_path / str(kill_at), kill_at, **{"optimizer": "sgd"} | changes)
        resumed, result, _, _ = run(tmp_path / str(kill_at), **{"optimizer": "sgd"} | changes)
        assert equal(whole, resumed), f"bit for bit, killed after step {kill_at}"
        assert losses(result) == losses(expected)


@pytest.mark.parametrize(("count", "share"), [(500, 0.1), (500, 0.25), (96, 0.1)])
def test_the_same_share_of_each_class_is_held_out_of_every_run(count, share):
    whole = digits(train=count)
    parts = [hold_out(whole, share) for _ in range(2)]
    assert all(torch.equal(parts[0].validation.images, part.validation.images) for part in parts)
    train, held = parts[0].train, parts[0].validation
    classes = [torch.bincount(split.labels, minlength=10) for split in (whole.train, train, held)]
    assert torch.equal(classes[0], classes[1] + classes[2])
    assert (classes[2] - share * classes[0]).abs().max() <= 0.5
    kept = {(image.numpy().tobytes(), int(label)) for image, label in zip(*vars(train).values(), strict=True)}
    more = {image.numpy().tobytes() for image in hold_out(whole, 0.5).validation.images}
    for image, label in zip(*vars(held).values(), strict=True):
        assert (image.numpy().tobytes(), int(label)) not in kept
        assert image.numpy().tobytes() in more, "a larger share has the images of a smaller one"


def test_a_split_that_would_be_empty_is_a_sentence():
    with pytest.raises(AblationsError, match=r"validation is 0.01, which leaves 96 of 96 .* and 0 for"):
        hold_out(digits(), 0.01)


@pytest.mark.parametrize("source", ["device", "host"])
def test_held_out_images_validate_and_train_nothing(source):
    hp = hyperparameters(validation=0.25)
    dataset = hold_out(digits(), hp.validation)
    setup.configure(hp, threads=1)
    model = build_model("resnet18", SHAPE, 10)
    trainer = training.Trainer(model, dataset, hp, torch.device("cpu"), source=source)
    result = trainer.train()
    with torch.no_grad():
        logits = model.eval()((dataset.validation.images / 255 - 0.5) / 0.5)
    labels = dataset.validation.labels
    last = result.history[-1]
    assert last.val_accuracy == pytest.approx(100 * (logits.argmax(1) == labels).float().mean().item())
    assert last.val_loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)

    setup.configure(hp, threads=1)
    alone = build_model("resnet18", SHAPE, 10)
    training.Trainer(alone, replace(dataset, validation=None), hp, torch.device("cpu")).train()
    assert equal(model, alone), "validating changes nothing"


def test_a_record_tells_the_epoch_that_validation_chooses(staged, tmp_path):
    data = ("--validation", "0.2", "--train-samples", "200")
    done = call(staged, tmp_path, *data, "--epochs", "3", "--optimizer", "sgd", "--lr", "0.1")
    assert done.returncode == 0, done.stderr
    record = {name: values[0] for name, values in without_times(tmp_path / "record.tsv").items()}
    history = read_history(tmp_path / "history.tsv")
    by_epoch = [row["val_accuracy"] for row in history]
    best = by_epoch.index(max(by_epoch))
    assert float(record["best_epoch"]) == best + 1
    assert float(record["test_accuracy_at_best"]) == history[best]["test_accuracy"]
    assert float(record["val_accuracy"]) == by_epoch[-1]
    assert float(record["val_loss"]) == history[-1]["val_loss"]
    assert 30 < int(record["val_samples"]) < 50


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "one_cycle"])
@pytest.mark.parametrize("warmup_epochs", [0, 2])
@pytest.mark.parametrize("per_epoch", [1, 7, 100])
@pytest.mark.filterwarnings("ignore:The epoch parameter", "ignore:Detected call of")
def test_the_learning_rate_of_every_step_is_torchs(schedule, warmup_epochs, per_epoch):
    if schedule == "one_cycle":
        warmup_epochs = 0
    hp = hyperparameters(schedule=schedule, warmup_epochs=warmup_epochs, epochs=5, lr=0.1)
    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=hp.lr)
    scheduler = torch_scheduler(theirs, hp, per_epoch)
    ours = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=hp.lr)
    rate = LearningRate(ours, hp, per_epoch, torch.device("cpu"))
    for step in range(5 * per_epoch):
        rate.set(step)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-6), step
        scheduler.step()


def test_a_crop_and_a_mirrored_image_hold_the_same_pixels():
    """By eye: of a gradient from left to right, a mirrored image falls where the other rises."""
    hp = hyperparameters(augment="flip")
    image = torch.arange(8, dtype=torch.uint8).repeat(1, 8, 1)
    changed = augmentation_of(hp, SHAPE).of_epoch(1, 100, torch.device("cpu"))
    seen = {tuple(one[0, 0].tolist()) for one in changed(image.repeat(100, 1, 1, 1), 0)}
    assert seen == {tuple(range(8)), tuple(range(7, -1, -1))}


def test_dropout_is_that_of_every_layer():
    model = build_model("alexnet", (1, 64, 64), 10)
    set_dropout(model, 0.25)
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.25}
    own = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout2d(0.1), nn.Flatten(), nn.Linear(144, 10))
    set_dropout(own, 0.25)
    assert own[1].p == 0.25


def test_dropout_of_a_model_that_has_none_is_an_error():
    with pytest.raises(AblationsError, match=r"dropout is 0\.25, and ResNet has no layer"):
        set_dropout(build_model("resnet18", SHAPE, 10), 0.25)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nesterov": True}, "momentum is 0"),
        ({"beta1": 0.5}, "no meaning for sgd"),
        ({"schedule": "one_cycle", "warmup_epochs": 1}, "a warm-up of its own"),
        ({"warmup_epochs": 2}, "all epochs are 2"),
        ({"dropout": 0.1}, "resnet18 has no dropout"),
    ],
)
def test_settings_that_contradict_each_other_are_a_sentence(changes, reason):
    assert reason in hyperparameters(**changes).conflict("resnet18")


def test_an_option_at_its_default_renames_no_run():
    plain = hyperparameters()
    options = CnnHyperparameters.model_fields
    explicit = {name: options[name].default for name in options if not options[name].is_required()}
    assert hyperparameters(**explicit).canonical() == plain.canonical()
    assert "schedule" not in plain.canonical()
