"""What chaos trains: a count of steps, resumed from a checkpoint, that reports whoever trains beside it.

python chaos_trainee.py --steps N --seed N CHECKPOINTS LEDGER

LEDGER is a folder outside of the project, on a disk that is never full. A file `violations` there names a run
that had two writers; in a file `hunger` there are the megabytes that the next step takes.
"""

import argparse
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

STEP_S = 0.3

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int)
parser.add_argument("--seed", type=int)
parser.add_argument("checkpoints", type=Path)
parser.add_argument("ledger", type=Path)
options = parser.parse_args()
name = f"steps={options.steps}+seed={options.seed}"
stopped = []
signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))

with (options.ledger / f"{name}.lock").open("a") as lock:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with (options.ledger / "violations").open("a") as file:
            print(f"two writers train {name}, one of them process {os.getpid()}", file=file)
    checkpoint = options.checkpoints / "state.json"
    state = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"step": 0, "x": options.seed + 1}
    while state["step"] < options.steps and not stopped:
        time.sleep(STEP_S)
        hunger = options.ledger / "hunger"
        taken = hunger.with_name(f"taken-{os.getpid()}")
        if hunger.exists():
            hunger.rename(taken)
            held = bytearray(int(taken.read_text()) << 20)
            held[::4096] = b"x" * len(held[::4096])
            time.sleep(5)
            del held
        state = {"step": state["step"] + 1, "x": (1103515245 * state["x"] + 12345) % 2**31}
        new = checkpoint.with_suffix(".new")
        new.write_text(json.dumps(state))
        new.rename(checkpoint)
    if state["step"] < options.steps:
        sys.exit(143)
print(json.dumps({"score": state["x"] / 2**31}))
