"""`pack: auto`: how many jobs share a GPU or a node, and what the user is told of it."""

import logging
from types import SimpleNamespace

import pytest
from snakemake_executor_plugin_submitit.auto_pack import LARGEST
from snakemake_executor_plugin_submitit.clusters.nodes import Nodes
from snakemake_executor_plugin_submitit.fitting import Fitting
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_interface_common.exceptions import WorkflowError

GPU = {"gres": "gpu:1", "gpu_total_mb": 80_000, "mem_mb": 4000, "cpus_per_task": 2, "pack": "auto"}
CPU = {"mem_mb": 4000, "cpus_per_task": 2, "pack": "auto"}


@pytest.mark.parametrize(
    ("resources", "pack", "why"),
    [
        ({"gpu_mem_mb": 9000}, 8, "a job needs 9000 MB of a GPU with 80000 MB"),
        ({"gpu_mem_mb": 18_000}, 4, "a job needs 18000 MB"),
        ({"gpu_mem_mb": 79_000}, 1, "a job needs 79000 MB"),
        ({"gpu_mem_mb": 100}, LARGEST, "larger packs are not chosen"),
        ({"gpu_mem_mb": 0}, 1, "how much of the GPU's memory a job needs (gpu_mem_mb) is not known"),
        ({}, 1, "is not known"),
        ({"gpu_mem_mb": 9000, "gpu_total_mb": None}, 1, "gpu_total_mb, the memory of one GPU, is not given"),
    ],
)
def test_as_many_jobs_share_a_gpu_as_fit_in_its_memory(resources, pack, why):
    request = request_of(GPU | resources, 1, 1)
    assert request.pack == pack
    assert why in request.auto


def test_a_number_takes_precedence():
    assert request_of(GPU | {"gpu_mem_mb": 9000, "pack": 3}, 1, 1).pack == 3


@pytest.mark.parametrize("resources", [{"pack": "many"}, {"gpu_mem_mb": -1}, {"gpu_total_mb": "80 GB"}])
def test_what_is_not_a_number_is_named(resources):
    with pytest.raises(WorkflowError, match=next(iter(resources))):
        request_of(GPU | resources, 1, 1)


def test_jobs_whose_packs_have_equal_sizes_share_them():
    """What they need differs by little."""
    one, other = (request_of(GPU | {"gpu_mem_mb": needed}, 1, 1) for needed in (9000, 8900))
    assert one == other


@pytest.mark.parametrize(
    ("cpus", "gres", "pack", "said"),
    [
        ("64", "gpu:4", 8, "pack: auto chooses 8: a job needs 9000 MB of a GPU with 80000 MB."),
        ("32", "gpu:4", 4, "with 80000 MB; a node has CPUs and memory for 4 on each GPU."),
        ("8", "gpu:8", 1, "for 1 on each GPU."),
    ],
)
def test_each_gpu_of_a_node_keeps_its_share_of_processors(cpus, gres, pack, said, caplog):
    nodes = Nodes("gpu*", cpus, "256000", gres, "(null)", "infinite")
    assert said in told(nodes.room, GPU | {"gpu_mem_mb": 9000}, pack, caplog)


def told(room, resources, pack, caplog) -> str:
    """What the user is told, once, where a request becomes one for packs of this size."""
    cluster = SimpleNamespace(most_packs=1, room=room, choose_partition=lambda request: None)
    fitting = Fitting(cluster, logging.getLogger("test"))
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            assert fitting.fit(request_of(resources, 1, 1)).pack == pack
    (message,) = caplog.messages
    return message


@pytest.mark.parametrize(
    ("cpus", "memory_mb", "gres", "pack", "said"),
    [
        (
            "16",
            "256000",
            "(null)",
            8,
            "chooses 8: a job asks for no GPU; a node has CPUs and memory for 8 ",
        ),
        ("64", "16000", "(null)", 4, "for 4 in all."),
        ("32", "256000", "gpu:4", 4, "for 4 in all."),
        ("128", "512000", "(null)", LARGEST, "chooses 32: a job asks for no GPU."),
    ],
)
def test_jobs_without_a_gpu_share_what_a_node_has(cpus, memory_mb, gres, pack, said, caplog):
    nodes = Nodes("cpu*", cpus, memory_mb, gres, "(null)", "infinite")
    assert said in told(nodes.room, CPU, pack, caplog)


def test_where_nothing_is_known_of_a_node_a_job_is_alone(caplog):
    said = told(lambda request: None, CPU, 1, caplog)
    assert "chooses 1: a job asks for no GPU, and what a node has room for is not known." in said
