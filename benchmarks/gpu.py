"""What holds of the engine on this machine's GPU, in one command of at most ten minutes.

    python benchmarks/gpu.py --out DIR [--source-dir DIR]     # or: make gpu-check
    python benchmarks/gpu.py --out DIR --only speed packs     # these checks alone
    python benchmarks/gpu.py --out DIR --device cpu           # what can be checked without a GPU

It needs torch, torchvision, numpy, pydantic, safetensors, filelock, psutil, PyYAML and this checkout, and
no network. Real datasets are staged from `--source-dir`, which has the files of MNIST and FashionMNIST as
they are distributed; without it, the checks that need them are left out. Each check is a process of its
own: those that only compare bits run together, and those that measure run alone. Lines begin with PASS,
FAIL or VALUE, and lie in DIR/gpu.json too. A command that was stopped continues where it was: a check
whose lines are in DIR/gpu.json is not repeated.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

PROJECT = Path(__file__).parent.parent
# In this order: what a check answers soonest, and tells most, first.
TOGETHER = (
    "environment",
    "real_runs",
    "plain_loop",
    "replays_equal_steps",
    "resumes",
    "families",
    "failed_capture",
    "determinism",
)
ALONE = ("speed", "packs", "lanes", "kernels", "ratio", "sources", "memory", "ratio_tf32")
NEED_DATA = ("real_runs", "failed_capture")
NEED_GPU = ("speed", "memory", "kernels")
INSIDE = ("digest", "member")


def stage(source_dir: Path, folder: Path) -> None:
    """Stage the real datasets under `folder`, from the files of `source_dir`."""
    import yaml

    defined = yaml.safe_load((PROJECT / "config/datasets.yaml").read_text(encoding="utf-8"))["datasets"]
    for name in ("mnist", "fashion_mnist"):
        words = [
            "--dataset",
            name,
            "--source-dir",
            str(source_dir),
            "--definition",
            json.dumps(defined[name]),
        ]
        words += ["--sources", json.dumps({name: defined[name]["sources"]})]
        words += ["--output", str(folder / f"{name}.safetensors")]
        subprocess.run([sys.executable, str(PROJECT / "scripts/stage_dataset.py"), *words], check=True)


def inside(options: argparse.Namespace) -> None:
    """Print the lines of one check."""
    sys.path.insert(0, str(PROJECT / "benchmarks"))
    import gpu_checks
    import torch
    from ablations.training.devices import problem_of_cuda

    if options.device == "cuda" and (problem := problem_of_cuda()):
        print("FAIL", f"torch finds no usable CUDA device here: {problem}")
        return
    folder = options.out / "files" / options.only[0] if options.only[0] not in INSIDE else options.out
    folder.mkdir(parents=True, exist_ok=True)
    datasets = {path.stem: path for path in (options.out / "data").glob("*.safetensors")}
    at = gpu_checks.Setting(torch.device(options.device), folder, datasets)
    for verdict, text in getattr(gpu_checks, options.only[0])(at):
        print(verdict, text, flush=True)


def check(name: str, options: argparse.Namespace) -> dict[str, object]:
    """Run one check as a process; its lines, and the seconds it took."""
    command = [
        sys.executable,
        __file__,
        "--inside",
        "--only",
        name,
        "--device",
        options.device,
        "--out",
        str(options.out),
    ]
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, errors = process.communicate(timeout=options.patience_s)
        except subprocess.TimeoutExpired:
            end_with_children(process.pid)
            output, errors = process.communicate()[0], f"not finished after {options.patience_s} s"
    code = process.returncode
    lines = [line for line in output.splitlines() if line.split(" ")[0] in ("PASS", "FAIL", "VALUE")]
    if code != 0:
        lines.append("FAIL " + " | ".join(errors.strip().splitlines()[-6:]))
    return {"lines": lines, "seconds": round(time.monotonic() - start, 1)}


def end_with_children(pid: int, *, itself: bool = True) -> None:
    """Kill a process and all that it started: a check has runs beside its own, which would keep the GPU."""
    process = psutil.Process(pid)
    if itself:
        # Stopped, it neither starts others meanwhile nor ends by the end of these.
        process.suspend()
    for each in [*process.children(recursive=True), *([process] if itself else [])]:
        with suppress(psutil.NoSuchProcess):
            each.kill()


def stop(number: int, frame: FrameType | None) -> None:
    """At SIGTERM, end with all checks; what they found so far is in the results."""
    end_with_children(os.getpid(), itself=False)
    os._exit(128 + number)


def chosen(options: argparse.Namespace, known: Sequence[str]) -> list[str]:
    """The checks to run, of those that this machine and these files allow."""
    names = [name for name in (*TOGETHER, *ALONE) if name not in known]
    if options.only:
        names = [name for name in (*TOGETHER, *ALONE) if name in options.only]
    lacking = (NEED_DATA if not list((options.out / "data").glob("*.safetensors")) else ()) + (
        NEED_GPU if options.device == "cpu" else ()
    )
    for name in [name for name in names if name in lacking]:
        print(f"{name}: left out, for want of {'the datasets' if name in NEED_DATA else 'a GPU'}")
    return [name for name in names if name not in lacking]


def read_results(path: Path) -> dict[str, dict[str, object]]:
    """The results of checks that an earlier call made; none where the file is not what this one writes."""
    if not path.exists():
        return {}
    sys.path.insert(0, str(PROJECT / "scripts"))
    from ablations.files import read_text

    try:
        found = json.loads(read_text(path))
        if not all(isinstance(line, str) for result in found.values() for line in result["lines"]):
            raise ValueError("its lines are not text")
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        print(f"{path} cannot be read ({error}): all checks are made anew", file=sys.stderr)
        return {}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--only", nargs="+", choices=[*TOGETHER, *ALONE, *INSIDE], help="these checks alone")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--source-dir", type=Path, help="folder with the files of the datasets")
    parser.add_argument("--patience-s", type=float, default=240, help="the longest that a check may take")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(options)
        return
    signal.signal(signal.SIGTERM, stop)
    options.out = options.out.resolve()
    (options.out / "data").mkdir(parents=True, exist_ok=True)
    if options.source_dir and not list((options.out / "data").glob("*.safetensors")):
        stage(options.source_dir.resolve(), options.out / "data")
    path = options.out / "gpu.json"
    results = read_results(path)
    names = chosen(options, list(results))

    def take(name: str, result: dict[str, object]) -> None:
        results[name] = result
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"--- {name} ({result['seconds']} s)", *result["lines"], sep="\n", flush=True)  # type: ignore[misc]

    with ThreadPoolExecutor(len(TOGETHER) if options.device == "cuda" else 1) as pool:
        waiting = {pool.submit(check, name, options): name for name in names if name in TOGETHER}
        for done in as_completed(waiting):
            take(waiting[done], done.result())
    for name in names:
        if name in ALONE:
            take(name, check(name, options))
    failed = [
        name for name, result in results.items() if any(line.startswith("FAIL") for line in result["lines"])
    ]
    print(f"{len(results)} checks, {len(failed)} with a FAIL: {', '.join(failed) or 'none'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
