"""Processes that the kernel killed for want of memory are counted where the cgroup is that of the job."""

import pytest
from snakemake_executor_plugin_submitit.kernel_kills import kernel_kills
from snakemake_executor_plugin_submitit.member import Member, RunningMember

PATH = "slurm_n1/uid_0/job_12/step_batch/task_0"
V1 = (
    f"5:cpuset:/\n4:memory:/{PATH}\n0::/\n",
    f"memory/{PATH}/memory.oom_control",
    "under_oom 0\noom_kill 2\n",
)
V2 = (f"0::/system.slice/{PATH}\n", f"system.slice/{PATH}/memory.events", "oom 3\noom_kill 2\n")


@pytest.mark.parametrize(("cgroup", "file", "content"), [V1, V2])
@pytest.mark.parametrize(("job", "counted"), [("12", 2), ("1", 0), (None, 0)])
def test_what_the_kernel_killed(cgroup, file, content, job, counted, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    (tmp_path / "own").write_text(cgroup)
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(content)
    assert kernel_kills(tmp_path / "own", tmp_path) == counted


@pytest.mark.parametrize("cgroup", ["", "nonsense\n", f"4:memory:/{PATH}\n"])
def test_what_cannot_be_read_counts_as_none(cgroup, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    (tmp_path / "own").write_text(cgroup)
    assert kernel_kills(tmp_path / "own", tmp_path) == 0


@pytest.mark.parametrize(
    ("status", "why", "said"), [(137, "", "the kernel killed"), (0, "", ""), (137, "told", "told")]
)
def test_a_failure_names_the_kernel_unless_the_pack_knows_better(status, why, said, monkeypatch):
    monkeypatch.setattr("snakemake_executor_plugin_submitit.member.kernel_kills", lambda: 1)
    running = RunningMember(1, 0, 0, Member("", "", None), status=status, why=why, kills=0)
    assert said in running.reason()
    assert bool(running.reason()) == bool(said)
