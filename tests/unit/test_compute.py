"""What a study took: attempts and times by device, and the statement for an appendix."""

import json

import pytest
from ablations.analysis.compute import compute
from ablations.config.own_kinds import read_kinds
from ablations.config.studies.study import parse_study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.compute_table import compute_table
from ablations.presentation.tables import TABLES
from ablations.runs import state
from ablations.runs.state import Process, RunState
from latex import compiled, needs_latex
from payloads import LATEX, PAGES
from test_tables import record, study

MADE = {
    "attempt_seconds": "7200.0",
    "host": "node1",
    "runs_per_job": "1",
    "peak_memory_mb": "512.4",
    "workflow_version": "0.1.0",
    "python_version": "3.11.4",
    "torch_version": "2.7.1",
    "code_commit": "1" * 12,
    "code_modified": "false",
}
ON_GPU = {"device": "cuda", "device_name": "A GPU", "host": "node2"}
OWN = {
    "solver": {
        "command": "solve {hyperparameters} {seed}",
        "hyperparameters": {"depth": "int", "width": {"type": "int", "default": 8}},
        "metrics": {"score": {}, "energy": {"label": "Energy by CodeCarbon", "unit": "Wh"}},
    }
}


def texts_of(table) -> dict[str, str]:
    return dict(table.text)


def own_study(**changes):
    written = {
        "title": "T",
        "kind": "solver",
        "grid": [{"depth": [2, 4]}],
        "seeds": [3, 5],
        "table": {"rows": "depth"},
    }
    return parse_study({**written, **changes}, read_kinds(OWN))


def of_own(run, **changes) -> dict[str, str]:
    identity = {name: spell(value) for name, value in run.values().items()}
    return {**identity, "status": "ok", "device": "cpu", "device_name": "A CPU", "score": "1", **changes}


def begun(*seconds: float, host: str = "node1", **identity: str) -> RunState:
    return RunState(Process(1, host, None, 1.0), identity, seconds)


def test_every_attempt_counts_on_its_device_and_for_what_became_of_it():
    of = study("question_2", seeds=[0, 1])
    runs = of.runs()
    records = {run: record(run, **MADE) for run in runs[:-3]}
    records[runs[0]] |= {"attempt_seconds": "60.5;30;7200.0"}
    records[runs[1]] |= {**ON_GPU, "attempt_seconds": "3600", "runs_per_job": "4"}
    records[runs[2]] |= {**ON_GPU, "attempt_seconds": "600;1200", "status": "diverged"}
    states = {
        runs[-3]: begun(100.0, 50.0, device="A GPU", host="node9"),
        # Its state does not name the device; every record of its host does.
        runs[-2]: begun(5.0, host="node2"),
    }
    processor, gpu = compute(of, records, states)
    assert (processor.device, processor.runs, processor.attempts) == ("A processor", 15, 17)
    assert (processor.final_s, processor.earlier_s) == (15 * 7200, 90.5)
    assert (gpu.device, gpu.runs, gpu.diverged, gpu.unfinished, gpu.attempts) == ("A GPU", 4, 1, 2, 6)
    assert (gpu.final_s, gpu.diverged_s, gpu.unfinished_s) == (3600, 1800, 155)
    assert gpu.shared == {1, 4}
    table = compute_table("it", of, records, states)
    assert table.data["hours"].tolist() == ["30.025139", "1.543056", "31.568194"]
    for row in table.data.iloc:
        assert float(row["hours"]) == pytest.approx(sum(map(float, row.filter(like="hours_"))), abs=3e-6)
    said = texts_of(table)["Compute"]
    for words in (
        "The study has 20 runs of networks, in 10 settings. 23 attempts took 31.6 hours in all: 15",
        "Of these, 31.0 hours are of final attempts of the 16 completed runs, 0.03 hours are of",
        "0.50 hours are of 1 run that diverged and 0.04 hours are of attempts at 2 runs that are not",
        "Preliminary: 3 runs are not finished; 1 of them has not begun.",
        "Up to 4 runs shared A GPU at a time",
        "or its version of torch had changed, are not counted.",
        "peak memory of a run was 512 MB (of its process on a CPU and of torch's allocator on a GPU).",
        "Energy was not measured.",
    ):
        assert words in said


@pytest.mark.parametrize("seconds", [None, "", "x", "1;nan", "inf", "-5", "1e999", "3;;x"])
def test_a_record_that_does_not_tell_its_times_is_said_and_not_guessed(seconds):
    of = own_study()
    records = {run: of_own(run, attempt_seconds="60") for run in of.runs()}
    records[of.runs()[0]]["attempt_seconds"] = seconds
    if seconds is None:
        del records[of.runs()[0]]["attempt_seconds"]
    table = compute_table("it", of, records, {})
    assert table.data["attempts"].tolist() == ["3"]
    assert "1 run did not record its duration and is not counted." in texts_of(table)["Compute"]


def test_the_statement_of_an_own_kind_claims_only_what_its_records_hold():
    of = own_study()
    made = {"attempt_seconds": "60;30", "energy": "250", "python_version": "3.11.4", "code_digest": "abc"}
    said = texts_of(compute_table("it", of, {run: of_own(run, **made) for run in of.runs()}, {}))
    assert "(Energy by CodeCarbon) adds up to 1.00 kWh" in said["Compute"]
    assert "memory" not in said["Compute"]
    assert "torch" not in said["Versions"]
    assert "The versions of what their command uses are not recorded." in said["Versions"]
    assert "Their code was files of digest abc." in said["Versions"]
    assert "The 2 seeds of each setting are 3 and 5." in said["Seeds and intervals"]


@pytest.mark.parametrize(
    ("records", "largest", "said"),
    [
        ([("cpu", {"host_peak_mb": "120"}), ("cpu", {"host_peak_mb": "80.5"})], ["120"], "(of all its proc"),
        (
            [("cuda", {"gpu_peak_mb": "900", "host_peak_mb": "5000"}), ("cuda", {})],
            ["900"],
            "(of its GPU, or",
        ),
        # They shared the GPU, so nobody knows what each had of it.
        ([("cuda", {"host_peak_mb": "5000"}), ("cuda", {"host_peak_mb": "6000"})], [""], None),
        (
            [("cpu", {"host_peak_mb": "120"}), ("cuda", {"gpu_peak_mb": "900", "host_peak_mb": "5000"})],
            ["120", "900", "900"],
            "(of all its processes, looked at once a second and of its GPU",
        ),
    ],
)
def test_the_memory_of_a_command_is_that_of_its_device(records, largest, said):
    of = own_study(seeds=[3], grid=[{"depth": [2, 4]}])
    found = {
        run: of_own(run, attempt_seconds="60", device=device, device_name=device, **measured)
        for run, (device, measured) in zip(of.runs(), records, strict=True)
    }
    table = compute_table("it", of, found, {})
    assert table.data["peak_memory_mb"].tolist() == largest
    sentence = f"The largest peak memory of a run was {largest[-1]} MB {said}"
    assert (sentence if said else "Energy was not measured.") in texts_of(table)["Compute"]
    assert ("memory" in texts_of(table)["Compute"]) == (said is not None)


def test_a_command_that_reports_its_memory_is_believed():
    own = {"solver": {**OWN["solver"], "metrics": {"score": {}, "peak_memory_mb": {}}}}
    written = {"title": "T", "kind": "solver", "grid": [{"depth": [2, 4]}], "table": {"rows": "depth"}}
    of = parse_study(written, read_kinds(own))
    # A run that diverged has no metrics.
    reported, diverged = of.runs()
    records = {
        reported: of_own(reported, attempt_seconds="60", peak_memory_mb="70", host_peak_mb="120"),
        diverged: of_own(diverged, attempt_seconds="60", status="diverged", host_peak_mb="500"),
    }
    assert (
        "The largest peak memory of a run was 70 MB."
        in texts_of(compute_table("it", of, records, {}))["Compute"]
    )


def test_a_network_that_shares_its_process_has_no_memory():
    of = study("question_2", seeds=[0])
    made = {name: value for name, value in MADE.items() if name != "peak_memory_mb"}
    records = {run: record(run, **{**made, **ON_GPU}, host_peak_mb="5000") for run in of.runs()}
    for of_run in records.values():
        of_run.pop("peak_memory_mb", None)
    assert "memory" not in texts_of(compute_table("it", of, records, {}))["Compute"]


def test_the_statement_names_the_tests_that_the_effects_rest_on():
    of = study("question_2", seeds=[0, 1, 2, 3, 4], baseline={"model": "resnet18"}, analyse="test_accuracy")
    made = {}
    for run in of.runs():
        seed, depth = run.value("seed"), int(run.model.removeprefix("resnet"))
        made[run] = record(run, **MADE, test_accuracy=f"{90 + seed**2 / 7 + depth / 50 * (1 + seed)}")
    said = texts_of(compute_table("it", of, made, {}))["Seeds and intervals"]
    for words in (
        "The 5 seeds of each setting are 0 to 4. ± is the standard deviation over these 5 seeds.",
        "differ in nothing else and have the same seed: by Student's paired test over the seeds",
        "with Holm's correction over all comparisons of a metric",
        "Differences to the baseline are paired likewise",
    ):
        assert words in said
    assert "ratios" not in said


def test_the_code_of_a_users_own_models_is_named():
    of = study("question_2")
    made = {run: record(run, **MADE, model_sha256="0123456789abcdef" * 4) for run in of.runs()}
    said = texts_of(compute_table("it", of, made, {}))["Versions"]
    assert "files whose SHA-256 begins with 0123456789ab." in said


def test_a_run_without_seeds_and_each_of_several_versions_are_said():
    of = study("part_b")
    versions = [{"scikit_learn_version": "1.7", "code_modified": "true"}, {"scikit_learn_version": "1.8"}]
    made = {run: record(run, **{**MADE, **versions[i % 2]}) for i, run in enumerate(of.runs())}
    said = texts_of(compute_table("it", of, made, {}))
    assert "they have no seeds" in said["Seeds and intervals"]
    assert "scikit-learn 1.7 or 1.8" in said["Versions"]
    assert "with modifications (2 runs)" in said["Versions"]
    assert "without modifications (2 runs)" in said["Versions"]
    assert "Each run needed one attempt, as far as is known, and none diverged." in said["Compute"]


@pytest.mark.parametrize("made", [{}, {"attempt_seconds": "60"}])
def test_a_study_without_records_or_from_elsewhere_claims_nothing(made):
    of = own_study(records={"file": "others.csv"}) if made else own_study()
    records = {run: {"status": "ok", "score": "1", **run.values()} for run in of.runs()} if made else {}
    table = compute_table("it", of, records, {})
    said = texts_of(table)
    assert ("run elsewhere" in said["Compute"]) == bool(made)
    assert "Versions" not in said
    assert table.data["hours"].tolist() == ["0.000000"]
    assert "took 0" not in said["Compute"]


def test_the_runs_that_validation_did_not_choose_count_too():
    choose = {"over": "depth", "by": "score"}
    of = own_study(choose=choose, table={"rows": "width", "values": "energy"})
    records = {run: of_own(run, attempt_seconds="3600", energy="1") for run in of.runs()}
    table = compute_table("it", of, records, {})
    assert table.data["runs"].tolist() == ["4"]
    assert "They include every depth that was tried" in texts_of(table)["Compute"]


def test_the_table_reads_what_unfinished_runs_have_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of = own_study()
    first, second, *_ = of.runs()
    for run, text in ((first, json.dumps({"process": {"id": 1, "host": "h", "job": None, "started_at": 1},
                                          "attempts_s": [30, 30]})), (second, "{")):  # fmt: skip
        path = tmp_path / run.directory / state.NAME
        path.parent.mkdir(parents=True)
        path.write_text(text)
    table = TABLES["compute"]("it", of, {}, None)
    assert table.data["attempts"].tolist() == ["2"]
    assert "3 of them have not begun" in texts_of(table)["Compute"]
    assert state.last_notes(of.runs()).keys() == {first.directory, second.directory}


@needs_latex
def test_the_statement_compiles_with_any_text_in_it(tmp_path):
    of = study("question_2", seeds=[0, 1], title="α_β & 100 % #1 {x} ~^ \\")
    names = [*LATEX, *PAGES]
    records = {
        run: record(run, **MADE | {"device_name": names[i % len(names)], "python_version": names[-i]})
        for i, run in enumerate(of.runs())
    }
    table = compute_table("it", of, records, {})
    assert "<script" not in table.html()
    compiled(tmp_path, table.latex())


@pytest.mark.parametrize(
    ("counters", "expected"),
    [
        (
            {"RAPL"},
            "adds up to 1.00 kWh, by the counters of all sockets of its machine (RAPL). They count all",
        ),
        ({"RAPL;NVML"}, "by the counters of all sockets of its machine (RAPL) and its GPUs (NVML). They"),
        ({"RAPL", "NVML"}, "by the counters of its GPUs (NVML) or of all sockets of its machine (RAPL)."),
    ],
)
def test_counted_energy_is_added_up_with_what_it_counts(counters, expected):
    of = study("question_2", seeds=[0])
    records = {run: record(run, **MADE) for run in of.runs()}
    for run, name in zip(of.runs()[:4], sorted(counters) * 4, strict=False):
        records[run] |= {"counted_energy_j": "900000.0", "energy_counters": name}
    table = compute_table("it", of, records, {})
    said = texts_of(table)["Compute"]
    assert "The energy of 4 of the 10 runs adds up to 1.00 kWh" in said
    assert expected in said
    assert "not measured" not in said
    assert table.display["Energy (kWh)"].tolist() == ["1.00"]


def test_what_own_models_import_is_named_by_its_digest():
    of = study("question_2", seeds=[0])
    files = {"model_sha256": "a" * 64, "model_imports_sha256": "b" * 64}
    records = {run: record(run, **MADE, **files) for run in of.runs()}
    said = texts_of(compute_table("it", of, records, {}))["Versions"]
    assert f"SHA-256 begins with {'a' * 12}." in said
    assert f"The digest of what these import from their folder begins with {'b' * 12}." in said
    del records[of.runs()[0]]["model_imports_sha256"]
    for each in records.values():
        each.pop("model_imports_sha256", None)
    assert "import" not in texts_of(compute_table("it", of, records, {}))["Versions"]
