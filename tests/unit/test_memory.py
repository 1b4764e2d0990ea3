"""What runs need of a GPU and of a node, from the records of finished ones, and what they request."""

import pytest
from ablations.config.own_kinds import read_kinds
from ablations.runs.run import Run, parse_hyperparameters
from ablations.tracking.memory import GPU, NODE, Needs, memory_limit_mb
from ablations.tracking.plan import read_plan
from ablations.tracking.profile import Profile
from test_costs import run, taken


def on_gpu(of, peak_memory_mb: float | str, **changes) -> dict[str, str]:
    return taken(of, 100, **{"device": "cuda", "peak_memory_mb": str(peak_memory_mb)} | changes)


def test_the_most_of_the_same_settings_counts_with_a_margin():
    memory = Needs(GPU, [on_gpu(run(), 900), on_gpu(run(lr=0.1), 1000), on_gpu(run(batch_size=512), 9000)])
    assert memory.of(run(lr=0.5)) == 1.2 * 1000 + 700


def test_other_settings_rest_on_the_most_of_the_same_model():
    memory = Needs(GPU, [on_gpu(run(), 1000), on_gpu(run(batch_size=512), 9000)])
    assert memory.of(run(batch_size=64)) == 11_500


@pytest.mark.parametrize("other", [run("resnet50"), run(dataset="digits")])
def test_of_another_model_or_dataset_nothing_is_known(other):
    assert Needs(GPU, [on_gpu(run(), 1000)]).of(other) == 0


@pytest.mark.parametrize("written", ["", "nan", "inf", "-1", "1e999", "much"])
def test_what_is_not_a_size_is_not_used(written):
    assert Needs(GPU, [on_gpu(run(), written)]).of(run()) == 0


def test_memory_of_the_host_is_not_memory_of_a_gpu():
    assert Needs(GPU, [on_gpu(run(), 1000, device="cpu")]).of(run()) == 0


@pytest.mark.parametrize(("written", "read"), [("1900", "1900"), ("", "0"), ("many", "0"), (None, "0")])
def test_a_plan_of_an_earlier_version_is_read_too(written, read, tmp_path):
    memory = ["gpu_mb", "mem_mb"] if written is not None else []
    names = ["run", "seconds", "basis", "planned_on", *memory]
    row = ["r", "10", "the same model", "2026-01-01", *[written for _ in memory]]
    (tmp_path / "plan.tsv").write_text("\t".join(names) + "\n" + "\t".join(row) + "\n")
    found = read_plan(tmp_path / "plan.tsv")["r"]
    assert (found["gpu_mb"], found["mem_mb"]) == (read, read)


@pytest.mark.parametrize(("pack", "chosen"), [("auto", True), ("'auto'", True), ("8", False), ("", False)])
def test_the_profile_leaves_the_size_of_packs_to_the_executor(pack, chosen):
    assert Profile({"train_cnn": {"pack": pack}}).packs_itself("train_cnn") == chosen


def test_on_a_processor_the_memory_of_the_process_is_that_of_the_node():
    assert Needs(NODE, [on_gpu(run(), 900, device="cpu")]).of(run()) == 1500
    on_host = on_gpu(run(), 9000, host_peak_mb="2100.5")
    assert Needs(NODE, [on_host]).of(run()) == 3500
    assert Needs(NODE, [on_gpu(run(), 9000)]).of(run()) == 0, "that is the GPU's"


def test_runs_of_an_own_kind_need_what_their_like_took():
    kinds = read_kinds(
        {
            "forest": {
                "command": "train {trees} > {metrics}",
                "hyperparameters": {"trees": "int"},
                "metrics": {"peak_memory_mb": {"better": "lower"}},
            }
        }
    )
    of = Run(kinds["forest"], "-", "-", parse_hyperparameters(kinds["forest"], "trees=5+seed=0"))
    record = {name: str(value) for name, value in of.values().items()} | {"device": "cuda"}
    measured = {"gpu_peak_mb": "1000", "host_peak_mb": "3000", "peak_memory_mb": "77"}
    found = [Needs(memory, [record | measured], kinds).of(of) for memory in (GPU, NODE)]
    assert found == [1.2 * 1000 + 700, 1.5 * 3000]
    assert Needs(GPU, [record | {"gpu_peak_mb": "", "peak_memory_mb": "1000"}], kinds).of(of) == 1900


@pytest.mark.parametrize(
    ("needed", "attempt", "request_mb"),
    [("1500", 1, 2000), ("3000", 1, 3000), ("3000", 2, 6000), ("3000", 3, 8000), ("0", 1, 8000)],
)
def test_a_request_of_memory_rests_on_the_plan_in_its_bounds(needed, attempt, request_mb):
    assert memory_limit_mb({"mem_mb": needed}, attempt, 2000, 8000) == request_mb
    assert memory_limit_mb(None, attempt, 2000, 8000) == 8000
