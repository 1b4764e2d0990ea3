"""What runs need of a GPU, from the records of finished ones."""

import pytest
from ablations.tracking.gpu_memory import GpuMemory
from ablations.tracking.plan import read_plan
from ablations.tracking.profile import Profile
from test_costs import run, taken


def on_gpu(of, peak_memory_mb: float | str, **changes) -> dict[str, str]:
    return taken(of, 100, **{"device": "cuda", "peak_memory_mb": str(peak_memory_mb)} | changes)


def test_the_most_of_the_same_settings_counts_with_a_margin():
    memory = GpuMemory([on_gpu(run(), 900), on_gpu(run(lr=0.1), 1000), on_gpu(run(batch_size=512), 9000)])
    assert memory.of(run(lr=0.5)) == 1.2 * 1000 + 700


def test_other_settings_rest_on_the_most_of_the_same_model():
    memory = GpuMemory([on_gpu(run(), 1000), on_gpu(run(batch_size=512), 9000)])
    assert memory.of(run(batch_size=64)) == 11_500


@pytest.mark.parametrize("other", [run("resnet50"), run(dataset="digits")])
def test_of_another_model_or_dataset_nothing_is_known(other):
    assert GpuMemory([on_gpu(run(), 1000)]).of(other) == 0


@pytest.mark.parametrize("written", ["", "nan", "inf", "-1", "1e999", "much"])
def test_what_is_not_a_size_is_not_used(written):
    assert GpuMemory([on_gpu(run(), written)]).of(run()) == 0


def test_memory_of_the_host_is_not_memory_of_a_gpu():
    assert GpuMemory([on_gpu(run(), 1000, device="cpu")]).of(run()) == 0


@pytest.mark.parametrize(("written", "read"), [("1900", "1900"), ("", "0"), ("many", "0"), (None, "0")])
def test_a_plan_of_an_earlier_version_is_read_too(written, read, tmp_path):
    names = ["run", "seconds", "basis", "planned_on", *(["gpu_mb"] if written is not None else [])]
    row = ["r", "10", "the same model", "2026-01-01", *([written] if written is not None else [])]
    (tmp_path / "plan.tsv").write_text("\t".join(names) + "\n" + "\t".join(row) + "\n")
    assert read_plan(tmp_path / "plan.tsv")["r"]["gpu_mb"] == read


@pytest.mark.parametrize(("pack", "chosen"), [("auto", True), ("'auto'", True), ("8", False), ("", False)])
def test_the_profile_leaves_the_size_of_packs_to_the_executor(pack, chosen):
    assert Profile({"train_cnn": {"pack": pack}}).packs_itself("train_cnn") == chosen
