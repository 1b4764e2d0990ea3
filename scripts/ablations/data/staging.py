"""Staging: a dataset is fetched from the first source that has its files, verified, and stored once.

It needs a network, and so runs on the login node. Runs only open the stored file.
"""

import hashlib
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors.numpy import save_file

from ablations.data import formats
from ablations.data.image_folders import read_image_folder
from ablations.data.sources import StagingRequest, sources_of, verified
from ablations.data.staged import PARTS, read_metadata
from ablations.errors import AblationsError
from ablations.files import atomic_path, first_existing

log = logging.getLogger(__name__)


def stage(request: StagingRequest, output: Path) -> None:
    """Write the dataset to `output`, verified and atomically.

    Several processes may call it at once: one stages the dataset, and the others wait for it.

    Raises AblationsError if no source provides verified files. The message names each source with its
    reason, and says which files you can put where. An `output` that exists already then stays.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(output.parent / f".{output.name}.lock"):
        if output.exists():
            try:
                if read_metadata(output)["definition"] == request.definition.identity():
                    log.info("%s is already staged", output)
                    return
            except AblationsError as error:
                log.warning("%s", error)
        arrays, source, contents = _obtain(request)
        formats.check(request.name, request.definition, arrays)
        content = hashlib.sha256()
        for part in PARTS:
            content.update(arrays[part].tobytes())
        metadata = {
            "name": request.name,
            "definition": request.definition.identity(),
            "definition_digest": request.definition.digest(),
            "source": source,
            "sha256": content.hexdigest(),
            **contents,
        }
        with atomic_path(output) as temporary:
            save_file(
                {part: np.ascontiguousarray(arrays[part]) for part in PARTS},
                temporary,
                metadata={"dataset": json.dumps(metadata)},
            )
        log.info("staged %s from %s as %s", request.name, source, output)


def _obtain(request: StagingRequest) -> tuple[formats.Arrays, str, dict[str, Any]]:
    """The arrays of the dataset, the label of the source of its files, and what a folder of them holds."""
    name, definition = request.name, request.definition
    if definition.format == "digits":
        return formats.read_digits(), "scikit-learn", {}
    if definition.format == "image_folder":
        folder = first_existing(str(definition.path), request.roots)
        arrays, found = read_image_folder(name, definition, folder)
        return arrays, str(definition.path), found.described()
    problems = []
    for label, fetch in sources_of(request):
        with tempfile.TemporaryDirectory(prefix="staging-") as temporary:
            deadline = time.monotonic() + request.timeout_s
            try:
                contents = {
                    role: verified(file, fetch(file.name, Path(temporary), deadline))
                    for role, file in definition.files.items()
                }
            except Exception as error:  # a source may fail in any way, and the next one is tried
                log.warning("%s: %s: %s", name, label, error)
                problems.append(f"  {label}: {error}")
                continue
        try:
            return formats.decode(definition.format, contents), label, {}
        except ValueError as error:
            raise AblationsError(
                f"{name}: its files match their digests, but cannot be read as "
                f"{definition.format} ({error}); correct datasets.{name}.format"
            ) from None
    raise AblationsError(_nowhere(request, problems))


def _nowhere(request: StagingRequest, problems: list[str]) -> str:
    names = ", ".join(file.name for file in request.definition.files.values())
    folder = request.source_dir or Path("FOLDER")
    named = "" if request.source_dir else f", and set source_dir: {folder} in the config"
    return (
        f"no source has the files of {request.name}:\n"
        + "\n".join(problems)
        + f"\nput {names} into {folder / request.name}/{named}; then rerun the same command"
    )
