"""The overview of a config's studies that every call prints first."""

from pathlib import Path

from ablations.config.config import Config


def overview(config: Config) -> str:
    """The studies with their kinds and numbers of runs, and how many runs they share."""
    rows = [("study", "kind", "runs", "title")]
    rows += [(n, study.kind.name, str(len(study.runs())), study.title) for n, study in config.studies.items()]
    width, of_kind, of_runs = (max(len(row[i]) for row in rows) for i in range(3))
    lines = [
        f"{n:<{width}}  {kind:<{of_kind}}  {count:>{of_runs}}  {title}" for n, kind, count, title in rows
    ]
    for name, kind in config.kinds.items():
        if kind.random and kind.command and "{seed}" not in kind.command:
            lines.append(f"{name}: its command has no {{seed}}, so its script must read ABLATIONS_SEED")
    runs = config.runs()
    shared = sum(len(studies) > 1 for studies in runs.values())
    noun = "run belongs" if shared == 1 else "runs belong"
    total = f"{len(runs)} runs in all"
    lines.append(f"{total}; {shared} {noun} to several studies" if shared else total)
    if config.partial:
        completed = sum(Path(run.record).exists() for run in runs)
        lines.append(f"{completed} of them are completed; with `partial`, the tables mark the others")
    return "\n".join(lines)
