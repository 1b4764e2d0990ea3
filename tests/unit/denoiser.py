"""A kind of one's own with metrics of every noise, its studies and its records."""

from collections.abc import Callable, Mapping

from ablations.config.studies.study import Study, study_model
from ablations.kinds import Kind
from ablations.kinds.hyperparameters import Hyperparameters, spell
from ablations.kinds.kind import Duration
from ablations.kinds.metrics import Metric
from ablations.kinds.record import Record
from ablations.runs.run import Run


class Denoising(Hyperparameters):
    depth: int
    width: int = 8
    seed: int


DENOISER = Kind(
    name="denoiser",
    noun="denoisers",
    rule="run_denoiser",
    threads=1,
    hyperparameters=Denoising,
    record=Record,
    metrics={
        "psnr": Metric("psnr", "PSNR", 2, "unknown", "dB", "higher"),
        "restored": Metric(
            "restored",
            "Restored",
            3,
            "proportion",
            better="higher",
            items=200,
            answers="which",
            noun="patches",
        ),
        "artefacts": Metric("artefacts", "Artefacts", 1, "proportion", "%", "lower", scale=100, items="seen"),
        "run_time_ms": Metric("run_time_ms", "Run time", 0, "time", "ms", "lower"),
        "weights": Metric("weights", "Weights", 1, "exact", "k", "lower", scale=1e-3),
        "norm": Metric("norm", "Norm", 1, "unknown"),
    },
    is_random=True,
    has_history=True,
    models_are_counted=False,
    duration=Duration((), lambda images, macs: 1.0),
    costs=("run_time_ms", "weights"),
    times=("run_time_ms",),
    places=(),
    fixed={"dataset": "none", "model": "none"},
    labels={"depth": "Depth"},
)


def denoiser(analyse: list[str], seeds: tuple[int, ...] = (0, 1, 2, 3, 4), **grid: list[int]) -> Study:
    written = {
        "title": "Denoisers",
        "kind": "denoiser",
        "grid": [grid or {"depth": [4, 8], "width": [8, 16]}],
        "seeds": list(seeds),
        "table": {"rows": ["depth", "width"], "values": analyse},
    }
    return study_model(DENOISER).model_validate(written, strict=True)


def measure(study: Study, values: Callable[[Run], Mapping[str, object]]) -> dict[Run, dict[str, str]]:
    """Records of a kind of one's own, on one device if `values` names no other."""
    machine = {"status": "ok", "device": "cpu", "device_name": "A processor", "threads": 1}
    return {
        run: {name: spell(value) for name, value in {**run.values(), **machine, **values(run)}.items()}
        for run in study.runs()
    }
