"""The identity of a job: which jobs of two calls are the same, and how a job is named in the queue."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface


def job_key(job: JobExecutorInterface) -> str:
    """A key that two jobs share if everything that is known to determine their outputs is equal."""
    kept = [
        {
            "rule": each.name,
            "params": _params(each),
            "input": sorted(map(str, each.input)),
            "output": sorted(map(str, each.output)),
        }
        for each in (job.jobs if job.is_group() else [job])
    ]
    kept.sort(key=lambda of_job: (of_job["rule"], of_job["output"]))
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


def work_digest(direct: str) -> str:
    """A digest of what a direct job executes, from its description; nothing for any other job."""
    if not direct:
        return ""
    described = json.loads(direct)
    executed = [described["command"], described["executable"], described["threads"]]
    return hashlib.sha256(json.dumps(executed).encode()).hexdigest()


def queue_comment(jobs: Sequence[JobExecutorInterface]) -> str:
    """The comment in the queue from which a person can tell what the jobs are."""
    if len(jobs) > 1:
        names = sorted({job.name for job in jobs})
        return f"{len(jobs)} jobs of {' and '.join(names)}"
    wildcards = _properties(jobs[0]).get("wildcards") or {}
    text = f"rule_{jobs[0].name}"
    text += f"_wildcards_{'_'.join(map(str, wildcards.values()))}" if wildcards else ""
    return text if text.isprintable() else f"rule_{jobs[0].name}"


def _params(job: JobExecutorInterface) -> str:
    """A job's params as text that is equal in every process.

    It reads them from the job: `properties` omits all params if one of them is not JSON.
    """
    params = getattr(job, "params", None)
    given = _properties(job).get("params", {}) if params is None else [dict(params.items()), list(params)]
    # The `repr` of an object without a value contains its address, which differs between processes.
    return re.sub(r" at 0x[0-9a-f]+", "", _text(given))


def _text(value: object) -> str:
    """`repr` with the items of sets and mappings in order."""
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{_text(key)}: {_text(each)}' for key, each in value.items()))}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)


def _properties(job: JobExecutorInterface) -> dict[str, Any]:
    return dict(json.loads(job.properties()))
