"""Runs that a controller hands to packs that run already: small files, each claimed by one side only.

<submission>/places/P.open          pack P takes runs: how many run at the same time, and until when
<submission>/places/P-M.handed      the controller has handed member M to pack P, which has not taken it
<submission>/places/P-M.taken       the pack has taken it, and runs it again after a requeue
<submission>/places/P-M.withdrawn   it was withdrawn, by the controller or the pack, and never runs there

A run changes its state by a rename of its file, which succeeds for one side only, whoever dies when. What is
taken stays with its pack like the members that were submitted with it.

This module imports the standard library only.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from snakemake_executor_plugin_submitit.manifest import ManifestMember, is_member
from snakemake_executor_plugin_submitit.results import read_json, write_json

# Below the folder of a submission.
FOLDER = "places"
HANDED, TAKEN, WITHDRAWN = "handed", "taken", "withdrawn"
_HANDED_NAME = re.compile(rf"([0-9]{{1,9}})-([0-9]{{1,9}})\.({HANDED}|{TAKEN}|{WITHDRAWN})")
_OPEN_NAME = re.compile(r"([0-9]{1,9})\.open")


class HandedRun(NamedTuple):
    """A run that was handed to a pack, and what has become of it."""

    pack: int
    member: int
    state: str


@dataclass(frozen=True)
class OpenPack:
    """What a running pack says of itself.

    `until` is when its allocation ends, in seconds since the epoch. `started` differs for each attempt.
    `kind` is what its members asked for: see `kind_of`. An earlier version did not write it.
    """

    places: int
    until: float
    started: float
    kind: str = ""


def list_places(folder: Path) -> tuple[list[HandedRun], list[int]]:
    """The runs that were handed over, in the order of their numbers, and the packs that are open."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return [], []
    handed = [
        HandedRun(int(found[1]), int(found[2]), found[3])
        for name in names
        if (found := _HANDED_NAME.fullmatch(name))
    ]
    opened = [int(found[1]) for name in names if (found := _OPEN_NAME.fullmatch(name))]
    return sorted(handed), sorted(opened)


def run_path(folder: Path, run: HandedRun) -> Path:
    """The file of a run in its state."""
    return folder / f"{run.pack}-{run.member}.{run.state}"


def claim(folder: Path, pack: int, member: int, state: str) -> bool:
    """Take or withdraw a run that was handed over; False if it has another state by now.

    The pack alone takes. Both sides withdraw, and both may then be told that they did. A rename that a file
    server carried out and did not confirm shows by its result.
    """
    path = run_path(folder, HandedRun(pack, member, state))
    try:
        path.with_suffix(f".{HANDED}").rename(path)
    except OSError:
        return path.exists()
    return True


def hand(folder: Path, pack: int, member: int, content: dict[str, Any]) -> None:
    """Hand a run to a pack. Raises OSError if it was not handed over.

    It was if its file is there despite an error: a file server may carry out the rename and not confirm it.
    """
    try:
        write_json(run_path(folder, HandedRun(pack, member, HANDED)), content)
    except OSError:
        # In the order in which the other side may change it meanwhile.
        states = (HANDED, TAKEN, WITHDRAWN)
        if not any(run_path(folder, HandedRun(pack, member, state)).exists() for state in states):
            raise


def read_handed(folder: Path, run: HandedRun) -> dict[str, Any] | None:
    """What was handed over; None if it cannot be read, or another version wrote it."""
    content = read_json(run_path(folder, run))
    return content if isinstance(content, dict) and is_member(content.get("described")) else None


def open_path(folder: Path, pack: int) -> Path:
    """The file that says that a pack is open."""
    return folder / f"{pack}.open"


def read_open(folder: Path, pack: int) -> OpenPack | None:
    """What an open pack says of itself; None if it cannot be read."""
    content = read_json(open_path(folder, pack))
    try:
        found = OpenPack(**content)
    except TypeError:
        return None
    numbers = (found.places, found.until, found.started)
    valid = all(isinstance(each, int | float) for each in numbers) and isinstance(found.kind, str)
    return found if valid else None


def handed_members(submission: Path, packs: list[int]) -> dict[tuple[int, int], ManifestMember]:
    """The members that were handed to the packs of a submission, which have `packs` members without them.

    A member of a pack is left out from the first one that cannot be read. One that was withdrawn has no key
    and no outputs. `made_at` is when the member was handed over.
    """
    folder, counts = submission / FOLDER, list(packs)
    found: dict[tuple[int, int], ManifestMember] = {}
    for run in list_places(folder)[0]:
        if run.pack >= len(counts) or run.member != counts[run.pack]:
            continue
        content = read_handed(folder, run)
        if content is None:
            continue
        described: ManifestMember = content["described"]
        if run.state == WITHDRAWN:
            described = withdrawn(described)
        try:
            made_at = run_path(folder, run).stat().st_mtime
        except OSError:
            continue
        counts[run.pack] += 1
        found[run.pack, run.member] = {**described, "made_at": made_at}
    return found


def withdrawn(described: ManifestMember) -> ManifestMember:
    """A member that does not run in its pack: no job is like it, and it writes nothing."""
    return {**described, "key": "", "outputs": []}
