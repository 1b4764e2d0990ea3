"""A call that leaves its jobs: at SIGHUP, or because it was told to (`--submitit-detach`)."""

import logging
import re
import signal
from types import SimpleNamespace

import pytest
from queues import PATIENCE_S
from snakemake_executor_plugin_submitit.leaving import HANGUP_STATUS, QUIET_LOOKS, Departure
from snakemake_executor_plugin_submitit.submissions import Count, Submissions, WaitingJob
from test_executor import Workflow


@pytest.fixture
def hangup_is_heard():
    """Whoever starts the tests by nohup has the signal ignored, in every process that they start too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup_is_heard")
@pytest.mark.parametrize("way", ["detach", "SIGHUP, and Snakemake in each job"])
def test_a_call_leaves_its_jobs_and_the_next_one_takes_them_over(way, tmp_path):
    """An allocation runs them in turn: the second starts when no call is there."""
    workflow = Workflow(tmp_path, "until [ -e go{wildcards.i} ]; do sleep 0.1; done")
    # On a busy machine, Snakemake hands over the three jobs one by one.
    in_turn = ["--submitit-waves", "3", "--submitit-array-parallelism", "1", "--submitit-linger", "3"]
    in_turn += ["--submitit-direct", "never"] if "Snakemake" in way else []
    workflow.start(*in_turn, *(["--submitit-detach"] if way == "detach" else []))
    workflow.wait_for(lambda: begun(workflow))
    workflow.wait_for(lambda: sum(map(int, re.findall(r"submitted: (\d+) job", workflow.printed))) == 3)
    if way != "detach":
        workflow.process.send_signal(signal.SIGHUP)
    assert workflow.process.wait(PATIENCE_S) == (0 if way == "detach" else HANGUP_STATUS), workflow.printed
    assert "This call leaves 3 jobs in the queue or running, and 1 job of the workflow" in workflow.printed
    assert "rror" not in workflow.printed, "to leave is not a failure"
    assert not list((tmp_path / ".snakemake/locks").glob("*")), "the directory is free"
    (tmp_path / f"go{begun(workflow)[0]}").touch()
    workflow.wait_for(lambda: len(begun(workflow)) == 2)
    workflow.start(*in_turn)
    workflow.wait_for(lambda: workflow.printed.count("is taken over") >= 2)
    for i in range(3):
        (tmp_path / f"go{i}").touch()
    assert workflow.process.wait(PATIENCE_S) == 0, workflow.printed
    assert workflow.done() == ["0", "1", "2"]
    assert [workflow.began(i) for i in range(3)] == [1, 1, 1]


def begun(workflow: Workflow) -> list[int]:
    return [i for i in range(3) if workflow.began(i)]


def departure(detach: bool = True) -> tuple[Departure, SimpleNamespace, list[Count]]:
    """One in a call that runs two jobs, both submitted."""
    scheduler = SimpleNamespace(
        running=[1, 2], remaining_jobs=[3], executor_error_callback=lambda error: None, failed=set()
    )
    workflow = SimpleNamespace(scheduler=scheduler, dag=SimpleNamespace(ready_jobs=set()))
    counts = [Count(2, 0)]
    submissions = SimpleNamespace(count=lambda: counts[0])
    before = signal.getsignal(signal.SIGHUP)
    try:
        return Departure(workflow, submissions, logging.getLogger("test"), detach), workflow, counts
    finally:
        signal.signal(signal.SIGHUP, before)


def is_due_soon(leaving: Departure) -> bool:
    return any(leaving.is_due() for _ in range(QUIET_LOOKS + 1))


def test_a_call_leaves_when_all_ready_jobs_are_submitted():
    assert is_due_soon(departure()[0])


@pytest.mark.parametrize("detach", [True, False])
def test_a_call_stays_until_snakemake_has_its_scheduler(detach):
    leaving, workflow, _ = departure(detach)
    scheduler, workflow.scheduler = workflow.scheduler, None
    leaving._hang_up(signal.SIGHUP, None)
    assert not is_due_soon(leaving)
    workflow.scheduler = scheduler
    assert is_due_soon(leaving)


@pytest.mark.parametrize("failed", [0, 1, 300])
@pytest.mark.parametrize("hung_up", [False, True])
def test_a_call_that_leaves_tells_by_its_status_whether_jobs_have_failed(
    failed, hung_up, monkeypatch, caplog
):
    """A script that requeues a controller at SIGHUP's own status must see that one, whatever failed."""
    leaving, workflow, _ = departure()
    workflow.scheduler.failed = set(range(failed))
    monkeypatch.setattr(logging, "disable", lambda level: None)
    leaving._hung_up = hung_up
    with caplog.at_level("INFO"):
        leaving.begin()
    assert leaving.status == (HANGUP_STATUS if hung_up else int(failed > 0))
    assert ("failed before" in caplog.text) == (failed > 0)


def test_without_detach_a_call_stays():
    assert not is_due_soon(departure(detach=False)[0])


@pytest.mark.parametrize(
    ("why", "running", "count"),
    [
        ("a local job runs", [1, 2, 3], Count(2, 0)),
        ("nothing is submitted", [1, 2], Count(0, 2)),
        ("a job has ended and Snakemake has not heard", [1, 2], Count(1, 0)),
    ],
)
def test_a_call_does_not_leave_while(why, running, count):
    leaving, workflow, counts = departure()
    workflow.scheduler.running, counts[0] = running, count
    assert not is_due_soon(leaving), why


def test_a_call_does_not_leave_while_more_jobs_come():
    leaving, workflow, counts = departure()
    for number in range(3, 20):
        workflow.scheduler.running = list(range(number))
        counts[0] = Count(number, 0)
        assert not leaving.is_due()
    assert is_due_soon(leaving)


def test_jobs_without_room_in_the_queue_are_left_to_the_next_call():
    leaving, workflow, counts = departure()
    workflow.scheduler.running, counts[0] = [1, 2, 3], Count(2, 1)
    assert is_due_soon(leaving)


@pytest.mark.parametrize("why", ["room", "held"])
def test_jobs_that_wait_for_room_or_for_a_place_are_not_about_to_be_submitted(why):
    submissions = Submissions()
    submissions.add(WaitingJob(None, None, "a"), WaitingJob(None, None, "b", **{why: True}))
    assert submissions.count() == Count(0, 1)


def test_a_call_that_is_to_outlive_its_terminal_stays():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        Departure(None, None, None, detach=False)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
