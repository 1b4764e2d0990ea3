"""Packs over several GPUs: each place has one of them, and processors near it."""

import pytest
from snakemake_executor_plugin_submitit import gpus
from snakemake_executor_plugin_submitit.gpus import DEVICES, near_cpus, parse_cpus, share_near, shares_of
from snakemake_executor_plugin_submitit.member import GPUS, PLACES
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_interface_common.exceptions import WorkflowError
from test_pack import Allocation

EIGHT = list(range(8))


@pytest.mark.parametrize(
    ("places", "per_gpu", "devices", "expected"),
    [
        (4, 2, "0,1", [("0", "2"), ("1", "2"), ("0", "2"), ("1", "2")]),
        (3, 2, "GPU-a,GPU-b", [("GPU-a", "2"), ("GPU-b", "1"), ("GPU-a", "2")]),
        # As an exclusive node gives all its GPUs, whatever was asked for.
        (2, 1, "4,5,6,7", [("4", "1"), ("5", "1")]),
        (2, 2, "3", [("3", "2"), ("3", "2")]),
        (2, 0, "0,1", [("0,1", "2"), ("0,1", "2")]),
        (2, 1, "", [("", "2"), ("", "2")]),
    ],
)
def test_places_are_spread_over_the_gpus(places, per_gpu, devices, expected, monkeypatch):
    monkeypatch.setattr(gpus, "near_cpus", lambda devices: [])
    found = [each.environment for each in shares_of(places, per_gpu, {DEVICES: devices})]
    assert [(each[DEVICES], each[PLACES]) for each in found] == expected


@pytest.mark.parametrize(("per_gpu", "expected"), [(2, ["3", "5", "3", "5"]), (0, ["3,5"] * 4)])
def test_a_member_learns_which_gpu_it_has_where_nvidias_service_counts_them_anew(
    per_gpu, expected, monkeypatch
):
    monkeypatch.setattr(gpus, "near_cpus", lambda devices: [])
    monkeypatch.setenv(DEVICES, "3,5")
    found = [each.environment[GPUS] for each in shares_of(4, per_gpu, {DEVICES: "0,1"})]
    assert found == expected


@pytest.mark.parametrize(
    ("near", "shares"),
    [
        ([{0, 1, 2, 3}, {4, 5, 6, 7}], [{0, 1}, {4, 5}, {2, 3}, {6, 7}]),
        # Two GPUs of one socket divide its processors; those of the other socket were not given to the job.
        ([{*range(8), 9}, {*range(8), 9}], [{0, 1}, {4, 5}, {2, 3}, {6, 7}]),
        ([], [{0, 1}, {4, 5}, {2, 3}, {6, 7}]),
        # They do not suffice, or overlap.
        ([{0}, {4, 5, 6, 7}], [{0, 1}, {2, 3}, {4, 5}, {6, 7}]),
        ([{8, 9}, {4, 5, 6, 7}], [{0, 1}, {2, 3}, {4, 5}, {6, 7}]),
        ([{0, 1, 2, 3, 4}, {4, 5, 6, 7}], [{0, 1}, {2, 3}, {4, 5}, {6, 7}]),
    ],
)
def test_processors_are_near_the_gpu_where_they_suffice(near, shares):
    assert share_near(EIGHT, [0, 1, 0, 1], near) == shares


def test_unbound_processors_are_not_divided():
    assert share_near([], [0, 1], [{0}, {1}]) == [set(), set()]


def test_nearness_is_read_from_the_node(monkeypatch, tmp_path):
    for bus, cpus in (("0000:3b:00.0", "0-1,4\n"), ("0000:af:00.0", "2-3\n")):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "local_cpulist").write_text(cpus)
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho 0, GPU-a, 00000000:3B:00.0; echo 1, GPU-b, 00000000:AF:00.0; test $# = 2\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(gpus, "PCI", tmp_path)
    assert near_cpus(["1", "GPU-a"]) == [{2, 3}, {0, 1, 4}]
    assert near_cpus(["7"]) == []
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert near_cpus(["0"]) == []
    assert parse_cpus("0-2,8\n") == {0, 1, 2, 8}


@pytest.mark.parametrize(
    ("asked", "whole", "short"),
    [
        ({"gres": "gpu:1"}, "gpu:4", "gpu:2"),
        ({"gres": "gpu"}, "gpu:4", "gpu:2"),
        ({"gres": "gpu:a100:1,tmp:9"}, "gpu:a100:4,tmp:9", "gpu:a100:2,tmp:9"),
        ({"gres": "gpu:1g.5gb:1"}, "gpu:1g.5gb:4", "gpu:1g.5gb:2"),
        ({"gpu": 1}, "4", "2"),
        ({"gpu_model": "a100"}, "a100:4", "a100:2"),
    ],
)
def test_an_allocation_asks_for_the_gpus_that_its_members_need(asked, whole, short):
    request = request_of({**asked, "gpus_per_job": 4, "pack": 3, "mem_mb": 100}, 2, 1)
    name = "gres" if "gres" in asked else "gpus"
    options = request.of_pack(12)
    assert (request.pack, options[name], options["cpus-per-task"], options["mem"]) == (12, whole, 24, "1200M")
    assert request.of_pack(4)[name] == short


@pytest.mark.parametrize("asked", [{"gres": "gpu:2"}, {"gpu": 4}, {}, {"gres": "tmp:1"}])
def test_gpus_per_job_needs_the_one_gpu_of_a_job(asked):
    with pytest.raises(WorkflowError, match="gpus_per_job is 4, and a job asks for"):
        request_of({**asked, "gpus_per_job": 4}, 1, 1)


def test_members_of_a_pack_see_one_gpu_each(tmp_path):
    pack = Allocation(tmp_path, *["echo $CUDA_VISIBLE_DEVICES"] * 4, places=4, per_gpu=2)
    assert pack.run(CUDA_VISIBLE_DEVICES="0,1") == 0
    assert [pack.log(i).splitlines()[1:] for i in range(4)] == [["0"], ["1"], ["0"], ["1"]]
