"""A copy of the project to run in, and Snakemake to run there."""

import shutil
import subprocess
from pathlib import Path

import forked

PROJECT = Path(__file__).parent.parent
# How long a test waits for what should come; nothing is measured by it. It ends a test that would never
# end, and is long enough for the slowest machine.
PATIENCE_S = 1800
PARTS = ("Snakefile", "Makefile", "config", "rules", "scripts", "envs", "profiles", "examples")


class Checkout:
    """A fresh copy of the project, as a user has it after cloning."""

    def __init__(self, root: Path, like: "Checkout | None" = None) -> None:
        """A clean one, or one in the state of another, with all its results."""
        self.root = root
        if like is not None:
            shutil.copytree(like.root, root)
            return
        root.mkdir(parents=True)
        for part in PARTS:
            if (PROJECT / part).is_dir():
                # A compiled file that is being written has such a name, and may be gone before it is copied.
                shutil.copytree(PROJECT / part, root / part, ignore=shutil.ignore_patterns("*.pyc.*"))
            else:
                shutil.copy2(PROJECT / part, root / part)

    @classmethod
    def existing(cls, root: Path) -> "Checkout":
        """The one that is at `root`."""
        checkout = cls.__new__(cls)
        checkout.root = root
        return checkout

    def snakemake(self, *arguments: str, profile: str = "local") -> subprocess.CompletedProcess[str]:
        """Run Snakemake as a user does, and return what it printed; an empty `profile` names none."""
        named = ["--profile", f"profiles/{profile}"] if profile else []
        return forked.snakemake([*named, *arguments], self.root, PATIENCE_S)

    def config(self, text: str) -> str:
        """Write a config and return its name, for --configfile."""
        (self.root / "my.yaml").write_text(text)
        return "my.yaml"

    def shorten_quickstart(self) -> None:
        """Leave its networks half of their images, and its larger studies half of their points or fewer."""
        path = self.root / "config/quickstart.yaml"
        written = path.read_text()
        for old, new, count in (
            ("batch_size: [32, 64]", "batch_size: 32", 1),
            ("train_samples: 960", "train_samples: 480", 3),
            ("          - {optimizer: sgd, lr: 0.03, epochs: 2, pin_memory: true}\n", "", 1),
            ("          - {optimizer: adam, lr: 0.0003, epochs: 2, pin_memory: false}\n", "", 1),
            ("seeds: [0, 1, 2]", "seeds: [0, 1]", 1),
            ("train_samples: [500, 1000]", "train_samples: 1000", 1),
        ):
            assert written.count(old) == count, old
            written = written.replace(old, new)
        path.write_text(written)

    def records(self) -> dict[str, int]:
        """Every record on disk with the time of its last change, in nanoseconds."""
        return {
            str(path.relative_to(self.root)): path.stat().st_mtime_ns
            for path in sorted(self.root.glob("results/runs/**/record.tsv"))
        }


def jobs(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """How many jobs of each rule a Snakemake call had to run, read from its job statistics."""
    counts: dict[str, int] = {}
    lines = done.stderr.splitlines() + done.stdout.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("Job stats:")), None)
    if start is None:
        return counts
    for line in lines[start + 3 :]:
        if not line.strip():
            break
        rule, count = line.split()
        counts[rule] = int(count)
    counts.pop("total", None)
    return counts
