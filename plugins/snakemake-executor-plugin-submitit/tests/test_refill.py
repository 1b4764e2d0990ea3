"""Further runs for packs that run: each is run once, whoever dies when, and none is forgotten."""

import signal
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.free_places import FreePlaces
from snakemake_executor_plugin_submitit.holdings import read_packs
from snakemake_executor_plugin_submitit.member import Member
from snakemake_executor_plugin_submitit.pack import Pack
from snakemake_executor_plugin_submitit.places import (
    FOLDER,
    HANDED,
    TAKEN,
    WITHDRAWN,
    HandedRun,
    OpenPack,
    claim,
    hand,
    handed_members,
    list_places,
    open_path,
    run_path,
)
from snakemake_executor_plugin_submitit.private_folder import make_private
from snakemake_executor_plugin_submitit.refill import Opening, Refill
from snakemake_executor_plugin_submitit.resources import kind_of, request_of
from snakemake_executor_plugin_submitit.results import Result, write_json
from snakemake_executor_plugin_submitit.submissions import (
    Submissions,
    SubmittedMember,
    TrackedSubmission,
    WaitingJob,
)
from test_executor import Workflow, jobs_of, kill
from test_pack import Allocation, wait_for

REQUEST = request_of({"runtime": 10, "mem_mb": 100}, 1, 2)


def described(name: str) -> dict:
    return {"key": f"key of {name}", "outputs": [f"done/{name}"], "log": f"{name}.log"}


def give(root: Path, number: int, command: str, runtime_min: int = 1) -> None:
    """Hand a run to pack 0 of the submission in `root`."""
    work = {"command": command, "log": str(root / f"{number}.log"), "memory_mb": None, "direct": ""}
    content = {"described": described(str(number)), "runtime_min": runtime_min, "work": work}
    hand(root / FOLDER, 0, number, content)


def states(root: Path) -> dict[int, str]:
    return {run.member: run.state for run in list_places(root / FOLDER)[0]}


@pytest.fixture
def root(tmp_path):
    make_private(tmp_path / FOLDER)
    return tmp_path


@pytest.mark.parametrize(("first", "second"), [(TAKEN, WITHDRAWN), (WITHDRAWN, TAKEN)])
def test_one_side_alone_claims_a_run(first, second, root):
    give(root, 1, "true")
    assert claim(root / FOLDER, 0, 1, first)
    assert not claim(root / FOLDER, 0, 1, second)
    assert claim(root / FOLDER, 0, 1, first), "a rename that the server did not confirm"
    assert states(root) == {1: first}


@pytest.mark.parametrize("state", [None, HANDED, TAKEN, WITHDRAWN])
def test_a_run_is_handed_over_if_its_file_is_there_despite_an_error(state, root, monkeypatch):
    """It may be taken by then; handed to another pack too, it would run twice."""

    def write(path, content):
        write_json(path, content)
        if state is None:
            path.unlink()
        elif state != HANDED:
            claim(root / FOLDER, 0, 1, state)
        raise OSError("the server did not answer")

    monkeypatch.setattr("snakemake_executor_plugin_submitit.places.write_json", write)
    with pytest.raises(OSError, match="did not answer") if state is None else nullcontext():
        give(root, 1, "true")
    assert states(root) == ({} if state is None else {1: state})


def test_members_are_numbered_without_those_that_cannot_be_read(root):
    for number in (2, 3, 5):
        give(root, number, "true")
    claim(root / FOLDER, 0, 3, WITHDRAWN)
    run_path(root / FOLDER, HandedRun(1, 1, HANDED)).write_text("{")
    found = handed_members(root, [2, 1])
    assert list(found) == [(0, 2), (0, 3)], "4 is missing, so 5 is of another version"
    assert [member["key"] for member in found.values()] == ["key of 2", ""]


# --- the pack ------------------------------------------------------------------------------------


def test_free_places_take_runs_that_fit_into_the_time_left(root):
    """The members wait for each other: the one that was handed over runs beside the first."""
    pack = Allocation(root, "until [ -e second ]; do sleep 0.05; done", places=2, refill_s=0.2)
    give(root, 1, "exit 7", runtime_min=11)
    give(root, 2, "touch second; exit 3")
    assert pack.run() == 0
    assert states(root) == {1: WITHDRAWN, 2: TAKEN}
    assert pack.results() == {0: 0, 2: 3}, "its own status, and nothing of the one that would not fit"
    assert not open_path(root / FOLDER, 0).exists(), "its places were given back"


@pytest.mark.parametrize("work", [{"command": "true", "newer": 1}, {}, None, ["true"]])
def test_a_pack_gives_back_what_another_version_described(work, root):
    """Once taken, it would run nowhere: its controller would wait for it."""
    content = {"described": described("1"), "runtime_min": 1, "work": work}
    hand(root / FOLDER, 0, 1, content)
    places = FreePlaces(root, 0, 60, time.time() + 3000)
    places.open(1, "")
    assert places.take(1) == []
    assert states(root) == {1: WITHDRAWN}
    assert places.members == {}


def test_a_pack_runs_what_it_has_taken_again_after_a_requeue(root):
    slow = "trap 'exit 1' TERM; echo begun >> began; until [ -e go ]; do sleep 0.05; done"
    pack = Allocation(root, "true", places=1, refill_s=60)
    give(root, 1, slow)
    process = pack.start()
    wait_for(lambda: (root / "began").exists())
    give(root, 2, "touch third")
    process.send_signal(signal.SIGUSR2)
    assert process.wait(60) == 99, "it is requeued"
    assert states(root) == {1: TAKEN, 2: HANDED}, "it takes no more when it ends"
    (root / "go").touch()
    process = pack.start()
    wait_for(lambda: len(pack.results()) == 3)
    open_path(root / FOLDER, 0).unlink()
    assert process.wait(60) == 0, "its controller may close it"
    assert pack.results() == {0: 0, 1: 0, 2: 0}
    assert pack.lines("began") == ["begun"] * 2


@pytest.mark.parametrize("others", [0o077, None], ids=["open to others", "missing"])
def test_a_pack_takes_nothing_from_a_folder_that_is_not_private(others, root):
    give(root, 1, "touch planted")
    if others is None:
        (root / FOLDER).rename(root / "elsewhere")
    else:
        (root / FOLDER).chmod(0o700 | others)
    pack = Allocation(root, "true", refill_s=5)
    assert pack.run() == 0
    assert pack.results() == {0: 0}
    assert not (root / "planted").exists()


# --- the controller ------------------------------------------------------------------------------


class Queue:
    """What the queue's last answer said."""

    def __init__(self) -> None:
        self.over, self.waiting, self.asked_at = set(), set(), 0.0

    def is_over(self, job):
        return job in self.over

    def is_waiting(self, job):
        return job in self.waiting


class Controller:
    """A controller with packs that run, of two places each."""

    def __init__(self, root: Path, packs: int = 1, parallel: int = 1) -> None:
        self.queue, self.submissions = Queue(), Submissions()
        self.refill = Refill(self.submissions, self.queue, parallel)
        members = [[described(f"{pack}-0")] for pack in range(packs)]
        self.submission = Submission.create(root, "test", "slurm", members)
        self.submission.jobs = [f"7_{pack}" for pack in range(packs)]
        self.submission.folder.mkdir(mode=0o700)
        make_private(self.places)
        self.tracked = TrackedSubmission(self.submission, request=REQUEST)
        self.submissions.tracked[self.submission.id] = self.tracked
        for pack in range(packs):
            self.open(pack)

    @property
    def places(self) -> Path:
        return self.submission.folder / FOLDER

    def open(self, pack: int, **changes) -> None:
        content = OpenPack(2, time.time() + 3000, time.time(), kind_of(REQUEST))
        write_json(open_path(self.places, pack), content.__dict__ | changes)

    def hand(self, pack: int = 0) -> SubmittedMember:
        said = OpenPack(2, 0.0, 0.0)
        number = Opening(self.tracked, pack, said).hand(described(f"{pack}-x"), 10, {})
        self.refill.look()
        return SubmittedMember(self.submission, pack, number, WaitingJob(None, REQUEST, ""))


def test_a_run_goes_where_most_room_is(tmp_path):
    controller = Controller(tmp_path, packs=2)
    controller.hand(pack=0)
    assert controller.refill.free() == {kind_of(REQUEST): 1}
    assert controller.refill.place_for(REQUEST).pack == 1
    controller.hand(pack=1)
    assert controller.refill.place_for(REQUEST) is None
    for pack in (0, 1, 0, 1):
        assert controller.refill.place_for(REQUEST, ahead=True).pack == pack
        controller.hand(pack)
    assert controller.refill.place_for(REQUEST, ahead=True) is None, "one for each place"


@pytest.mark.parametrize(("parallel", "handed", "left", "wait"), [(1, 3, 0, 4), (2, 3, 2, 2), (9, 1, 6, 0)])
def test_runs_wait_only_where_no_further_pack_may_be_submitted(parallel, handed, left, wait, tmp_path):
    """One place is free, and one run for each of the two places is handed over ahead."""
    controller = Controller(tmp_path, parallel=parallel)
    controller.refill.look()
    jobs = [WaitingJob(None, REQUEST, str(i)) for i in range(7)]

    def hand_over(waiting, opening):
        opening.hand(described(waiting.key), 10, {})

    assert len(controller.refill.hand_over(jobs, 2, hand_over)) == left
    assert len(states(controller.submission.folder)) == handed
    assert len(controller.submissions.take_ready(0)) == wait


@pytest.mark.parametrize(
    ("runtime_min", "mem_mb", "fits"), [(10, 100, True), (49, 100, True), (51, 100, False), (10, 200, False)]
)
def test_a_run_fits_by_its_request_and_its_length(runtime_min, mem_mb, fits, tmp_path):
    refill = Controller(tmp_path).refill
    refill.look()
    request = request_of({"runtime": runtime_min, "mem_mb": mem_mb}, 1, 2)
    assert (refill.place_for(request) is not None) == fits


def test_places_are_sought_until_one_job_finds_none(tmp_path, monkeypatch):
    """With thousands of jobs and hundreds of packs, to seek one for each takes longer than a look."""
    controller, sought = Controller(tmp_path), []
    controller.refill.look()
    place_for = controller.refill.place_for
    monkeypatch.setattr(
        controller.refill, "place_for", lambda *asked: sought.append(asked) or place_for(*asked)
    )
    jobs = [WaitingJob(None, REQUEST, str(i)) for i in range(1000)]
    handed = []

    def hand_over(waiting, opening):
        handed.append(waiting.key)
        opening.hand(described(waiting.key), 10, {})

    assert controller.refill.hand_over(jobs, 2, hand_over) == []
    assert handed == ["0", "1", "2"]
    assert len(sought) == 5
    assert len(controller.submissions.take_ready(0)) == 997


@pytest.mark.parametrize("kind", [kind_of(request_of({"mem_mb": 200}, 1, 2)), "", None, 7])
def test_a_pack_takes_only_what_it_was_submitted_for(kind, tmp_path):
    """This call's request is the one that its jobs have now; an earlier version wrote no kind."""
    controller = Controller(tmp_path)
    controller.open(0, kind=kind)
    if kind is None:
        path = open_path(controller.places, 0)
        write_json(path, {"places": 2, "until": time.time() + 3000, "started": 1.0})
    controller.refill.look()
    assert controller.refill.place_for(REQUEST) is None
    controller.submissions.add(WaitingJob(None, REQUEST, ""))
    assert controller.submissions.take_ready(9, controller.refill.free()) == [], "it waits for others"


def test_a_pack_that_returned_a_run_has_no_free_place(tmp_path):
    controller = Controller(tmp_path)
    member = controller.hand()
    returns_it(controller)
    controller.refill.look()
    assert controller.refill.is_returned(member)
    assert controller.refill.free() == {}


def test_a_pack_that_returned_a_run_may_take_a_shorter_one_or_another_attempt_may(tmp_path):
    controller = Controller(tmp_path)
    member = controller.hand()
    returns_it(controller)
    controller.refill.look()
    assert controller.refill.is_returned(member)
    assert controller.refill.place_for(REQUEST) is None
    assert controller.refill.place_for(replace(REQUEST, runtime_min=9)) is not None
    controller.open(0, started=time.time() + 60)
    controller.refill.look()
    assert controller.refill.place_for(REQUEST) is not None, "it was requeued, and has its whole time again"


@pytest.mark.parametrize("arriving", [False, True], ids=["", "while others arrive"])
def test_a_full_queue_does_not_keep_runs_from_free_places(arriving, tmp_path):
    """No allocation is tried for them: they wait for room again if the place is gone."""
    controller = Controller(tmp_path)
    controller.refill.look()
    later = time.monotonic() + 60
    controller.submissions.add(*(WaitingJob(None, REQUEST, str(i), since=later, room=True) for i in range(5)))
    if arriving:
        controller.submissions.add(WaitingJob(None, replace(REQUEST, cpus=2), "other"))
    assert controller.submissions.take_ready(9) == []
    taken = controller.submissions.take_ready(9, controller.refill.free())
    assert [each.key for each in taken] == ["0"]
    assert controller.submissions.with_room(taken) == []
    assert controller.submissions.count().without_room == 5


def test_a_network_file_system_lists_again_what_a_pack_has_ended_or_taken(root, monkeypatch):
    """It may have been listed on this node before; a run that has ended would begin again."""
    listed = []
    for module in ("pack", "free_places"):
        monkeypatch.setattr(
            f"snakemake_executor_plugin_submitit.{module}.refresh", lambda folder: listed.append(folder)
        )
    monkeypatch.setattr("snakemake_executor_plugin_submitit.pack.has_result", lambda *of: bool(listed))
    monkeypatch.chdir(root)
    monkeypatch.setattr(Pack, "_listen", lambda self: None)
    (root / "results").mkdir()
    pack = Pack(
        0, [Member("touch begun", "one.log", None)], 1, str(root / "results"), str(root), {}, 5, 60, 1
    )
    pack()
    assert listed == [root / "results"]
    assert not (root / "begun").exists()
    FreePlaces(root, 0, 60, time.time() + 3000).open(1, "")
    assert len(listed) == 2


def closes(controller):
    open_path(controller.places, 0).unlink()


def is_killed(controller):
    controller.queue.over.add("7_0")


def waits_again(controller):
    controller.queue.waiting.add("7_0")
    controller.queue.asked_at = time.monotonic() + 1


def returns_it(controller):
    claim(controller.places, 0, 1, WITHDRAWN)


def nothing(controller):
    pass


def takes_it(controller):
    claim(controller.places, 0, 1, TAKEN)


def takes_it_and_closes(controller):
    takes_it(controller)
    closes(controller)


def takes_it_unseen_and_closes(controller):
    closes(controller)
    controller.refill.look()
    takes_it(controller)


@pytest.mark.parametrize(
    ("happens", "returned"),
    [(closes, True), (is_killed, True), (waits_again, True), (returns_it, True), (nothing, False),
     (takes_it, False), (takes_it_and_closes, False)],
)  # fmt: skip
def test_a_run_is_placed_again_only_if_its_pack_will_never_run_it(happens, returned, tmp_path):
    controller = Controller(tmp_path)
    member = controller.hand()
    happens(controller)
    controller.refill.look()
    assert controller.refill.is_returned(member) == returned
    assert controller.refill.is_returned(member) == returned
    if returned:
        assert not claim(controller.places, 0, 1, TAKEN)
        assert controller.refill.place_for(REQUEST) is None, "not where it came from"


def test_a_run_that_is_taken_after_the_look_is_not_placed_again(tmp_path):
    controller = Controller(tmp_path)
    member = controller.hand()
    takes_it_unseen_and_closes(controller)
    assert not controller.refill.is_returned(member)


def test_a_run_that_waits_for_a_place_moves_to_a_free_one(tmp_path):
    controller = Controller(tmp_path, packs=2)
    for pack in (0, 1, 0):
        member = controller.hand(pack)
    assert not controller.refill.is_returned(member), "no other place is free"
    controller.tracked.results[1, 0] = Result(0)
    controller.refill.look()
    assert controller.refill.is_returned(member)
    assert controller.refill.place_for(REQUEST).pack == 1


def test_the_next_call_takes_back_what_no_pack_has_taken(tmp_path):
    folder = tmp_path / ".snakemake/submitit"
    make_private(folder)
    controller = Controller(folder)
    controller.submission.save()
    controller.hand()
    controller.hand()
    takes_it(controller)
    assert set(read_packs(tmp_path)) == {"done/0-0", "done/0-x"}
    found = Submission.load(controller.submission.folder)
    found.take_back()
    assert not claim(controller.places, 0, 2, TAKEN)
    assert [member["key"] for member in found.packs[0]] == ["key of 0-0", "key of 0-x", ""]
    assert set(read_packs(tmp_path)) == {"done/0-0", "done/0-x"}


# --- both ----------------------------------------------------------------------------------------

ONE_PACK = ("--submitit-pack", "2", "--submitit-array-parallelism", "1", "--submitit-waves", "9")


def test_one_allocation_runs_all(tmp_path):
    workflow = Workflow(tmp_path, "[ {wildcards.i} != 4 ] || exit 7", jobs=7)
    assert workflow.run(*ONE_PACK, "--submitit-refill", "3") == 1
    assert workflow.done() == ["0", "1", "2", "3", "5", "6"]
    assert workflow.printed.count("has been submitted") == 1
    assert [workflow.began(i) for i in range(7)] == [1] * 7
    workflow.wait_for(lambda: not jobs_of(tmp_path))


def test_after_a_crash_nothing_that_was_handed_over_runs_twice(tmp_path):
    """The first two runs end at once; the next two end after the crash."""
    waits = "until [ -e go ]; do sleep 0.05; done"
    workflow = Workflow(tmp_path, f"mkdir first || mkdir second || {waits}", jobs=6)
    workflow.start(*ONE_PACK, "--submitit-refill", "60")
    workflow.wait_for(lambda: sum(workflow.began(i) for i in range(6)) == 4)
    workflow.wait_for(lambda: len(list(tmp_path.glob(".snakemake/submitit/*/places/*.handed"))) == 2)
    kill(workflow)
    workflow.start("--nolock", *ONE_PACK, "--submitit-refill", "1")
    workflow.wait_for(lambda: workflow.printed.count("is taken over") >= 2)
    (tmp_path / "go").touch()
    assert workflow.process.wait(60) == 0, workflow.printed
    assert [workflow.began(i) for i in range(6)] == [1] * 6
    assert len(workflow.done()) == 6
