"""Jobs of an earlier call whose command has changed: submitted again if they wait, and left if they run."""

import json
from types import SimpleNamespace

import pytest
from snakemake_executor_plugin_submitit.adoption import Adoption
from snakemake_executor_plugin_submitit.clusters.base import Phase, State
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.identity import work_digest
from snakemake_executor_plugin_submitit.private_folder import make_private
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.results import Result, write_result
from snakemake_executor_plugin_submitit.submissions import Submissions, WaitingJob


class Earlier:
    """What an earlier call left: one job with two members, and the call that finds it."""

    def __init__(self, folder, word: str, *works: str | None) -> None:
        self.cancelled, self.said = [], []
        make_private(folder)
        members = [
            {"key": f"key{i}", "outputs": [f"out{i}"], "log": "log"}
            | ({} if work is None else {"work": work})
            for i, work in enumerate(works)
        ]
        self.submission = Submission.create(folder, "it", "it", [members])
        self.submission.jobs = ["7"]
        self.submission.save()
        cluster = SimpleNamespace(
            name="it",
            states=lambda submissions: {"7": State(Phase.ALIVE, word)},
            cancel=lambda jobs: self.cancelled.extend(jobs) or [],
        )
        logger = SimpleNamespace(info=self.said.append)
        self.folder, self.adoption = folder, Adoption(cluster, Submissions(), logger, 30.0)

    def find(self) -> "Earlier":
        self.adoption.find(self.folder)
        return self

    def take_over(self, *works: str) -> list[bool]:
        """Which members a call takes over whose jobs would execute these works."""
        jobs = [
            WaitingJob(
                SimpleNamespace(jobid=i, input=[], output=[f"out{i}"]), request_of({}, 1, 1), f"key{i}"
            )
            for i in range(len(works))
        ]
        taken = []
        for job, work in zip(jobs, works, strict=True):
            found = self.adoption.take_over(job, lambda waiting, work=work: work)
            if found is not None:
                found.tracked.waited_for.add((found.pack, found.member))
            taken.append(found is not None)
        self.adoption.without_conflicts([job for job, was in zip(jobs, taken, strict=True) if not was])
        return taken


@pytest.mark.parametrize(
    ("word", "before", "now", "taken", "said"),
    [
        ("PENDING", ("a", "b"), ("a", "b"), [True, True], 0),
        ("PENDING", ("a", "b"), ("c", "d"), [False, False], 0),
        # The pack is ended as a whole, unless a part of it was taken over.
        ("PENDING", ("a", "b"), ("c", "b"), [False, False], 0),
        ("PENDING", ("a", "b"), ("a", "c"), [True, True], 1),
        ("RUNNING", ("a", "b"), ("c", "d"), [True, True], 2),
        # Of an earlier version, and jobs that start Snakemake.
        ("PENDING", (None, ""), ("c", "d"), [True, True], 0),
    ],
)
def test_a_changed_job_is_submitted_again_only_if_it_waits(word, before, now, taken, said, tmp_path):
    earlier = Earlier(tmp_path / "submitit", word, *before).find()
    assert earlier.take_over(*now) == taken
    assert earlier.cancelled == ([] if any(taken) else ["7"])
    kept = [line for line in earlier.said if "another command or other threads now" in line]
    assert len(kept) == said
    reasons = ["it has begun"] * (word == "RUNNING") + ["other jobs in it are taken over"] * 2
    for line, why in zip(kept, reasons, strict=False):
        assert line.endswith(f"job 7 of an earlier call keeps the earlier ones: {why}."), line


def test_what_has_succeeded_is_taken_over_whatever_its_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out0").touch()
    earlier = Earlier(tmp_path / "submitit", "PENDING", "a")
    write_result(earlier.submission.results, 0, 0, Result(0))
    assert earlier.find().take_over("b") == [True]


@pytest.mark.parametrize(
    ("changed", "equal"),
    [({}, True), ({"latency_s": 9}, True), ({"command": "b"}, False), ({"threads": 2}, False)],
)
def test_the_digest_is_of_what_is_executed(changed, equal):
    described = {"command": "a", "executable": "/bin/bash", "threads": 1, "latency_s": 5}
    assert (work_digest(json.dumps(described)) == work_digest(json.dumps(described | changed))) == equal
    assert work_digest("") == ""
