"""The statement on compute for the appendix of a paper: runs, times, intervals, seeds, versions and code."""

from collections.abc import Iterable, Sequence

from ablations.analysis.code_versions import count_versions
from ablations.analysis.compute import Compute, energy_metric, reports_memory
from ablations.analysis.effects import effects
from ablations.analysis.inference import Noise
from ablations.analysis.measurements import Record, Records
from ablations.config.studies.study import Study
from ablations.kinds.metrics import PEAK_MEMORY
from ablations.presentation.code_note import version_name
from ablations.presentation.question_notes import PAIRED_TESTS
from ablations.presentation.study_table import SPREADS
from ablations.presentation.wording import in_sentence, labels, listed

# Columns of a record -> what has this version.
VERSIONS = {
    "workflow_version": "Ablation Tables",
    "python_version": "Python",
    "torch_version": "torch",
    "torchvision_version": "torchvision",
    "scikit_learn_version": "scikit-learn",
    "numpy_version": "NumPy",
}
# The test of a comparison by what its noise is.
TESTS: dict[Noise, str] = {
    "seeds": "{test} over the seeds",
    "settings": "{test} over the settings of the other hyperparameters",
    "items": "a paired test over the {nouns} (McNemar's exact test for one pair of runs)",
    "model": "",
}
# What the peak memory is, by the type of the device: of a built-in kind, and of a command.
MEMORY = {"cpu": "of its process on a CPU", "cuda": "of torch's allocator on a GPU"}
MEMORY_OF_COMMAND = {
    "cpu": "of all its processes, looked at once a second",
    "cuda": "of its GPU, or of the fullest of several, looked at once a second",
}
# What the counters of the machine are of, as a record names them.
COUNTERS = {"RAPL": "all sockets of its machine (RAPL)", "NVML": "its GPUs (NVML)"}
# What the times of built-in kinds leave out.
STARTED_OVER = (
    "Attempts after which a run started over, because its device, its data or its version of torch had "
    "changed, are not counted."
)
SECONDS = {"hours": 3600.0, "minutes": 60.0}


def statement(
    study: Study, records: Records, found: Sequence[Compute], whole: Compute
) -> list[tuple[str, str]]:
    """The paragraphs, each as its heading and its sentences; `whole` is the sum of `found`, by device."""
    runs = [records[run] for run in study.runs() if run in records]
    paragraphs = {
        "Compute": _compute(study, len(runs), found, whole),
        "Seeds and intervals": [*_seeds(study), *_intervals(study, records)],
        "Versions": _versions(study, runs),
    }
    return [(heading, " ".join(sentences)) for heading, sentences in paragraphs.items() if sentences]


# --- the first paragraph -------------------------------------------------------------------------


def _compute(study: Study, completed: int, found: Sequence[Compute], whole: Compute) -> list[str]:
    planned, unit = len(study.runs()), unit_of(whole)
    points = len(study.points())
    of_points = f", in {_count(points, 'setting')}" if points < planned else ""
    noun = f" of {study.kind.noun}" * study.kind.is_shipped
    sentences = [f"The study has {_count(planned, 'run')}{noun}{of_points}."]
    if study.records:
        return [*sentences, "They were run elsewhere; what they took is not known here."]
    if study.choose:
        chosen = labels(study, study.choose.over)
        by = in_sentence(study.kind.metrics[study.choose.by].label)
        sentences.append(f"They include every {chosen} that was tried; the {by} chose among these.")
    if whole.attempts:
        time = _time(whole.seconds, unit)
        sentences.append(f"{_count(whole.attempts, 'attempt')} took {time} in all{_devices(found, unit)}.")
        sentences += _parts(whole, completed, unit)
    if waiting := planned - completed:
        idle = waiting - whole.unfinished
        have = "has" if idle == 1 else "have"
        if idle == waiting:
            sentences.append(f"Preliminary: {_count(idle, 'run')} {have} not begun.")
        else:
            of_idle = f"; {idle} of them {have} not begun" * bool(idle)
            sentences.append(f"Preliminary: {_count(waiting, 'run')} {_is(waiting)} not finished{of_idle}.")
    if whole.attempts:
        sentences += _scope(study, found, whole)
    return sentences + _measured(study, found, whole)


def _devices(found: Sequence[Compute], unit: str) -> str:
    """The devices, with what each of several took."""
    if len(found) == 1:
        return f", on {device_text(found[0])}"
    each_took = (
        f"{_count(each.runs, 'run')} with {_time(each.seconds, unit)} on {device_text(each)}"
        for each in found
    )
    return f": {listed(each_took)}"


def _parts(whole: Compute, completed: int, unit: str) -> list[str]:
    """What of the time is not that of the attempts that completed a run."""
    finished = completed - whole.diverged
    parts = [
        (whole.final_s, f"final attempts of the {_count(finished, 'completed run')}"),
        (whole.earlier_s, "earlier attempts at them, which failed, were stopped or were preempted"),
        (whole.diverged_s, f"{_count(whole.diverged, 'run')} that diverged"),
        (
            whole.unfinished_s,
            f"attempts at {_count(whole.unfinished, 'run')} that {_is(whole.unfinished)} not finished",
        ),
    ]
    texts = [f"{_time(seconds, unit)} are of {what}" for seconds, what in parts if seconds]
    if len(texts) == 1 and whole.final_s and not (whole.diverged or whole.unfinished):
        return ["Each run needed one attempt, as far as is known, and none diverged."]
    return [f"Of these, {listed(texts)}."] if texts else []


def _scope(study: Study, found: Sequence[Compute], whole: Compute) -> list[str]:
    """What the times count, and what they do not."""
    sentences = []
    if packed := {each.device: max(each.shared) for each in found if max(each.shared, default=1) > 1}:
        most = listed(f"{count} runs shared {device}" for device, count in packed.items())
        sentences.append(
            f"Times are added up over runs. Up to {most} at a time, so a device was busy for less time than "
            "this sum."
        )
    elif whole.shared:
        sentences.append("No job held several runs at a time; other jobs may have shared its machine.")
    if whole.untimed:
        words = ("its duration and is") if whole.untimed == 1 else ("their duration and are")
        sentences.append(f"{_count(whole.untimed, 'run')} did not record {words} not counted.")
    sentences.append(
        "Each attempt records its own duration; a killed attempt counts up to its last record. Runs that "
        "other studies share are included. Runs outside of the grid, such as excluded ones, are not."
    )
    if study.kind.is_shipped:
        sentences.append(STARTED_OVER)
    return sentences


def _measured(study: Study, found: Sequence[Compute], whole: Compute) -> list[str]:
    sentences = []
    if whole.memory_mb is not None:
        types = {each.type for each in found if each.memory_mb is not None}
        texts = MEMORY if study.kind.is_shipped else {} if reports_memory(study.kind) else MEMORY_OF_COMMAND
        measured = [text for type_, text in texts.items() if type_ in types]
        what = f"{whole.memory_mb:,.0f} MB" + (f" ({listed(measured)})" if measured else "")
        sentences.append(f"The largest {PEAK_MEMORY.label.lower()} of a run was {what}.")
    return sentences + _energy(study, whole)


def _energy(study: Study, whole: Compute) -> list[str]:
    if whole.energy_kwh is None:
        return ["Energy was not measured."]
    of_last = " of their final attempts" if whole.attempts > whole.runs else ""
    some = f"{whole.metered:,} of the {whole.runs:,} runs" if whole.metered < whole.runs else "the runs"
    total = f"{amount(whole.energy_kwh)} kWh"
    if energy := energy_metric(study):
        return [f"The energy that {some} report{of_last} ({energy.label}) adds up to {total}."]
    ways = [listed(COUNTERS.get(name, name) for name in each.split(";")) for each in sorted(whole.counters)]
    return [
        f"The energy of {some}{of_last} adds up to {total}, by the counters of {' or of '.join(ways)}.",
        "They count all that uses a socket or a GPU while a run is at work. So this sum counts the energy of "
        "runs at the same time on one machine several times.",
    ]


# --- the second ----------------------------------------------------------------------------------


def _seeds(study: Study) -> list[str]:
    if not study.kind.is_random:
        return ["Nothing in these runs is random, and they have no seeds."]
    first, last, count = min(study.seeds), max(study.seeds), len(study.seeds)
    if count == 1:
        return [f"Each setting has one run, with seed {first}; the noise of seeds is not known."]
    is_range = count > 3 and set(study.seeds) == set(range(first, last + 1))
    seeds = f"{first} to {last}" if is_range else listed(map(str, study.seeds))
    return [f"The {count} seeds of each setting are {seeds}."]


def _intervals(study: Study, records: Records) -> list[str]:
    """How the intervals and tests of the study's tables are made."""
    sentences = []
    if study.kind.is_random and len(study.seeds) > 1:
        sentences.append(SPREADS[study.table.spread].format(f"these {len(study.seeds)} seeds") + ".")
    tests: dict[str, None] = {}
    has_ratios = by_model = False
    for name in study.analysed:
        metric = study.kind.metrics[name]
        for effect in effects(study, records, name):
            if effect.comparison and effect.comparison.p is not None:
                text = TESTS[effect.comparison.noise].format(nouns=metric.noun, test=PAIRED_TESTS[study.test])
                by_model |= not text
                tests |= {text: None} if text else {}
                has_ratios |= metric.noise == "time"
    every = f"comparisons of {labels(study, study.primary)}" if study.primary else "all comparisons"
    if tests:
        same_seed = " and have the same seed" * study.kind.is_random
        sentences.append(
            "Two levels of a hyperparameter are compared over runs that differ in nothing "
            f"else{same_seed}: by {listed(tests)}."
        )
    if by_model:
        sentences.append(
            "Where no two runs differ in one hyperparameter alone, a linear model of all main effects makes "
            "the comparison."
        )
    if tests or by_model:
        sentences.append(
            "95 % intervals are those of single comparisons, and p-values are two-sided, with Holm's "
            f"correction over {every} of a metric."
        )
    if study.base:
        over = f"those of {labels(study, study.primary)}" if study.primary else "them"
        sentences.append(
            f"Differences to the baseline are paired likewise, with Holm's correction over {over}."
        )
    if has_ratios:
        sentences.append("Times are compared as ratios, on the log scale, between runs on the same device.")
    return sentences


# --- the third -----------------------------------------------------------------------------------


def _versions(study: Study, runs: Sequence[Record]) -> list[str]:
    if not runs or study.records:
        return []
    found = {name: _levels(runs, column) for column, name in VERSIONS.items()}
    versions = [f"{name} {' or '.join(values)}" for name, values in found.items() if values]
    sentences = [f"The runs used {listed(versions)}."] if versions else []
    if not study.kind.is_shipped:
        sentences.append("The versions of what their command uses are not recorded.")
    counts = count_versions(runs)
    names = [version_name(each) + " without modifications" * (each.modified is False) for each in counts]
    if len(names) > 1:
        names = [
            f"{name} ({_count(count, 'run')})" for name, count in zip(names, counts.values(), strict=True)
        ]
    sentences.append(f"Their code was {listed(names)}.")
    if digests := _levels(runs, "model_sha256"):
        files = listed(digest[:12] for digest in digests)
        sentences.append(
            f"The networks of the authors were built by files whose SHA-256 begins with {files}."
        )
    if digests := _levels(runs, "model_imports_sha256"):
        files = listed(digest[:12] for digest in digests)
        sentences.append(f"The digest of what these import from their folder begins with {files}.")
    return sentences


def _levels(runs: Iterable[Record], column: str) -> list[str]:
    return list(dict.fromkeys(run[column] for run in runs if column in run))


# --- words ---------------------------------------------------------------------------------------


def unit_of(whole: Compute) -> str:
    """The unit in which readers see the times of a study."""
    return "hours" if whole.seconds >= SECONDS["hours"] else "minutes"


def in_unit(seconds: float, unit: str) -> float:
    """Seconds as hours or minutes."""
    return seconds / SECONDS[unit]


def amount(value: float) -> str:
    """A measured amount with two or three digits: `1,234`, `12.3`, `0.42`."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def device_text(each: Compute) -> str:
    """A device, with the threads that a run had of a processor: `EPYC 9554 (2 threads)`."""
    if not each.device:
        return "a device that is not known"
    if each.type != "cpu" or not each.threads:
        return each.device
    threads = " or ".join(map(str, sorted(each.threads)))
    return f"{each.device} ({threads} {'thread' if threads == '1' else 'threads'})"


def _time(seconds: float, unit: str) -> str:
    return f"{amount(in_unit(seconds, unit))} {unit}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)


def _is(number: int) -> str:
    return "is" if number == 1 else "are"
