"""A newer SLURM than this machine's, in a Debian root of its own, in which commands are run.

    python tests/slurm/newer_slurm.py COMMAND [ARGUMENT...]

The root is made once, by debootstrap: 0.9 GB in $NEWER_SLURM_ROOT, or below ~/.cache. COMMAND sees in it,
under their own paths, this project, its Python, and the temporary directory. Nothing outside of it changes.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SUITE = "trixie"
MIRROR = "http://deb.debian.org/debian"
# Debian's Python brings the libraries that this one is linked with.
PACKAGES = "slurm-wlm slurmdbd munge mariadb-server python3 libffi8"
INSTALL = f"""\
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends {PACKAGES}
rm -rf /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /usr/share/doc /usr/share/man
"""
# Arguments: the root, the directory to work in, the directories to bind, `--`, and the command.
ENTER = """\
root=$1 here=$2; shift 2
while [ "$1" != -- ]; do
    mkdir -p "$root$1"; mount --rbind "$1" "$root$1"; shift
done
shift
exec chroot "$root" env -C "$here" "$@"
"""


class CannotMakeError(Exception):
    """The root cannot be made or entered here; the message is for the user."""


def location() -> Path:
    """Where the root is, or will be."""
    default = Path.home() / f".cache/ablation-tables/{SUITE}-slurm"
    return Path(os.environ.get("NEWER_SLURM_ROOT") or default).absolute()


def ready_root() -> Path:
    """The root; it is made if it is missing. Raises CannotMakeError."""
    root = location()
    if os.geteuid() != 0:
        raise CannotMakeError("only root can enter a directory as the root of a process")
    root.parent.mkdir(parents=True, exist_ok=True)
    with root.with_name(f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            _make(root)
    return root


def _make(root: Path) -> None:
    if shutil.which("debootstrap") is None:
        raise CannotMakeError("debootstrap not found; as root: apt-get install debootstrap")
    part = root.with_name(f"{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    log = root.with_name(f"{root.name}.log")
    print(f"A Debian with SLURM of a newer version is installed in {root}, once …", flush=True)
    proc = [
        "sh",
        "-ec",
        'mount -t proc proc "$1/proc"; exec chroot "$1" sh -ec "$2"',
        "-",
        str(part),
        INSTALL,
    ]
    with log.open("wb") as out:
        for command in (
            ["debootstrap", "--variant=minbase", SUITE, str(part), MIRROR],
            ["unshare", "--mount", *proc],
        ):
            if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode:
                shutil.rmtree(part, ignore_errors=True)
                raise CannotMakeError(f"{command[0]} failed; {log} has what it printed")
    # With its own one, slurmdbd 24.11.5 does not start: "mysql_query failed: 5027".
    for own in part.glob("usr/lib/*/libmariadb.so.3"):
        if (here := Path("/", own.relative_to(part))).exists() and platform.freedesktop_os_release().get(
            "VERSION_CODENAME"
        ) != SUITE:
            shutil.copy2(here, own)
    part.rename(root)


def command_in(root: Path, command: list[str]) -> list[str]:
    """The command that runs another one in the root, in the working directory of this process."""
    shutil.copy2("/etc/hosts", root / "etc/hosts")
    shared = {PROJECT, Path(sys.prefix), Path(sys.base_prefix), Path(tempfile.gettempdir()), Path("/tmp")}
    shared |= {Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(":") if entry}
    shared = {path.resolve() for path in shared}
    outermost = sorted(str(path) for path in shared if not shared & set(path.parents))
    if "/usr" in outermost:
        raise CannotMakeError(
            f"the Python {sys.executable} is part of this system, and not a directory of its own"
        )
    binds = ["/proc", "/sys", "/dev", *outermost]
    return ["unshare", "--mount", "sh", "-ec", ENTER, "-", str(root), str(Path.cwd()), *binds, "--", *command]


def main() -> None:
    try:
        command = command_in(ready_root(), sys.argv[1:])
    except CannotMakeError as error:
        sys.exit(f"error: {error}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
