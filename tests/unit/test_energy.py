"""Energy: what counters measured, and nothing where they do not tell."""

import math
from pathlib import Path

import pytest
from ablations.runs import energy
from ablations.runs.attempts import attempt
from ablations.runs.energy import Meter
from ablations.runs.provenance import ASKED, Asked
from test_tables import study

# Of old processors.
WHOLE_UJ = 65_532_610_987


class Machine:
    """A tree of zones as Linux shows them, with a clock."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = root, 0.0
        names = {"0": "package-0", "0:0": "core", "0:1": "dram", "1": "package-1", "2": "psys"}
        for number, name in names.items():
            zone = root / f"intel-rapl:{number}"
            zone.mkdir(parents=True)
            (zone / "name").write_text(f"{name}\n")
            (zone / "max_energy_range_uj").write_text(f"{WHOLE_UJ}\n")
            self.set(number, 1_000_000)

    def set(self, number: str, microjoules: int) -> None:
        (self.root / f"intel-rapl:{number}" / "energy_uj").write_text(f"{microjoules}\n")

    def meter(self) -> Meter:
        return Meter(self.root, lambda: self.now)


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path / "powercap")


def test_the_sockets_and_their_memory_are_added_up(machine):
    meter = machine.meter()
    for number, microjoules in {"0": 4_000_000, "0:0": 9**9, "0:1": 1_500_000, "1": 2_000_000}.items():
        machine.set(number, microjoules)
    assert meter.columns() == {"counted_energy_j": pytest.approx(3 + 0.5 + 1), "energy_counters": "RAPL"}


def test_a_counter_that_begins_again_is_followed(machine):
    machine.set("0", WHOLE_UJ - 2_000_000)
    meter = machine.meter()
    machine.now = 30
    machine.set("0", 3_000_000)
    meter.read()
    machine.now = 60
    machine.set("0", 4_000_000)
    assert meter.columns()["counted_energy_j"] == pytest.approx(6)


def test_a_counter_that_may_have_begun_again_unseen_tells_nothing(machine):
    meter = machine.meter()
    machine.now = 66
    assert meter.columns() == {}


@pytest.mark.parametrize("lacking", ["energy_uj", "max_energy_range_uj", "name"])
def test_where_a_counter_cannot_be_read_nothing_is_measured(machine, lacking):
    file = machine.root / "intel-rapl:1" / lacking
    file.unlink()
    file.mkdir()
    assert machine.meter().columns() == {}


def test_a_counter_that_fails_later_takes_its_source_with_it(machine):
    meter = machine.meter()
    machine.set("0", 2_000_000)
    (machine.root / "intel-rapl:1" / "energy_uj").write_text("")
    assert meter.columns() == {}
    assert Meter(machine.root / "none").columns() == {}


class Library:
    """NVML with two GPUs, as ctypes calls it."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.millijoules = status, {1: 5000, 2: 70_000}

    def nvmlInit_v2(self) -> int:
        return self.status

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle) -> int:
        handle._obj.value = index.value + 1
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid, handle) -> int:
        handle._obj.value = {b"GPU-b": 2}.get(uuid.value)
        return 0 if handle._obj.value else 6

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, found) -> int:
        found._obj.value = self.millijoules[handle.value]
        return 0


@pytest.mark.parametrize(("gpus", "joules"), [(["0"], 2.5), (["GPU-b"], 1.0), (["0", "1"], 3.5)])
def test_the_gpus_of_a_run_are_counted_alone(tmp_path, gpus, joules):
    meter, library = Meter(tmp_path), Library()
    meter.add_gpus(gpus, library)
    library.millijoules = {1: 7500, 2: 71_000}
    assert meter.columns() == {"counted_energy_j": pytest.approx(joules), "energy_counters": "NVML"}


def test_a_gpu_that_nvml_does_not_know_is_not_counted(machine):
    meter = machine.meter()
    meter.add_gpus(["MIG-1"], Library())
    meter.add_gpus(["0"], Library(status=9))
    meter.add_gpus(["0"], object())
    assert meter.columns()["energy_counters"] == "RAPL"
    meter.add_gpus(["0"], Library())
    assert meter.columns()["energy_counters"] == "RAPL;NVML"


def test_an_attempt_reads_the_counters_whenever_it_notes_its_state(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", machine.root)
    run = study("part_a").runs()[0]
    with attempt(tmp_path / "record.tsv", run) as it:
        machine.set("0", WHOLE_UJ - 1)
        it.write()
        machine.set("0", 999_999)
        columns = it.columns()
        assert math.isclose(columns["counted_energy_j"], WHOLE_UJ / 1e6, rel_tol=1e-6)
        token = ASKED.set(Asked(1, 0.0))
        assert "counted_energy_j" not in it.columns(), "other runs share the process"
        ASKED.reset(token)
