"""A stub of SLURM's commands that gives wrong, late or no answers, which a real SLURM does not do on demand.

`sbatch` starts each task of a script as a process after DELAY_S seconds. `squeue` prints the state STATE, and
the reason that follows it, for every job until the job is cancelled, whatever the job does. What a real SLURM
does is tested with a real one.
"""

import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

# How long a test waits for what should come; nothing is measured by it.
PATIENCE_S = 1800
COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "srun")


def install(folder: Path, **settings: str) -> dict[str, str]:
    """Put the commands into `folder`; return the environment in which they are found."""
    folder.mkdir()
    for name in COMMANDS:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {**os.environ, "QUEUE": str(folder), "PATH": f"{folder}:{os.environ['PATH']}", **settings}


def size_of(script: str) -> int:
    """How many tasks its array has; 0 for no array."""
    array = re.search(r"^#SBATCH --array=0-(\d+)", Path(script).read_text(), re.M)
    return int(array.group(1)) + 1 if array else 0


def sbatch(queue: Path, script: str) -> None:
    text, count = Path(script).read_text(), size_of(script)
    number = len(list(queue.glob("job-*"))) + 100
    name = re.search(r"^#SBATCH --job-name=(\S+)", text, re.M).group(1)
    (queue / f"job-{number}").write_text(f"{name} {count}")
    # SLURM runs its own copy too; submitit renames the script as soon as it knows the number.
    copy = queue / f"script-{number}"
    copy.write_text(text)
    for task in range(count or 1):
        environment = {**os.environ, "SLURM_JOB_ID": str(number)}
        if count:
            environment |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(task)}
        if os.environ.get("RUNS", "yes") == "yes":
            delay = os.environ.get("DELAY_S", "0")
            subprocess.Popen(
                ["sh", "-c", f"sleep {delay}; exec bash {copy}"],
                env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
    print(f"Submitted batch job {number}")


def squeue(queue: Path) -> None:
    time.sleep(float(os.environ.get("SLOW_S", "0")))
    with (queue / "asked").open("a") as file:
        file.write(f"{time.time()}\n")
    if (queue / "silent").exists():
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller")
    state = (queue / "state").read_text() if (queue / "state").exists() else os.environ["STATE"]
    if state == "GONE":
        return
    state, _, reason = state.partition(" ")
    for path in sorted(queue.glob("job-*")):
        name, count = path.read_text().split()
        number = path.name.removeprefix("job-")
        if number in cancelled(queue):
            continue
        for task in range(int(count)) if int(count) else [None]:
            print(f"{number}{'' if task is None else f'_{task}'}|{state}|{reason}|{name}")


def cancelled(queue: Path) -> dict[str, set[str]]:
    """The tasks that were cancelled, by the number of their array."""
    path, found = queue / "cancelled", {}
    for word in path.read_text().split() if path.exists() else []:
        number, _, tasks = word.partition("_")
        found.setdefault(number, set()).update(tasks.strip("[]").split(","))
    return found


if __name__ == "__main__":
    folder, command = Path(os.environ["QUEUE"]), sys.argv[1]
    if command == "sbatch" and size_of(sys.argv[2]) > int(os.environ.get("LARGEST", "1000")):
        sys.exit("sbatch: error: QOSMaxSubmitJobPerUserLimit")
    elif command == "sbatch" and (folder / "refuses").exists():
        # The error that it prints, and whether it accepts the job nevertheless.
        said, taken = (folder / "refuses").read_text().split("|")
        if taken == "taken":
            sbatch(folder, sys.argv[2])
        sys.exit(f"sbatch: error: {said}")
    elif command == "sbatch":
        sbatch(folder, sys.argv[2])
    elif command == "squeue":
        squeue(folder)
    elif command == "scancel":
        time.sleep(float(os.environ.get("SLOW_CANCEL_S", "0")))
        with (folder / "cancelled").open("a") as lines:
            lines.write("\n".join(sys.argv[2:]) + "\n")
    elif command == "scontrol":
        time.sleep(float(os.environ.get("SLOW_START_S", "0")))
        print(f"MaxArraySize = {os.environ.get('MAX_ARRAY_SIZE', '1001')}")
    elif command == "sinfo":
        print(os.environ.get("NODES", ""))
    elif command == "sacct":
        # Without accounting.
        sys.exit("Slurm accounting storage is disabled")
