"""`python -m snakemake`, forked from a process that has imported it: each import takes a second of a core."""

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from threading import Lock

SERVER = """
import json, os, runpy, signal, sys
import snakemake.cli
for line in sys.stdin:
    call = json.loads(line)
    if (fork := os.fork()) == 0:
        signal.alarm(call["patience_s"])
        for number, name in enumerate((os.devnull, call["stdout"], call["stderr"])):
            os.dup2(os.open(name, os.O_RDWR), number)
        os.chdir(call["cwd"])
        os.environ.clear()
        os.environ.update(call["environment"])
        sys.argv[1:] = call["arguments"]
        runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
        break
    print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]), flush=True)
"""
_one_at_a_time = Lock()


@cache
def _server() -> subprocess.Popen[str]:
    """It ends with this process, at the end of its input."""
    # As the command `snakemake` does, it imports nothing from the working directory.
    command = [sys.executable, "-P", "-c", SERVER]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def snakemake(arguments: list[str], cwd: Path, patience_s: int) -> subprocess.CompletedProcess[str]:
    """Call it in `cwd`, and return what it printed. A signal ends it after `patience_s`."""
    with _one_at_a_time, tempfile.TemporaryDirectory() as folder:
        files = {name: f"{folder}/{name}" for name in ("stdout", "stderr")}
        for file in files.values():
            Path(file).touch()
        call = {"arguments": arguments, "cwd": str(cwd), "patience_s": patience_s, **files}
        server = _server()
        print(json.dumps({**call, "environment": dict(os.environ)}), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        printed = {name: Path(file).read_text() for name, file in files.items()}
    return subprocess.CompletedProcess(["snakemake", *arguments], status, **printed)
