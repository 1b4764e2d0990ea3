"""The partition of a request, where `slurm_partition` is a list."""

import pytest
from snakemake_executor_plugin_submitit.clusters.nodes import Nodes
from snakemake_executor_plugin_submitit.clusters.partitions import Choice, choose, parse_limits
from snakemake_executor_plugin_submitit.resources import request_of

NODES = [
    Nodes("short*", "4", "16000", "(null)", "(null)", "30:00"),
    Nodes("cpu", "64", "256000", "(null)", "(null)", "1-00:00:00"),
    Nodes("gpu", "16", "128000", "gpu:a100:4(S:0-1)", "a100", "8:00:00"),
    Nodes("shared", "64", "256000", "(null)", "(null)", "infinite"),
    Nodes("closed", "64", "256000", "(null)", "(null)", "infinite"),
]
LIMITS = parse_limits(
    "PartitionName=short AllowGroups=ALL MaxCPUsPerNode=UNLIMITED State=UP MaxMemPerNode=UNLIMITED\n"
    "PartitionName=cpu State=UP MaxMemPerCPU=4000\n"
    "PartitionName=shared MaxCPUsPerNode=2 State=UP MaxMemPerNode=8000\n"
    "PartitionName=closed State=DRAIN\n"
)


def chosen(partitions: str, **resources) -> Choice | None:
    return choose(request_of({"slurm_partition": partitions, **resources}, 1, 1), NODES, LIMITS)


@pytest.mark.parametrize(
    ("partitions", "resources", "partition", "why"),
    [
        ("short,cpu", {"runtime": 30}, "short", ""),
        ("short,cpu", {"runtime": 31}, "cpu", "'short': its time limit is 30 minutes"),
        (
            "short, cpu",
            {"runtime": 5, "cpus_per_task": 5},
            "cpu",
            "'short': its nodes have 4 CPUs and 16000 MB",
        ),
        ("short,cpu", {"runtime": 5, "mem_mb": 20000}, "cpu", "'short': its nodes have 4 CPUs and 16000 MB"),
        ("cpu,gpu", {"gres": "gpu:1"}, "gpu", "'cpu': none of its nodes has that GPU or feature"),
        ("cpu,gpu", {"gpu": 4, "gpu_model": "a100"}, "gpu", "'cpu': none of its nodes has that GPU"),
        ("cpu,gpu", {"constraint": "a100"}, "gpu", "'cpu': none of its nodes has that GPU or feature"),
        ("shared,cpu", {"cpus_per_task": 3}, "cpu", "'shared': it gives a job 2 CPUs of a node"),
        ("shared,cpu", {"mem_mb": 9000}, "cpu", "'shared': it gives a job 8000 MB of a node"),
        ("cpu,gpu", {"mem_mb_per_cpu": 5000}, "gpu", "'cpu': it gives a job 4000 MB for each CPU"),
        ("closed,cpu", {}, "cpu", "'closed': it takes no jobs now"),
        ("gone,short,cpu", {"runtime": 60}, "cpu", "'gone': it does not exist here; 'short': its time limit"),
    ],
)
def test_a_job_goes_to_the_first_partition_in_which_it_fits(partitions, resources, partition, why):
    choice = chosen(partitions, **resources)
    assert choice is not None
    assert choice.fits
    assert dict(choice.request.options)["partition"] == partition
    assert why in choice.sentence()
    assert bool(choice.sentence()) == bool(why), "nothing is said where the first one fits"


def test_a_job_that_fits_nowhere_is_left_to_slurm_with_a_sentence():
    choice = chosen("short,gpu", runtime=600, mem_mb=1000)
    assert choice is not None
    assert dict(choice.request.options)["partition"] == "short,gpu"
    assert choice.sentence() == (
        "No partition in slurm_partition fits jobs with 1 CPU, 1000 MB, 600 minutes ('short': its time limit "
        "is 30 minutes; 'gpu': its time limit is 480 minutes). They are submitted nevertheless, and SLURM "
        "may refuse them or let them wait forever. Ask for less in the profile, or add a partition that has "
        "it."
    )


@pytest.mark.parametrize(
    "resources",
    [
        {"partitions": "short"},
        {"partitions": ""},
        {"partitions": "short,cpu", "slurm_extra": "--nodelist=n1"},
        {"partitions": "short,cpu", "constraint": "a100|h100"},
        {"partitions": "short,cpu", "nodes": 2},
    ],
)
def test_without_a_choice_the_request_stays_as_it_is(resources):
    assert chosen(**resources) is None


def test_where_slurm_says_nothing_of_its_nodes_the_request_stays_as_it_is():
    assert choose(request_of({"slurm_partition": "a,b"}, 1, 1), [], {}) is None
