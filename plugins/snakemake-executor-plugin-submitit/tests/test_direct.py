"""The same workflow of odd rules with direct jobs and with jobs that start Snakemake: nothing differs."""

import json
import os
import pickle
import re
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_executor_plugin_submitit import direct
from snakemake_executor_plugin_submitit.direct import _known
from snakemake_executor_plugin_submitit.holdings import read_packs
from snakemake_executor_plugin_submitit.member import Member
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_interface_common.exceptions import WorkflowError

PATIENCE_S = 1800
SNAKEFILE = """
import os
os.environ["SET_HERE"] = "it's $HERE"
GLOBAL = "a global"
shell.prefix("set -eu; export PREFIXED='{GLOBAL}'; ")
shell.suffix("; echo said at the end")

rule all:
    input:
        "plain/a b", "env", "folder", "touched", "user", "protected", "ensured", "threads", "jobid", "tmpdir",
        "loop0", "loop1", "link", "shell", "checked", "again", [f"fails_{i}" for i in range(6)],

rule plain:
    output: "plain/{x}"
    log: "logs/deep/{x}.log"
    shell: "echo {wildcards.x:q} '{{}}' {output:q} > {output:q}; echo said; echo said too >&2"

rule env:
    output: "env"
    threads: 2
    resources: mem_mb=300, own="text"
    params: x=lambda w, threads, resources: f"{threads} {resources.mem_mb}", empty=""
    shell:
        "env | sort > {output}; echo {params} {rule} {threads} {resources.own} $(umask) >> {output}; "
        "trap >> {output}; grep Sig[BIC] /proc/self/status >> {output}; ls /proc/self/fd | wc -l >> {output}"

rule folder:
    output: directory("folder")
    shell: "[ ! -e {output} ]; mkdir {output}; echo 1 > {output}/one"

rule touched:
    output: touch("touched")
    shell: "true"

rule temporary:
    output: temp("temporary")
    shell: "echo 1 > {output}"

rule user:
    input: "temporary", "folder"
    output: "user"
    shell: "cat {input[0]} {input[1]}/one > {output}"

rule protected:
    output: protected("protected")
    shell: "echo 1 > {output}"

rule ensured:
    output: ensure("ensured", non_empty=True, md5="b026324c6904b2a9cb4b88d6d61c81d1")
    shell: "echo 1 > {output}"

rule threads:
    output: "threads"
    threads: 640
    shell: "echo {threads} $OMP_NUM_THREADS > {output}"

rule jobid:
    output: "jobid"
    shell: "echo {jobid} > {output}"

rule tmpdir:
    output: "tmpdir"
    shell: "echo {resources.tmpdir} $TMPDIR > {output}"

for i in range(2):
    TEXT = f"text {i}"
    rule:
        name: f"loop{i}"
        output: f"loop{i}"
        shell: f"echo {TEXT} > {{output}}"

rule link:
    output: "link"
    shell: "echo 1 > target; ln -s target {output}"

rule other_shell:
    output: "shell"
    resources: shell_exec="sh"
    shell: "echo $0 > {output}"

checkpoint checked:
    input: ancient("Snakefile")
    output: "checked"
    shell: "wc -l < {input} > {output}"

rule again:
    output: "again"
    retries: 1
    resources: own=lambda wildcards, attempt: attempt
    params: lambda wildcards, resources: resources.own
    shell: "echo said {params} {resources.own}; [ {params} = 2 ]; echo 1 > {output}"

rule fails:
    output: "fails_{i}"
    log: "logs/{i}"
    params: lambda w: FAIL[int(w.i)]
    shell: "echo said {wildcards.i} | tee {output}; {params}"

FAIL = ["exit 7", "set -o pipefail; false | true", "echo $UNSET", "rm {output}", "kill -9 $$"]
FAIL.append("rm {output}; mkdir {output}")
"""


class Call:
    """A call of Snakemake, in its own directory."""

    def __init__(self, root: Path, direct: str) -> None:
        root.mkdir()
        (root / "Snakefile").write_text(SNAKEFILE)
        self.root, self.out = root, root.with_suffix(".out")
        self.process = self.snakemake(
            self.out,
            *("--executor", "submitit", "--submitit-cluster", "local", "--submitit-direct", direct),
            *("--jobs", "100", "--submitit-pack", "100", "--submitit-gather", "0", "--submitit-linger", "1"),
            *("--keep-going", "--latency-wait", "0", "--scheduler", "greedy", "--verbose"),
        )

    def snakemake(self, out: Path, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-P", "-m", "snakemake", *arguments]
        return subprocess.Popen(command, cwd=self.root, stdout=out.open("wb"), stderr=subprocess.STDOUT)

    def printed(self) -> str:
        return self.out.read_text()

    def text(self, path: Path) -> str:
        """The content of a file without what differs between two calls: its directory, ids and times."""
        text = path.read_text().replace(str(self.root), "ROOT")
        return re.sub(r"submitit/[0-9a-f]{12}/", "submitit/ID/", text)

    def files(self) -> dict[str, tuple[str, str]]:
        """The mode and the content of every file that is not Snakemake's."""
        return {
            str(path.relative_to(self.root)): (
                stat.filemode(path.lstat().st_mode),
                "" if path.is_dir() else self.text(path),
            )
            for path in sorted(self.root.rglob("*"))
            if ".snakemake" not in path.parts
        }

    def said(self) -> dict[str, list[str]]:
        """What each job's command printed, and which errors its log tells of."""
        logs = self.root / ".snakemake/submitit_logs"
        shown = ("said", "Error in rule")
        return {
            str(path.relative_to(logs)): [
                line.removesuffix(":") for line in path.read_text().splitlines() if line.startswith(shown)
            ]
            for path in logs.rglob("*.log")
        }

    def metadata(self) -> dict[str, dict]:
        """What Snakemake recorded of each output."""
        changing = {"starttime", "endtime", "job_hash"}
        folder = self.root / ".snakemake/metadata"
        records = {path.name: json.loads(path.read_text()) for path in folder.iterdir()}
        return {
            name: {key: value for key, value in record.items() if key not in changing}
            for name, record in records.items()
        }


together = pytest.mark.xdist_group("direct jobs")


@pytest.fixture(scope="module")
def calls(tmp_path_factory) -> tuple[Call, Call]:
    root = tmp_path_factory.mktemp("both")
    both = Call(root / "direct", "auto"), Call(root / "started", "never")
    for call in both:
        assert call.process.wait(PATIENCE_S) == 1, call.printed()
    return both


@together
def test_jobs_are_direct_unless_only_snakemake_can_run_them(calls):
    direct, started = (call.said() for call in calls)
    logs = [call.root / ".snakemake/submitit_logs" for call in calls]
    with_snakemake = [
        {path.stem for path in folder.rglob("*.log") if "Building DAG of jobs" in path.read_text()}
        for folder in logs
    ]
    assert with_snakemake[0] == {"threads", "jobid", "tmpdir", "again"}
    assert len(with_snakemake[1]) == len(direct) == len(started)
    assert "Snakemake is started in the allocation for job" in calls[0].printed()


@together
@pytest.mark.parametrize("what", ["files", "said", "metadata"])
def test_nothing_differs(what, calls):
    direct, started = (getattr(call, what)() for call in calls)
    assert direct == started
    assert len(direct) >= 15


@together
def test_ends_are_the_same(calls):
    """The pack has failed members, so that its results are kept."""
    for call in calls:
        packs = read_packs(call.root)
        assert {packs[f"fails_{i}"].exit_code for i in range(6)} == {1}


def test_params_of_a_further_attempt_are_those_of_its_resources():
    """The controller keeps those of the first attempt; Snakemake in the allocation would compute them."""
    rule = SimpleNamespace(
        name="one", expand_params=lambda wildcards, input, output, job: (job.attempt, None)
    )
    files = SimpleNamespace(_plainstrings=list)
    kept = {
        "params": 1,
        "input": files,
        "output": files,
        "log": files,
        "wildcards": None,
        "wildcards_dict": {},
    }
    jobs = [SimpleNamespace(**kept, attempt=n, threads=1, resources=None, rule=rule) for n in (1, 2)]
    assert [_known(job)["params"] for job in jobs] == [1, 2]


@together
def test_the_next_call_plans_the_same(calls, tmp_path):
    """Nothing but the jobs that failed."""
    rows = []
    for call in calls:
        summary = tmp_path / f"{call.root.name}.out"
        assert call.snakemake(summary, "--summary").wait(PATIENCE_S) == 0
        table = [line.split("\t") for line in summary.read_text().splitlines() if "\t" in line]
        # Apart from the times.
        rows.append([[name, *others] for name, _, *others in table[1:]])
    assert rows[0] == rows[1]
    assert {row[0] for row in rows[0] if row[-1] != "no update"} == {f"fails_{i}" for i in range(6)}


def test_a_member_of_an_earlier_version_starts_snakemake():
    """Its pickle is still in the queue after an upgrade."""
    member = Member("command", "log", None)
    del member.__dict__["direct"]
    assert pickle.loads(pickle.dumps(member)).direct == ""


def test_a_wrong_choice_is_a_sentence():
    with pytest.raises(WorkflowError, match="--submitit-direct is 'always'; expected auto or never"):
        ExecutorSettings(direct="always")


def test_what_belongs_to_the_allocation_of_the_controller_is_no_change_of_the_snakefile(monkeypatch):
    at_start = {"SLURM_JOB_ID": "99", "SLURM_CPUS_PER_TASK": "1", "SLURM_CONF": "a", "OWN": "1", "GONE": "1"}
    monkeypatch.setattr(direct, "_AT_START", at_start)
    for name in [*os.environ, *at_start]:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"OWN": "2", "SLURM_CONF": "b", "CUDA_VISIBLE_DEVICES": "", "NEW": "3"}.items():
        monkeypatch.setenv(name, value)
    assert direct.changed_environment() == {"OWN": "2", "SLURM_CONF": "b", "NEW": "3", "GONE": None}
