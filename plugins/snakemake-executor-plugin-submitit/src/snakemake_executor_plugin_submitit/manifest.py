"""The manifest of a submission, as it is read again: what it says is checked before anything is done by it.

Whoever unpacks somebody else's directory owns its files, and so the owner of a manifest proves nothing.
This module imports the standard library only.
"""

import re
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from snakemake_executor_plugin_submitit.results import read_json

# An id of a submission, and of a job: a number, with that of its task in an array.
SUBMISSION_ID, JOB_ID = re.compile(r"[0-9a-f]{12}"), re.compile(r"[0-9]+(_[0-9]+)?", re.ASCII)


class ManifestMember(TypedDict):
    """A member as the manifest lists it: the identity of its job, its outputs, and the path of its log.

    `made_at` is given for a member that was handed over later: see `places`. `work` is a digest of what a
    direct job executes; an earlier version did not write it.
    """

    key: str
    outputs: list[str]
    log: str
    made_at: NotRequired[float]
    work: NotRequired[str]


def read_manifest(folder: Path, number: str) -> dict[str, Any] | None:
    """The manifest in `folder`, of the submission with the id `number`; None if it is not one.

    It has at least `id`, `name`, `cluster`, `packs` (lists of what may be members) and `jobs` (ids). The name
    of its jobs ends with the id, so that no other jobs of the user are meant.
    """
    path = folder / "manifest.json"
    try:
        if path.is_symlink():
            return None
    except OSError:
        return None
    content = read_json(path)
    return content if isinstance(content, dict) and _is_manifest(content, number) else None


def _is_manifest(content: dict[str, Any], number: str) -> bool:
    name, packs, jobs = content.get("name"), content.get("packs"), content.get("jobs")
    return (
        content.get("id") == number
        and SUBMISSION_ID.fullmatch(number) is not None
        and isinstance(name, str)
        and name.endswith(f"-{number}")
        and isinstance(content.get("cluster"), str)
        and isinstance(packs, list)
        and all(isinstance(pack, list) for pack in packs)
        and isinstance(jobs, list)
        and all(isinstance(job, str) and JOB_ID.fullmatch(job) for job in jobs)
        and len(jobs) in (0, len(packs))
    )


def is_member(member: object) -> bool:
    """Whether this is what a manifest lists for a member."""
    if not isinstance(member, dict) or not isinstance(member.get("outputs"), list):
        return False
    texts = (member.get("key"), member.get("log"), member.get("work", ""), *member["outputs"])
    made_at = member.get("made_at", 0.0)
    number = isinstance(made_at, int | float) and not isinstance(made_at, bool)
    return number and all(isinstance(text, str) for text in texts)
