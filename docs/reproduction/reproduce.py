"""Train the published studies and four more, keep their records, and make tables from what is kept.

    python docs/reproduction/reproduce.py train     # study by study; stop it at any time, and call it again
    python docs/reproduction/reproduce.py collect   # copy what is finished to docs/reproduction/
    python docs/reproduction/reproduce.py tables    # tables from what was copied
    python docs/reproduction/reproduce.py figures   # figures from what was copied

`make reproduce` trains and collects at low priority; `make reproduction` makes tables and figures.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "scripts"))

from ablations.command_line import CONFIG
from ablations.config.config import Config
from ablations.config.reading import load_config
from ablations.runs.run import Run
from ablations.tracking.plan import read_plan

HERE = PROJECT / "docs/reproduction"
STUDIES = ("part_a", "part_b", "question_2", "seed_noise", "pretraining", "normalisation", "momentum")
# The order of training: a run counts for the first of these that it is in.
ORDER = ("part_b", "question_2", "normalisation", "seed_noise", "momentum", "pretraining", "part_a")
SELECTED = ("--config", f"studies=[{', '.join(STUDIES)}]")
KEPT = ("record.tsv", "history.tsv")
# What the names of a study's tables and figures end in, and the formats that are kept.
ENDS = {"tables": ("", "_vs_published", "_effects", "_variance", "_compute"), "figures": ("", "_effects")}
SUFFIXES = {"tables": (".md", ".tsv"), "figures": (".svg",)}


def read_config() -> Config:
    """The published studies, and those of what their text leaves open."""
    return load_config([PROJECT / "config/datasets.yaml", CONFIG], {"studies": list(STUDIES)}, PROJECT)


def in_order(config: Config) -> list[Run]:
    """The runs that are not finished, study by study, and the cheap ones of each study first.

    Last come those of part A on FashionMNIST, whose published rows are those of MNIST, and its ResNet-50,
    which takes more than half of the time.
    """
    estimates = read_plan(PROJECT / "results/plan.tsv")

    def place(run: Run) -> tuple[int, bool, float]:
        study = min(map(ORDER.index, config.runs()[run]))
        is_last = (run.dataset, run.model) != ("mnist", "resnet18")
        return study, ORDER[study] == "part_a" and is_last, float(estimates[run.record]["seconds"])

    return sorted((run for run in config.runs() if not (PROJECT / run.record).exists()), key=place)


def train(cores: int) -> None:
    """Train what is not finished, as many runs at a time as there are cores."""
    snakemake(PROJECT, ["--quiet", "rules", *SELECTED, "--", "plan"])
    # Snakemake does not run its jobs in the order of its targets: it is given a few at a time.
    runs = in_order(read_config())
    for first in range(0, len(runs), cores):
        targets = [run.record for run in runs[first : first + cores]]
        snakemake(PROJECT, ["--cores", str(cores), *SELECTED, "--", *targets], must_succeed=False)
        collect()


def collect() -> None:
    """Copy the records and histories of finished runs, and the counts of their models."""
    config = read_config()
    finished = [run for run in config.runs() if (PROJECT / run.record).exists()]
    files = [PROJECT / run.directory / name for run in finished for name in KEPT]
    counted = {(run.dataset, run.model) for run in finished if run.kind.models_are_counted}
    files += [PROJECT / config.profile_path(*key) for key in sorted(counted)]
    copy((file for file in files if file.exists()), PROJECT / "results", HERE)
    print(f"{len(finished)} of {len(config.runs())} runs are finished and in {HERE.relative_to(PROJECT)}")


def copy(files: Iterable[Path], source: Path, target: Path) -> None:
    """Copy files to the same places under another directory."""
    for file in files:
        new = target / file.relative_to(source)
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, new)


def make(what: str, target: Path) -> None:
    """Make the tables or the figures of the records that are kept, under `target`."""
    studies = read_config().studies
    names = [
        f"{what}/{study}{end}"
        for study in STUDIES
        for end in ENDS[what]
        if end != "_vs_published" or studies[study].published
    ]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        copy((path for path in HERE.rglob("*.tsv") if "tables" not in path.parts), HERE, work / "results")
        preview = work / "results/preview"
        files = [preview / f"{name}{suffix}" for name in names for suffix in SUFFIXES[what]]
        targets = [str(file.relative_to(work)) for file in files]
        snakemake(work, ["--cores", "2", *SELECTED, "--", *targets])
        copy(files, preview, target)


def snakemake(directory: Path, arguments: Sequence[str], *, must_succeed: bool = True) -> None:
    """Call Snakemake as a user does, in a directory."""
    words = ["--snakefile", str(PROJECT / "Snakefile"), "--directory", str(directory)]
    words += ["--profile", str(PROJECT / "profiles/local")]
    subprocess.run([sys.executable, "-m", "snakemake", *words, *arguments], cwd=directory, check=must_succeed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["train", "collect", "tables", "figures"])
    parser.add_argument("--cores", type=int, default=2, help="runs at the same time")
    parser.add_argument("--to", type=Path, default=HERE, help="where tables or figures go")
    options = parser.parse_args()
    if options.what == "train":
        train(options.cores)
    elif options.what == "collect":
        collect()
    else:
        make(options.what, options.to)


if __name__ == "__main__":
    main()
