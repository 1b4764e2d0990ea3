"""From a job's resources to sbatch's options: no value can reach a shell."""

import shlex
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.clusters import slurm
from snakemake_executor_plugin_submitit.clusters.base import HELD, Phase
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.resources import kind_of, request_of, signal_delay_s
from snakemake_interface_common.exceptions import WorkflowError
from submitit.slurm.slurm import _make_sbatch_string


def request(threads: int = 1, pack: int = 1, **resources):
    return request_of(resources, threads, pack)


def test_a_pack_multiplies_cpus_and_memory_but_not_the_gpu():
    asked = request(threads=2, pack=8, mem_mb=4000, runtime=30, gres="gpu:1", slurm_partition="gpu")
    options = asked.of_pack(8)
    assert (options["cpus-per-task"], options["mem"], options["gres"]) == (16, "32000M", "gpu:1")
    assert asked.of_pack(3)["mem"] == "12000M", "a short pack requests what it needs"
    assert asked.member_memory_mb() == 4000


def test_memory_per_cpu_grows_with_the_cpus():
    asked = request(threads=2, mem_mb_per_cpu=1000)
    assert asked.of_pack(4)["mem-per-cpu"] == "1000M"
    assert "mem" not in asked.of_pack(4)
    assert asked.member_memory_mb() == 2000
    assert request(tasks=8, mem_mb_per_cpu=1000).member_memory_mb() == 8000


@pytest.mark.parametrize(
    ("resources", "option", "value"),
    [
        ({"slurm_account": "a"}, "account", "a"),
        ({"qos": "short"}, "qos", "short"),
        ({"constraint": "a100&ib"}, "constraint", "a100&ib"),
        ({"gpu": 2}, "gpus", "2"),
        ({"gpu": 1, "gpu_model": "a100"}, "gpus", "a100:1"),
        ({"gpu_model": "a100"}, "gpus", "a100:1"),
        ({"nodes": 2, "tasks": 4}, "ntasks", "4"),
        ({"slurm_extra": "--exclusive"}, "exclusive", True),
        ({"slurm_extra": "--mail-user='a b@c'"}, "mail-user", "a b@c"),
        ({"slurm_extra": "--nice 100"}, "nice", "100"),
        ({"slurm_extra": "--mem-bind=local"}, "mem-bind", "local"),
        ({"slurm_extra": "--nodelist=n1"}, "nodelist", "n1"),
    ],
)
def test_resources_have_the_names_of_the_stock_executor(resources, option, value):
    assert request(**resources).of_pack(1)[option] == value


def test_empty_resources_are_left_out():
    assert not {"account", "gres", "mem"} & request(slurm_account="", gres="").of_pack(1).keys()
    assert "gpus" not in request(gpu=0).of_pack(1)
    assert "gpus" not in request(gpu="0").of_pack(1)


def test_cpus_are_the_resource_or_the_threads():
    assert request(threads=3).cpus == 3
    assert request(threads=3, cpus_per_task=5).cpus == 5


def test_a_job_over_several_nodes_is_never_packed():
    assert request(pack=8, tasks=2).pack == 1
    assert request(pack=8).pack == 8
    assert request(pack=8, pack_of_its_own=1).pack == 8


def test_the_resource_pack_takes_precedence_over_the_setting():
    assert request_of({"pack": 2}, 1, 8).pack == 2


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        ({"mem_mb": "lots"}, "the resource mem_mb is 'lots'"),
        ({"runtime": -1}, "the resource runtime is -1"),
        ({"pack": "many"}, "the resource pack is 'many'"),
        ({"slurm_partition": "gpu\nrm -rf /"}, "the resource slurm_partition .* line breaks"),
        ({"slurm_extra": "--output=/etc/passwd"}, "--output, which this executor sets itself"),
        ({"slurm_extra": "--wrap=ls"}, "--wrap, which this executor sets itself"),
        ({"slurm_extra": "-p gpu"}, "write options in their long form"),
        ({"slurm_extra": "--exclusive; rm -rf /"}, "is not an option of sbatch"),
        ({"slurm_extra": "--nice=1 rm"}, "slurm_extra has 'rm'"),
        ({"slurm_extra": "--mail-user='"}, "cannot be read"),
        ({"gres": "gpu:1", "gpu": 1}, "both gres and gpu"),
        ({"slurm_extra": "--outp=/etc/passwd"}, "--outp, which this executor sets itself"),
        ({"slurm_extra": "--comment=mine"}, "--comment, which this executor sets itself"),
        ({"slurm_extra": "--quiet"}, "--quiet, which this executor sets itself"),
        ({"slurm_extra": "--mem=4G"}, "--mem; give the resource mem_mb instead"),
        ({"slurm_extra": "--nodes=2"}, "--nodes; give the resource nodes instead"),
        ({"slurm_extra": "--ntask 2"}, "--ntask; give the resource tasks instead"),
        ({"runtime": 1.9}, "the resource runtime is 1.9; expected a whole number"),
        ({"mem_mb": -1}, "the resource mem_mb is -1"),
    ],
)
def test_a_value_that_slurm_would_refuse_is_reported_in_a_sentence(resources, sentence):
    with pytest.raises(WorkflowError, match=sentence):
        request(**resources)


@pytest.mark.parametrize("value", ["a'b", 'a"b', "$(touch pwned)", "`touch pwned`", "a b;touch pwned", "#x"])
def test_no_value_can_start_a_command(value):
    """In submitit's script, a value stays within its option."""
    options = request(constraint=value, slurm_extra=f"--mail-user={shlex.quote(value)}").of_pack(1)
    script = _make_sbatch_string(command="true", folder="/tmp/x", additional_parameters=options)
    lines = [
        line for line in script.splitlines() if "touch" in line or "constraint" in line or "mail" in line
    ]
    assert lines
    for line in lines:
        assert line.startswith("#SBATCH --")
        assert shlex.split(line.removeprefix("#SBATCH "))[0].partition("=")[2] == value


@pytest.mark.parametrize(("minutes", "seconds"), [(1, 20), (3, 60), (6, 120), (600, 120)])
def test_an_allocation_is_signalled_before_a_run_stops_by_itself(minutes, seconds):
    """A run does so 90 seconds, or a quarter of a short limit, before its end."""
    assert signal_delay_s(minutes) == seconds
    assert seconds > min(90, 60 * minutes / 4)


TWO_KINDS = "gpu*|64|256000|gpu:a100:4|a100,ib|infinite\ncpu|8|16000|(null)|(null)|2-00:00:00"
MIXED = "all|128|512000|(null)|big|30:00\nall|16|64000|gpu:4(S:0-1)|a100|1-12:00:00"
MODELS = "gpu*|64|512000|gpu:v100:4(S:0-1)|v100,ib|12:00:00\ngpu*|16|128000|gpu:A100:2|a100,ib|12:00:00"


@pytest.mark.parametrize(
    ("nodes", "resources", "room"),
    [
        (TWO_KINDS, {"slurm_partition": "gpu", "mem_mb": 8000}, 32),
        (TWO_KINDS, {"slurm_partition": "cpu", "mem_mb": 8000}, 2),
        (TWO_KINDS, {}, 64),  # the default partition
        (MIXED, {"slurm_partition": "all", "cpus_per_task": 2}, 64),  # its largest nodes
        (MIXED, {"slurm_partition": "all", "gres": "gpu:1"}, 16),  # that have what is asked for
        (MIXED, {"slurm_partition": "all", "constraint": "a100"}, 16),
        (MIXED, {"slurm_partition": "cpu,all"}, 128),
        ("gpu|4+|64000+|(null)|(null)|infinite", {"slurm_partition": "gpu"}, 4),
        (TWO_KINDS, {"slurm_partition": "no_such"}, None),
        ("", {"slurm_partition": "gpu"}, None),
        (MODELS, {"gres": "gpu:1"}, 64),
        (MODELS, {"gres": "gpu:a100:1"}, 16),
        (MODELS, {"gres": "gpu:3"}, 64),
        ("gpu*|64|64000|gpu:a100:4|(null)|infinite", {"gres": "gpu:1", "gpus_per_job": 8, "pack": 3}, 12),
        (MODELS, {"gpu": 1, "gpu_model": "a100"}, 16),
        (MODELS, {"gpu": 3, "gpu_model": "a100"}, None),
        (MODELS, {"constraint": "a100&ib"}, 16),
        (MODELS, {"constraint": "[a100|v100]"}, 16),  # whichever it will be
        (MODELS, {"slurm_extra": "--nodelist=n5"}, 16),
    ],
)
def test_the_room_of_a_node(nodes, resources, room, monkeypatch):
    said = {"scontrol": "MaxArraySize = 1001", "sinfo": nodes}
    monkeypatch.setattr(slurm, "call", lambda *command: said[command[0]])
    assert slurm.Slurm(array_size=1000).room(request(**resources)) == room


@pytest.mark.parametrize(
    ("limits", "resources", "room"),
    [
        ("MaxCPUsPerNode=UNLIMITED MaxMemPerNode=UNLIMITED", {"mem_mb": 4000}, 64),
        ("MaxCPUsPerNode=16 MaxMemPerNode=UNLIMITED", {"cpus_per_task": 2}, 8),
        ("MaxCPUsPerNode=16 MaxMemPerNode=UNLIMITED", {"gres": "gpu:1", "pack": "auto"}, 4),
        ("MaxCPUsPerNode=99 MaxMemPerNode=64000", {"mem_mb": 4000}, 16),
        ("MaxCPUsPerNode=99 MaxMemPerNode=64000", {}, 64),
        ("MaxMemPerNode=64000", {"mem_mb_per_cpu": 4000, "cpus_per_task": 4}, 4),
        ("MaxMemPerNode=64000", {"slurm_partition": "cpu", "mem_mb": 4000}, 4),
    ],
)
def test_the_limits_of_a_partition_bound_a_pack_too(limits, resources, room, monkeypatch):
    """SLURM refuses a larger one, or lets it wait forever."""

    def said(command: str, *rest: str) -> str:
        shown = f"PartitionName=gpu {limits} State=UP\n" if "partition" in rest else "MaxArraySize = 1001"
        return TWO_KINDS if command == "sinfo" else shown

    monkeypatch.setattr(slurm, "call", said)
    assert slurm.Slurm(array_size=1000).room(request(**resources)) == room


@pytest.mark.parametrize(
    ("nodes", "resources", "minutes"),
    [
        (TWO_KINDS, {}, None),
        (TWO_KINDS, {"slurm_partition": "cpu"}, 2880),
        (TWO_KINDS, {"slurm_partition": "cpu,gpu"}, None),
        (MIXED, {"slurm_partition": "all"}, 2160),
        (MIXED, {"slurm_partition": "all", "constraint": "big"}, 30),
        (MODELS, {}, 720),
        ("", {}, None),
    ],
)
def test_the_time_limit_of_a_partition(nodes, resources, minutes, monkeypatch):
    said = {"scontrol": "", "sinfo": nodes}
    monkeypatch.setattr(slurm, "call", lambda *command: said[command[0]])
    assert slurm.Slurm(array_size=1000).longest_min(request(**resources)) == minutes


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ("MaxArraySize = 301", 301),
        ("MaxArraySize = 1001\nSchedulerParameters = bf_max=5,max_array_tasks=50,x", 50),
        ("MaxArraySize = 5000", 2000),
        ("", 1000),
    ],
)
def test_an_array_is_as_large_as_the_cluster_allows(config, most, monkeypatch):
    monkeypatch.setattr(slurm, "call", lambda *command: config)
    assert slurm.Slurm(array_size=2000).most_packs == most


@pytest.mark.parametrize(
    ("reason", "held"),
    [
        ("JobHeldAdmin", True),
        ("launch failed requeued held", True),
        ("PartitionTimeLimit", True),
        ("QOSMaxCpuPerJobLimit", True),
        ("QOSMaxGRESPerJob", True),
        ("JobHoldMaxRequeue", True),
        ("SPECIAL_EXIT", True),
        ("PartitionDown", True),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", True),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", True),
        ("ReservationDeleted", True),
        ("AssocGrpCPUMinutesLimit", True),
        ("AssocGrpBillingMinutes", True),
        ("QOSGrpGRESMinutes", True),
        ("AccountNotAllowed", True),
        ("Priority", False),
        ("Resources", False),
        ("AssocGrpCpuLimit", False),
        ("BeginTime", False),
        ("JobArrayTaskLimit", False),
        ("QOSMaxJobsPerUserLimit", False),
        ("None", False),
    ],
)
def test_a_job_that_may_wait_forever_is_known_by_its_reason(reason, held):
    assert bool(HELD.search(reason)) == held


@pytest.mark.parametrize(
    ("printed", "number"),
    [("Submitted batch job 812\n", "812"), ("812\n", "812"), ("812;cluster1\n", "812"),
     ("Your job goes to partition gpu2\n812\n", "812"),
     ("Welcome to node 7\nSubmitted batch job 812 on cluster one\n", "812")],
)  # fmt: skip
def test_the_number_of_a_job_is_read_from_what_a_wrapper_prints(printed, number):
    assert slurm._SlurmExecutor._get_job_id_from_submission_command(printed.encode()) == number


@pytest.mark.parametrize("none", ["", 0, "0", None])
def test_no_memory_is_no_request(none):
    """The stock executor's way to say so is 0."""
    asked = request(mem_mb=none, mem_mb_per_cpu=none)
    assert asked.member_memory_mb() is None
    assert not {"mem", "mem-per-cpu"} & asked.of_pack(2).keys()


def test_accounting_can_show_that_a_job_has_ended_but_not_that_it_runs(monkeypatch):
    """SLURM's controller has forgotten these jobs."""
    said = {
        "scontrol": "", "squeue": "7_0|RUNNING|None|a\n",
        "sacct": "7_1|RUNNING\n7_2|CANCELLED by 1\n7_3|COMPLETED\nnonsense\n",
    }  # fmt: skip
    monkeypatch.setattr(slurm, "call", lambda *command: said[command[0]])
    submission = Submission(Path(), "id", "a", "slurm", [], [f"7_{i}" for i in range(5)])
    states = slurm.Slurm(array_size=1).states([submission])
    assert [states[f"7_{i}"].phase for i in range(5)] == [
        Phase.ALIVE, Phase.UNKNOWN, Phase.ENDED, Phase.ENDED, Phase.UNKNOWN,
    ]  # fmt: skip


def test_a_cancellation_is_repeated_until_it_succeeds(monkeypatch):
    calls, queue = [], {f"7_{i}" for i in range(3)} | {"8"}

    def call(*command):
        if command[0] == "scancel":
            calls.append(command[1])
            if len(calls) > 2:  # The first two find the controller busy.
                queue.difference_update({"8"} if command[1] == "8" else {"7_0", "7_1", "7_2"})
            return None
        return "\n".join(f"{job}|RUNNING|None|a" for job in sorted(queue)) if command[0] == "squeue" else ""

    monkeypatch.setattr(slurm, "call", call)
    monkeypatch.setattr(slurm.time, "sleep", lambda seconds: None)
    assert slurm.Slurm(array_size=1).cancel(dict.fromkeys(["7_0", "7_1", "7_2", "8"], "a")) == []
    assert calls == ["7_[0,1,2]", "8"] * 2


def test_a_job_with_another_name_is_neither_cancelled_nor_looked_at(monkeypatch):
    calls = []

    def call(*command):
        calls.append(command[0])
        return "5|RUNNING|None|my-jupyter" if command[0] == "squeue" else ""

    monkeypatch.setattr(slurm, "call", call)
    cluster = slurm.Slurm(array_size=1)
    assert cluster.cancel({"5": "a-0123456789ab"}) == []
    assert "scancel" not in calls
    submission = Submission(Path(), "0123456789ab", "a-0123456789ab", "slurm", [[]], ["5"])
    assert cluster.states([submission])["5"].phase is Phase.UNKNOWN


def test_jobs_that_share_processes_differently_share_no_pack():
    assert request().lanes == 1
    assert request(lanes=8) != request(lanes=2)
    with pytest.raises(WorkflowError, match="the resource lanes is 'all'"):
        request(lanes="all")


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"runtime": 5}, {"runtime": 50}, True),
        ({"pack": "auto", "gpu_mem_mb": 1, "gpu_total_mb": 3}, {"pack": 2}, True),
        ({"mem_mb": 16000}, {"mem_mb": 64000}, False),
        ({"gres": "gpu:a100:1"}, {"gres": "gpu:1"}, False),
    ],
)
def test_requests_are_of_a_kind_if_they_differ_in_their_length_alone(one, other, equal):
    assert (kind_of(request(**one)) == kind_of(request(**other))) == equal
