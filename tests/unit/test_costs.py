"""What runs will take: the best that is known of their kind, and how wrong it was."""

import pytest
from ablations.kinds.cnn import CNN
from ablations.kinds.svm import SVM
from ablations.runs.run import Run, parse_hyperparameters
from ablations.tracking.plan import (
    BASES,
    USUAL_STARTUP_S,
    Costs,
    clock,
    makespan,
    seconds_taken,
    time_limit_min,
)
from test_tables import record


def run(model: str = "resnet18", dataset: str = "mnist", **changes) -> Run:
    values = {"batch_size": 16, "optimizer": "adam", "lr": 0.001, "epochs": 5, "pin_memory": "true"} | changes
    text = "+".join(f"{name}={value}" for name, value in {**values, "seed": 0}.items())
    return Run(CNN, dataset, model, parse_hyperparameters(CNN, text))


def taken(of: Run, train_s: float, test_s: float = 0, startup_s: float = 2, **changes) -> dict[str, str]:
    times = {"train": train_s, "test": test_s, "startup": startup_s}
    return record(of, **{f"{part}_time_ms": str(1000 * s) for part, s in times.items()}, **changes)


MACS = {
    ("mnist", "resnet18"): 30_000_000,
    ("mnist", "resnet50"): 90_000_000,
    ("digits", "resnet18"): 10_000_000,
}
IMAGES = {"mnist": 60_000, "digits": 1_000}


def test_warming_up_is_no_part_of_an_epoch():
    """The first steps on a GPU load kernels and record the step, however many epochs there are."""
    costs = Costs([taken(run(epochs=1), 14, warm_up_ms="4000")], MACS, IMAGES)
    assert costs.of(run(epochs=5)).seconds == pytest.approx(2 + 4 + 5 * 10)


def test_a_run_of_the_same_settings_takes_as_long_per_epoch():
    costs = Costs([taken(run(), 100, 20), taken(run(lr=0.1), 110, 20)], MACS, IMAGES)
    found = costs.of(run(epochs=15, lr=0.01))
    assert found.basis == "the same settings"
    assert found.seconds == pytest.approx(2 + 15 * (120 + 130) / 2 / 5)


def test_runs_that_shared_a_process_are_no_measure_of_those_that_did_not():
    shared = taken(run(lr=0.1), 800, shares_process="true")
    costs = Costs([taken(run(), 100), taken(run(lr=0.01), 100), shared], MACS, IMAGES)
    assert costs.of(run()).seconds == pytest.approx(2 + 100)


def test_another_batch_size_rests_on_the_same_model():
    found = Costs([taken(run(), 100)], MACS, IMAGES).of(run(batch_size=32))
    assert (found.basis, found.seconds) == ("the same model", pytest.approx(2 + 100))


def test_another_model_or_dataset_rests_on_macs():
    costs = Costs([taken(run(), 100)], MACS, IMAGES)
    assert costs.of(run("resnet50")).basis == "MACs of other models"
    assert costs.of(run("resnet50")).seconds == pytest.approx(2 + 3 * 100)
    assert costs.of(run(dataset="digits")).seconds == pytest.approx(2 + 100 / 3 / 60)
    assert costs.of(run(train_samples=6_000)).seconds == pytest.approx(2 + 10), "a tenth of the images"


def test_without_records_the_published_speed_is_taken():
    """Which took 408 s for five epochs of the published resnet18."""
    found = Costs([], {("mnist", "resnet18"): 33_184_000}, IMAGES).of(run())
    assert (found.basis, found.seconds) == ("the published speed", pytest.approx(408 + USUAL_STARTUP_S))


def test_records_of_other_devices_and_diverged_ones_do_not_count():
    fast = [taken(run(), 10, device_name="A GPU") for _ in range(3)]
    others = [taken(run(), 1000), taken(run(), 1, status="diverged", device_name="A GPU")]
    costs = Costs([*fast, *others], MACS, IMAGES)
    assert costs.devices == {"cnn": "A GPU"}
    assert costs.of(run()).seconds == pytest.approx(2 + 10)


def test_machines_are_estimated_from_machines():
    def machine(kernel: str, samples: int) -> Run:
        return Run(
            SVM, "mnist", "svc", parse_hyperparameters(SVM, f"kernel={kernel}+train_samples={samples}")
        )

    costs = Costs([taken(machine("rbf", 500), 3)], MACS, IMAGES)
    assert [costs.of(machine(*of)).basis for of in (("rbf", 500), ("poly", 500), ("rbf", 1000))] == [
        BASES[0], BASES[1], BASES[3],
    ]  # fmt: skip
    assert costs.of(machine("rbf", 500)).seconds == pytest.approx(5)


def test_the_seconds_of_a_record_are_all_of_them():
    assert seconds_taken(CNN, taken(run(), 10, 2, 1)) == 13


@pytest.mark.parametrize(
    ("seconds", "slots", "expected"),
    [([], 4, 0), ([5], 4, 5), ([3, 3, 2, 2, 2], 2, 7), ([10, 1, 1, 1], 2, 10), ([1] * 10, 3, 4)],
)
def test_makespans(seconds, slots, expected):
    assert makespan(seconds, slots) == expected


@pytest.mark.parametrize(
    ("seconds", "basis", "attempt", "minutes"),
    [
        (600, BASES[0], 1, 25),  # twice 10 minutes, and 3 around them, in steps of 5
        (600, BASES[0], 2, 45),
        (600, BASES[3], 1, 120),
        (5, BASES[0], 1, 10),  # no less than the least
        (36_000, BASES[1], 1, 480),  # no more than the most
    ],
)
def test_a_time_limit_is_the_estimate_with_a_margin_within_bounds(seconds, basis, attempt, minutes):
    planned = {"seconds": str(seconds), "basis": basis}
    assert time_limit_min(planned, attempt, least=10, most=480) == minutes


def test_a_run_that_was_never_planned_gets_the_most():
    assert time_limit_min(None, 1, least=10, most=480) == 480


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (45.4, "45 s"), (119, "2 min"), (600, "10 min"), (9000, "2.5 h"), (200_000, "2.3 days")],
)
def test_clocks(seconds, text):
    assert clock(seconds) == text
