"""A run trains on the device that was requested or allocated, and the CPU is never taken without a sentence.

torch's functions and the driver's files are stubs: the tests need no GPU.
"""

import logging
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ablations.commands.device import device as device_of_a_command
from ablations.errors import AblationsError
from ablations.runs import gpus
from ablations.runs.gpus import Torch, driver_version, notes_before_training
from ablations.runs.provenance import processor_name
from ablations.training import devices
from ablations.training.checkpoints import Checkpoint
from ablations.training.devices import choose_device, problem_of_cuda
from trainings import call, without_times

PROBLEM, DRIVER = "No CUDA GPUs are available", "580.159.04"
WITH_CUDA_13 = Torch("2.14.1+cu130", "13.0")
# As torch words it, in one line.
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by "
    "downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx "
    "Alternatively, go to: https://pytorch.org to install a PyTorch version that has been compiled with your "
    "version of the CUDA driver."
)
NOT_READY = (
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling "
    "NumCudaDevices() that might have already set an error? Error 802: system not yet initialized"
)


@pytest.fixture
def driver(tmp_path) -> Path:
    """What a driver shows of a machine with one GPU."""
    (tmp_path / "driver/gpus/0000:3b:00.0").mkdir(parents=True)
    (tmp_path / "driver/version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 16:14:05 UTC 2021\n"
        "GCC version:  gcc version 9.3.0\n"
    )
    return tmp_path / "driver"


def set_up_cuda(monkeypatch, fails: str | None = None, name: str = "NVIDIA H100", visible: int = 1) -> None:
    """Let torch see GPUs, or say why it cannot."""

    asked = []

    def available() -> bool:
        if fails and not asked:
            # torch warns at the first question.
            asked.append(True)
            warnings.warn(f"CUDA initialization: {fails}", stacklevel=2)
        return not fails

    def init() -> None:
        raise RuntimeError(fails)

    monkeypatch.setattr(torch.cuda, "is_available", available)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90", "sm_100"])
    properties = SimpleNamespace(uuid="1-2-3")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)


@pytest.mark.parametrize(
    ("requested", "environment", "problem", "driver", "chosen", "said"),
    [
        ("auto", {}, None, DRIVER, "cuda", []),
        ("cuda", {}, None, DRIVER, "cuda", []),
        ("cpu", {"CUDA_VISIBLE_DEVICES": "0"}, None, DRIVER, "cpu", []),
        ("auto", {}, PROBLEM, None, "cpu", []),
        ("auto", {"SLURM_GPUS_ON_NODE": "0"}, PROBLEM, None, "cpu", []),
        ("auto", {}, PROBLEM, DRIVER, "cpu", [logging.WARNING]),
        ("auto", {"CUDA_VISIBLE_DEVICES": ""}, PROBLEM, DRIVER, "cpu", [logging.INFO]),
        ("auto", {"CUDA_VISIBLE_DEVICES": "-1"}, PROBLEM, DRIVER, "cpu", [logging.INFO]),
        ("auto", {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, PROBLEM, None, "cpu", [logging.INFO]),
    ],
)
def test_the_device_chosen(requested, environment, problem, driver, chosen, said, caplog):
    caplog.set_level("INFO")
    assert choose_device(requested, environment, problem, driver) == chosen
    assert [record.levelno for record in caplog.records] == said
    assert all("the run trains on the CPU" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    ("requested", "environment", "reason", "why"),
    [
        ("cuda", {}, "device is cuda", PROBLEM),
        ("cuda", {"CUDA_VISIBLE_DEVICES": ""}, "device is cuda", "CUDA_VISIBLE_DEVICES is empty"),
        ("cuda", {"CUDA_VISIBLE_DEVICES": "-1"}, "device is cuda", "CUDA_VISIBLE_DEVICES is -1"),
        ("auto", {"CUDA_VISIBLE_DEVICES": "0"}, "(CUDA_VISIBLE_DEVICES=0)", PROBLEM),
        ("auto", {"CUDA_VISIBLE_DEVICES": "GPU-5c89"}, "(CUDA_VISIBLE_DEVICES=GPU-5c89)", PROBLEM),
        ("auto", {"SLURM_JOB_GPUS": "0"}, "this job was given a GPU (SLURM_JOB_GPUS=0)", PROBLEM),
        ("auto", {"SLURM_GPUS_ON_NODE": "2"}, "(SLURM_GPUS_ON_NODE=2)", PROBLEM),
        ("auto", {"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": ""}, "SLURM_JOB_GPUS=0", "is empty"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_an_error(requested, environment, reason, why):
    with pytest.raises(AblationsError) as raised:
        choose_device(requested, environment, PROBLEM, None)
    (sentence,) = str(raised.value).splitlines()
    assert reason in sentence
    assert f"torch finds no usable CUDA device here: {why}" in sentence or why in sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            TOO_OLD,
            "the NVIDIA driver is too old: it supports CUDA 11.4 at most, and torch {} needs CUDA 9.9",
        ),
        (NOT_READY, "Error 802: system not yet initialized"),
        ("Found no NVIDIA driver on your system. Please check that", "Found no NVIDIA driver on your system"),
        ("No CUDA GPUs are available", "No CUDA GPUs are available"),
    ],
)
def test_what_torch_says_is_told_without_its_advice(words, sentence, monkeypatch):
    set_up_cuda(monkeypatch, fails=words)
    monkeypatch.setattr(torch.version, "cuda", "9.9")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert problem_of_cuda() == sentence.format(torch.__version__)
    assert not caught, "and only once"


def test_a_torch_for_the_cpu_alone_says_so(monkeypatch):
    set_up_cuda(monkeypatch, fails="Torch not compiled with CUDA enabled")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    assert problem_of_cuda() == f"torch {torch.__version__} is built for the CPU alone"


@pytest.mark.parametrize(
    ("capability", "built", "usable"),
    [
        ((9, 0), ["sm_75", "sm_90"], True),
        ((8, 9), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((7, 0), ["sm_75", "sm_80", "compute_120"], False),
        ((12, 1), ["sm_90", "sm_120"], True),
        ((13, 0), ["sm_120"], False),
        ((13, 0), ["sm_90", "compute_120"], True),
        ((9, 4), ["gfx942"], True),
    ],
)
def test_a_gpu_for_which_torch_has_no_code_is_found_before_the_first_kernel(
    capability, built, usable, monkeypatch
):
    set_up_cuda(monkeypatch, name="Tesla V100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    problem = problem_of_cuda()
    assert (problem is None) == usable
    if problem:
        assert "has no code for Tesla V100 (compute capability" in problem


class Meter:
    """Notes which GPUs are counted."""

    def __init__(self) -> None:
        self.counted: list[str] = []

    def add_gpus(self, gpus: list[str]) -> None:
        self.counted += gpus


@pytest.mark.parametrize(
    ("name", "visible", "said", "counted"),
    [
        ("NVIDIA H100", 1, [], ["GPU-1-2-3"]),
        ("NVIDIA H100", 2, ["2 GPUs are visible, and the run uses the first (NVIDIA H100)"], ["GPU-1-2-3"]),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 1, ["A100-SXM4-40GB MIG 1g.5gb is a part of a GPU"], []),
    ],
)
def test_a_log_tells_of_further_gpus_and_of_a_part_of_one(name, visible, said, counted, monkeypatch, caplog):
    set_up_cuda(monkeypatch, name=name, visible=visible)
    meter = Meter()
    assert devices.name_of(torch.device("cuda"), meter) == name
    assert len(caplog.messages) == len(said)
    assert all(expected in message for expected, message in zip(said, caplog.messages, strict=True))
    assert meter.counted == counted
    assert devices.name_of(torch.device("cpu"), meter) == processor_name()


def test_a_run_that_takes_the_cpu_of_a_machine_with_a_gpu_says_why(staged, tmp_path, driver, monkeypatch):
    set_up_cuda(monkeypatch, fails=TOO_OLD)
    monkeypatch.setattr(devices, "driver_version", lambda: driver_version(driver))
    done = call(staged, tmp_path)
    assert without_times(tmp_path / "record.tsv")["device"] == ["cpu"]
    said = "this machine has an NVIDIA driver (470.57.02), and the run trains on the CPU: the NVIDIA driver"
    assert done.stderr.count(said) == 1
    assert "CUDA initialization" not in done.stderr


def test_the_cpu_that_was_chosen_on_purpose_is_told_of_once(staged, tmp_path, driver, monkeypatch):
    set_up_cuda(monkeypatch, fails="No CUDA GPUs are available")
    monkeypatch.setattr(devices, "driver_version", lambda: driver_version(driver))
    done = call(staged, tmp_path, CUDA_VISIBLE_DEVICES="")
    assert without_times(tmp_path / "record.tsv")["device"] == ["cpu"]
    said = "CUDA_VISIBLE_DEVICES is empty, which hides all GPUs: the run trains on the CPU"
    assert done.stderr.count(said) == 1
    assert "NVIDIA driver" not in done.stderr


def test_a_checkpoint_of_another_cudnn_is_not_used(tmp_path, monkeypatch, caplog):
    """Its algorithms are others, so that the run would go on, but not to the same bits."""

    def checkpoint(kind: str, cudnn: int) -> Checkpoint:
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda: cudnn)
        identity = devices.identity(torch.device(kind), "a device")
        attempt = SimpleNamespace(identity=identity, write=lambda: None)
        return Checkpoint(tmp_path / f"{kind}.pt", attempt)

    for kind in ("cuda", "cpu"):
        checkpoint(kind, 91900).save({"step": 7})
        assert checkpoint(kind, 91900).load()["step"] == 7
    assert checkpoint("cuda", 92000).load() is None
    assert "is of another cudnn: the run starts over" in caplog.text
    assert checkpoint("cpu", 92000).load()["step"] == 7, "the CPU does not use it"


# --- before networks train ------------------------------------------------------------------------


def test_the_version_of_a_driver_is_found(driver):
    assert driver_version(driver) == "470.57.02"
    opened = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build\n"
    (driver / "version").write_text(opened)
    assert driver_version(driver) == "580.159.04"
    (driver / "version").write_text("another text\n")
    assert driver_version(driver) == "of an unknown version"
    assert driver_version(driver / "gpus") is None


def test_the_installed_torch_is_known_without_importing_it():
    assert Torch.installed() == Torch(torch.__version__, torch.version.cuda)


@pytest.mark.parametrize(
    ("device", "torch", "environment", "note"),
    [
        (
            "auto",
            Torch("2.14.1+cpu", None),
            {},
            "will train on the CPU: torch 2.14.1+cpu is built for the",
        ),
        ("auto", WITH_CUDA_13, {}, "needs an NVIDIA driver from version 580 on, and this is 470.57.02"),
        ("cuda", WITH_CUDA_13, {}, "device is cuda, and networks cannot train on a GPU here: torch 2.14.1"),
        ("cuda", WITH_CUDA_13, {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES is empty, which hides"),
        ("auto", WITH_CUDA_13, {"CUDA_VISIBLE_DEVICES": ""}, None),
        ("auto", Torch("2.1", "11.8"), {}, None),
        ("auto", Torch("2.1", "11.8"), {"CUDA_VISIBLE_DEVICES": "1,0"}, "2 GPUs are visible, and every run"),
        ("cpu", WITH_CUDA_13, {}, None),
        ("cuda", None, {}, None),
    ],
)
def test_what_is_known_of_the_gpus_is_told_before_networks_train(device, torch, environment, note, driver):
    notes = list(notes_before_training(device, environment, torch, driver))
    assert len(notes) == bool(note)
    assert not note or note in notes[0]


@pytest.mark.parametrize(("device", "count"), [("auto", 0), ("cuda", 1)])
def test_a_machine_without_a_driver_needs_a_note_only_where_a_gpu_is_requested(device, count, tmp_path):
    assert len(list(notes_before_training(device, {}, WITH_CUDA_13, tmp_path / "none"))) == count


def test_several_gpus_of_a_machine_are_counted(driver):
    (driver / "gpus/0000:d8:00.0").mkdir()
    (note,) = notes_before_training("auto", {}, Torch("2.1", "11.8"), driver)
    assert "2 GPUs are visible" in note


# --- commands of own kinds ------------------------------------------------------------------------

SHOWN = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
GPU 1: NVIDIA A100-PCIE-40GB (UUID: GPU-11111111-d268-c3f3-1b07-005d5ae1dc3f)
"""


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("0", "NVIDIA A100-SXM4-40GB"),
        ("1,0", "NVIDIA A100-PCIE-40GB"),
        ("GPU-1111", "NVIDIA A100-PCIE-40GB"),
        ("MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "NVIDIA A100-SXM4-40GB MIG 3g.20gb"),
        ("GPU-2222", None),
        ("", None),
        ("NoDevFiles", None),
    ],
)
def test_the_record_of_a_command_names_the_gpu_that_it_was_given(given, name, tmp_path, monkeypatch, caplog):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{SHOWN}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = device_of_a_command({gpus.VISIBLE: given})
    assert found == (("cuda", name) if name else ("cpu", processor_name()))
    # A GPU that was given and is not there is never left out quietly.
    assert [given in message for message in caplog.messages] == [True] * (given == "GPU-2222")


def test_a_gpu_is_named_by_the_number_that_nvidia_smi_knows():
    """NVIDIA's multi-process service counts the GPUs of a job from 0; the executor says which they are."""
    assert gpus.names_of_gpus({gpus.VISIBLE: "0", "SNAKEMAKE_SUBMITIT_GPUS": "3"}) == ["3"]
    assert gpus.names_of_gpus({gpus.VISIBLE: "1,2"}) == ["1", "2"]
    assert gpus.names_of_gpus({gpus.VISIBLE: "", "SNAKEMAKE_SUBMITIT_GPUS": "3"}) == []


def test_a_machine_without_nvidia_smi_records_the_processor(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device_of_a_command({gpus.VISIBLE: "0"}) == ("cpu", processor_name())
    assert "which nvidia-smi does not show here" in caplog.text
