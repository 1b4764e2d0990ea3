"""What jobs asked for and used, and what the user is told of it."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.efficiency import FEWEST_JOBS, Efficiency
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.usage import Usage, read_usage, write_usage
from test_executor import Workflow
from test_pack import Allocation

ASKED = request_of({"runtime": 480, "mem_mb": 8000, "cpus_per_task": 8}, 1, 1)
USED = Usage(seconds=14_000.0, cpu_seconds=100_000.0, memory_mb=6000.0)


def summary(usage: Usage, jobs: int = FEWEST_JOBS) -> str:
    efficiency = Efficiency()
    for _ in range(jobs):
        efficiency.add("one", ASKED, usage)
    return efficiency.summary()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, ""),
        ({"seconds": 1800.0, "cpu_seconds": 14_000.0}, "runtime: 60    # asked 480 minutes, used at most 30"),
        ({"memory_mb": 1500.5}, "mem_mb: 2000    # asked 8000 MB, used at most 1501"),
        ({"cpu_seconds": 19_600.0}, "cpus_per_task: 2    # asked 8 CPUs, used 1.4 on average"),
    ],
)
def test_only_what_was_not_used_is_said_with_the_line_to_write(change, line):
    said = summary(replace(USED, **change)).splitlines()
    assert [text.strip() for text in said[3:]] == ([line] if line else [])
    assert not line or said[2] == "  one:    # 3 jobs"


@pytest.mark.parametrize("change", [{"lanes": 8}, {"nodes": 2}, {"tasks": 4}])
def test_jobs_whose_work_other_processes_do_are_judged_by_their_time_alone(change):
    efficiency = Efficiency()
    used = replace(USED, seconds=1800.0, cpu_seconds=1.0, memory_mb=55.0)
    asked = request_of({"runtime": 480, "mem_mb": 8000, "cpus_per_task": 8, **change}, 1, 1)
    for _ in range(FEWEST_JOBS):
        efficiency.add("one", asked, used)
    assert [line.split(":")[0].strip() for line in efficiency.summary().splitlines()[3:]] == ["runtime"]


def test_few_jobs_teach_nothing():
    assert summary(replace(USED, memory_mb=10.0), FEWEST_JOBS - 1) == ""


def test_the_largest_of_a_rule_counts_and_the_first_attempt_is_compared():
    efficiency = Efficiency()
    for attempt, memory_mb in ((1, 100.0), (2, 1700.0), (1, 900.0)):
        again = request_of({"runtime": 480, "mem_mb": 8000 * attempt, "cpus_per_task": 8}, 1, 1)
        efficiency.add("one", again, replace(USED, memory_mb=memory_mb))
    efficiency.add("other", ASKED, None)
    assert "mem_mb: 2500    # asked 8000 MB, used at most 1700" in efficiency.summary()
    assert "other" not in efficiency.summary()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"seconds": "1", "cpu_seconds": 1.0, "memory_mb": 1.0}']
)
def test_a_file_of_something_else_is_not_used(content, tmp_path: Path):
    write_usage(tmp_path, 3, 4, USED)
    assert read_usage(tmp_path, 3, 4) == USED
    (tmp_path / "3-4.usage").write_text(content)
    assert read_usage(tmp_path, 3, 4) is None
    assert read_usage(tmp_path, 3, 5) is None


@pytest.mark.parametrize(
    ("requeued", "environment", "known"),
    [(0, {"SLURM_RESTART_COUNT": "0"}, True), (1, {}, False), (0, {"SLURM_RESTART_COUNT": "1"}, False)],
)
def test_a_requeued_attempt_says_nothing_of_its_usage(requeued, environment, known, tmp_path: Path):
    """It knows the time since its own start alone, and would advise a limit that is too short."""
    pack = Allocation(tmp_path, "true", requeued=requeued)
    assert pack.run(**environment) == 0
    assert pack.results() == {0: 0}
    assert (read_usage(tmp_path / "results", 0, 0) is not None) == known


def test_a_call_ends_with_what_its_jobs_did_not_use(tmp_path: Path):
    """Each holds 120 MB in a child of the shell that the pack knows."""
    holding = f"{sys.executable} -c 'bytearray(120 * 2**20)'"
    text = (workflow := Workflow(tmp_path, holding)).root / "Snakefile"
    text.write_text(text.read_text().replace("mem_mb=500", "mem_mb=2000"))
    packed = ["one:pack=auto", "one:gpu_mem_mb=1000", "one:gpu_total_mb=4000"]
    assert workflow.run("--set-resources", *packed) == 0, workflow.printed
    assert "pack: auto chooses 3: a job needs 1000 MB of a GPU with 4000 MB." in workflow.printed
    assert "3 jobs in 1 allocation." in workflow.printed
    assert "  one:    # 3 jobs\n    mem_mb: 500    # asked 2000 MB, used at most 1" in workflow.printed
