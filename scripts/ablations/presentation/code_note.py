"""The sentence on the code that made records, below a table and in the status."""

from collections.abc import Iterable, Mapping

from ablations.analysis.code_versions import CodeVersion, count_versions


def code_note(records: Iterable[Mapping[str, object]], runs: str = "The runs") -> list[str]:
    """A sentence with the number of `runs` of each version, if there are several; otherwise none."""
    counts = count_versions(records)
    if len(counts) < 2:
        return []
    parts = [f"{count} by {version_name(version)}" for version, count in counts.items()]
    return [f"{runs} were made by different code: {', '.join(parts[:-1])} and {parts[-1]}."]


def version_name(version: CodeVersion) -> str:
    """A version in words."""
    if version.digest:
        return f"files of digest {version.digest}"
    if version.commit is None:
        return f"version {version.workflow_version} of an unknown commit"
    how = {True: " with modifications", False: "", None: ", perhaps modified"}[version.modified]
    return f"commit {version.commit}{how}"
