"""Exports of finished runs to trackers, for those who look at them there.

An export can be repeated at any time: what was exported is kept, and what has changed is replaced.
Nothing of the workflow imports this.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ablations.errors import AblationsError
from ablations.files import digest, read_text, refuse_links, write_text
from ablations.kinds.hyperparameters import spell
from ablations.runs.records import AXES, Record, read_history, read_record
from ablations.runs.run import Run

# A record's SHA-256, by which an export knows that it is of this record.
DIGEST = "record_sha256"


@dataclass(frozen=True)
class Finished:
    """A run with its record and its history, and the SHA-256 of the record's file."""

    run: Run
    record: Record
    history: Sequence[Mapping[str, float]]
    sha256: str

    def metrics(self) -> dict[str, float]:
        """What was measured of the run as a whole."""
        values = {name: getattr(self.record, name) for name in self._measured()}
        return {name: float(value) for name, value in values.items() if value is not None}

    def _measured(self) -> list[str]:
        """The columns of the record that are numbers of the run, not of its model."""
        own = [name for name, metric in self.run.kind.metrics.items() if metric.column == name]
        return list(dict.fromkeys([*own, *self.run.kind.times]))

    @property
    def seconds(self) -> float:
        """The seconds that the run took."""
        return sum(getattr(self.record, column) for column in self.run.kind.times) / 1000

    def metadata(self) -> dict[str, str]:
        """The rest of the record: where, when, with what."""
        rest = {**dict(self.record), DIGEST: self.sha256}
        for name in (*self._measured(), self.record.LONGEST):
            rest.pop(name, None)
        return {name: spell(value) for name, value in rest.items() if value is not None}

    def evaluations(self) -> list[tuple[int, float, dict[str, float]]]:
        """For each row of the history its step or epoch, its time in seconds of the epoch, and its values.

        A row without times of its own is given an equal share of the run's time.
        """
        clock = datetime.fromisoformat(self.record.started_at).timestamp()
        times = {"seconds", "test_seconds"}
        timed = all(times <= row.keys() for row in self.history)
        clock += getattr(self.record, "startup_time_ms", 0.0) / 1000 if timed else 0.0
        rows = []
        for row in self.history:
            clock += sum(row[name] for name in times) if timed else self.seconds / len(self.history)
            axis = next(name for name in AXES if name in row)
            rows.append((int(row[axis]), clock, {k: v for k, v in row.items() if k != axis}))
        return rows


def finished(runs: Iterable[Run]) -> list[Finished]:
    """Every run that has a record, checked.

    Raises AblationsError, naming the file, for a record that is damaged.
    """
    found = []
    for run in runs:
        path = Path(run.record)
        if not path.exists():
            continue
        _, record = read_record(path, {run.kind.name: run.kind})
        try:
            datetime.fromisoformat(record.started_at).timestamp()
        except (ValueError, OverflowError):
            raise AblationsError(
                f"{path}: its started_at is '{record.started_at}', which is not a time; delete it, "
                "and run the same command to repeat that run"
            ) from None
        sha256 = digest(path, "sha256")
        found.append(Finished(run, record, read_history(path.with_name("history.tsv")), sha256))
    return found


def to_tensorboard(runs: Iterable[Finished], folder: Path) -> int:
    """Write the runs as TensorBoard's event files under `folder`; return how many were new or changed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams
    except ImportError as error:
        raise _missing(error, "tensorboard") from None
    written = 0
    for each in runs:
        place = folder / Path(each.run.directory).relative_to("results/runs")
        mark = place / DIGEST
        if mark.exists() and read_text(mark) == each.sha256:
            continue
        # Event files are only ever added to.
        refuse_links(place)
        if place.exists():
            shutil.rmtree(place)
        with SummaryWriter(str(place)) as writer:
            for epoch, clock, values in each.evaluations():
                for name, value in values.items():
                    writer.add_scalar(f"epoch/{name}", value, epoch, walltime=clock)
            named = {f"run/{name}": value for name, value in each.metrics().items()}
            varied = {name: spell(value) for name, value in each.run.values().items()}
            for summary in hparams(varied, named):
                writer.file_writer.add_summary(summary)
            for name, value in named.items():
                writer.add_scalar(name, value)
            writer.add_text("record", "\n".join(f"    {k}: {v}" for k, v in each.metadata().items()))
        write_text(mark, each.sha256)
        written += 1
    return written


def to_mlflow(studies: Mapping[str, Iterable[Finished]], uri: str) -> int:
    """Write the runs to the MLflow store at `uri`, an experiment for each study.

    Returns how many were new or changed.

    Raises AblationsError for a store that cannot be reached.
    """
    try:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise _missing(error, "mlflow") from None
    written = 0
    try:
        client = MlflowClient(uri)
        for study, runs in studies.items():
            experiment = client.get_experiment_by_name(study)
            number = experiment.experiment_id if experiment else client.create_experiment(study)
            there = _mlflow_runs(client, number)
            for each in runs:
                old = there.get(each.run.record)
                if old is not None:
                    if old.data.tags.get(DIGEST) == each.sha256 and old.info.status == "FINISHED":
                        continue
                    client.delete_run(old.info.run_id)
                rows = each.evaluations()
                start = int(1000 * datetime.fromisoformat(each.record.started_at).timestamp())
                end = int(1000 * rows[-1][1]) if rows else start + int(1000 * each.seconds)
                run = client.create_run(number, start_time=start, run_name=_name(each.run))
                metrics = [
                    Metric(f"epoch/{name}", value, int(1000 * clock), epoch)
                    for epoch, clock, values in rows
                    for name, value in values.items()
                ]
                metrics += [Metric(name, value, end, 0) for name, value in each.metrics().items()]
                tags = {"record": each.run.record, **each.metadata()}
                client.log_batch(
                    run.info.run_id,
                    params=[Param(name, spell(value)) for name, value in each.run.values().items()],
                    tags=[RunTag(name, value) for name, value in tags.items()],
                )
                # A request may hold a thousand.
                for i in range(0, len(metrics), 1000):
                    client.log_batch(run.info.run_id, metrics=metrics[i : i + 1000])
                client.set_terminated(run.info.run_id, "FINISHED", end_time=end)
                written += 1
    except MlflowException as error:
        reason = str(error).strip().splitlines()[0]
        raise AblationsError(f"MLflow at {uri} did not take the runs ({reason})") from None
    return written


def _mlflow_runs(client: Any, experiment: str) -> dict[str, Any]:
    """The runs of an experiment that came from records, by the record's path."""
    found: dict[str, Any] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        found |= {run.data.tags["record"]: run for run in page if "record" in run.data.tags}
        token = page.token
        if not token:
            return found


def _name(run: Run) -> str:
    return f"{run.dataset}/{run.model}/{run.hyperparameters.canonical()}"


def _missing(error: ImportError, target: str) -> AblationsError:
    return AblationsError(
        f"{error.name} is not installed; `make {target}` installs what this export needs (envs/exports.txt)"
    )
