"""The overview of a config's studies that every call prints first."""

from pathlib import Path

from ablations.config.config import Config


def overview(config: Config) -> str:
    """The studies with their kinds and numbers of runs, and how many runs they share."""
    runs = config.runs()
    width = max(map(len, config.studies))
    lines = [f"{'study':<{width}}  kind  runs  title"]
    for name, study in config.studies.items():
        lines.append(f"{name:<{width}}  {study.kind.name:<4}  {len(study.runs()):>4}  {study.title}")
    shared = sum(len(studies) > 1 for studies in runs.values())
    noun = "run belongs" if shared == 1 else "runs belong"
    total = f"{len(runs)} runs in all"
    lines.append(f"{total}; {shared} {noun} to several studies" if shared else total)
    if config.partial:
        completed = sum(Path(run.record).exists() for run in runs)
        lines.append(f"{completed} of them are completed; with `partial`, the tables mark the others")
    return "\n".join(lines)
