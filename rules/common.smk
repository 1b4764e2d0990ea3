# From the config to the runs, and the few helpers that rules share.

import hashlib
import json
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

ROOT = Path(workflow.basedir)
# Relative where that is possible: what Snakemake prints can then be pasted and read.
SCRIPTS = "scripts" if Path.cwd() == ROOT else shlex.quote(str(ROOT / "scripts"))
ENVIRONMENT = "../envs/environment.yaml"

sys.path.insert(0, str(ROOT / "scripts"))

from ablations.config.reading import load_config
from ablations.tracking.plan import PLAN, read_plan, time_limit_min
from ablations.tracking.controller import remove_locks_of_the_dead
from ablations.errors import AblationsError
from ablations.kinds import KINDS
from ablations.runs.run import parse_hyperparameters

# The scripts run in the environment that Snakemake was started from, activated or not, unless each has
# one of its own by `--software-deployment-method conda`.
#
# With `exec` a signal reaches the run itself. A shell between would die of it at once, its job end, and
# the run be killed before it has written its checkpoint. (It is not in the commands, which are printed
# to be pasted into a living shell.)
ACTIVATE = (
    ""
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    else f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
)
shell.prefix(f"set -euo pipefail; {ACTIVATE}exec ")


def asked_for_runs():
    """The targets that are runs, for a call that asks for nothing but runs by their paths.

    The workflow is not told its targets while it is parsed; the command line has them. Refuses a path
    that is misspelled, before Snakemake wraps the sentence in a traceback.
    """
    runs = []
    others = False
    for word in sys.argv[1:]:
        parts = word.split("/")
        if parts[:2] == ["results", "runs"] and len(parts) == 7 and parts[2] in KINDS:
            try:
                parse_hyperparameters(KINDS[parts[2]], parts[5])
            except AblationsError as error:
                raise WorkflowError(f"{word} is no target.\n{error}")
            runs.append(word)
        elif parts[0] == "results" or word in (
            "all",
            "stage",
            "preview",
            "design",
            "plan",
        ):
            others = True
    return [] if others else runs


def read_config(expand):
    """The checked config. Without --configfile it is config/config.yaml.

    With `expand=False` the list of runs is not made, nor what follows from it checked.

    Snakemake's own `config` is not used: it drops duplicate keys, merges a `--configfile` into the
    default one, and replaces `studies` by the selection `--config 'studies=[a]'`.
    """
    settings = workflow.config_settings
    files = [Path(file) for file in settings.configfiles] or [
        ROOT / "config/config.yaml"
    ]
    try:
        return load_config(
            [ROOT / "config/datasets.yaml", *files], settings.config, ROOT, expand
        )
    except AblationsError as error:
        raise WorkflowError(f"The config is not valid.\n{error}")


# A job was planned by a call that checked all of the studies, and a call for single runs is none of
# their business: both are spared the list of runs, which may be long.
WHOLE = workflow.is_main_process and not asked_for_runs()
CONFIG = read_config(expand=WHOLE)
DATA = CONFIG.data_dir

RULES = {kind.name: kind.rule for kind in KINDS.values()}
THREADS = {kind.rule: kind.threads for kind in KINDS.values()}


wildcard_constraints:
    dataset="|".join(map(re.escape, CONFIG.datasets)),
    model=r"[A-Za-z0-9_]+",
    hyperparameters=r"[^/]+",
    study="|".join(map(re.escape, CONFIG.studies)),


def untracked(**values):
    """For `params`: what changes no result, and so is not to run anything again when it changes.

    Snakemake compares params between calls, but a namespace it cannot compare.
    """
    return SimpleNamespace(**values)


def script_path(name):
    """For `params`: the path of a rule's script, as it is called in a shell."""
    return untracked(path=f"{SCRIPTS}/{name}.py")


@cache
def hyperparameters_of(kind, text):
    """The hyperparameters that a part of a run's path spells."""
    try:
        return parse_hyperparameters(KINDS[kind], text)
    except AblationsError as error:
        raise WorkflowError(str(error))


@cache
def digest_of(dataset):
    """The digest of a dataset's definition."""
    return CONFIG.datasets[dataset].digest()


@cache
def staged_dataset(dataset):
    """Where a dataset is staged: its name says what it holds, when it was written says nothing."""
    return ancient(CONFIG.staged_path(dataset))


# Each function that Snakemake has to call for a job costs the planning of a large study several
# percent: a run has one for all its inputs, and one for its flags.


def inputs_of(kind):
    """For `input`: the staged dataset, and the weights that a run starts from, if any."""

    def inputs(wildcards):
        dataset = staged_dataset(wildcards.dataset)
        name = getattr(
            hyperparameters_of(kind, wildcards.hyperparameters), "pretrained", "none"
        )
        if name == "none":
            return [dataset]
        if name == "imagenet":
            # Its content is verified when it is fetched, however often.
            weights = f"{DATA}/weights/imagenet/{wildcards.model}.safetensors"
            return [dataset, ancient(weights)]
        if name not in CONFIG.weights:
            raise WorkflowError(
                f"the config's `weights` has no '{name}', which a run starts from"
            )
        return [dataset, ROOT / CONFIG.weights[name]]

    return inputs


def flags_of(kind):
    """For `params`: what determines a run, besides its dataset and model, as flags of its script."""

    def flags(wildcards, input):
        hyperparameters = hyperparameters_of(kind, wildcards.hyperparameters)
        words = ["--definition-digest", digest_of(wildcards.dataset)]
        words += hyperparameters.flags()
        if len(input.files) > 1:
            words += ["--weights", str(input.files[1])]
        return shlex.join(words)

    return flags


@cache
def planned_runs(written):
    """What the last `snakemake plan` expected of each run, by its record, as it was written at that time."""
    return read_plan()


def time_limit(rule, otherwise):
    """For `resources.runtime`: minutes, from the plan, where the profile gives bounds for the rule.

    `otherwise` where it gives none: on one machine nothing is ended for the time it takes.
    """
    given = workflow.resource_settings.overwrite_resources.get(rule, {})
    bounds = [
        str(given[name].raw) for name in ("min_runtime", "max_runtime") if name in given
    ]
    if not bounds:
        return otherwise
    whole = all(re.fullmatch("[1-9][0-9]*", bound) for bound in bounds)
    if len(bounds) < 2 or not whole or int(bounds[0]) > int(bounds[1]):
        raise WorkflowError(
            f"set-resources of {rule}: min_runtime and max_runtime are given together, in whole minutes, "
            f"the smaller first; found: {', '.join(bounds)}"
        )
    least, most = map(int, bounds)

    def limit(wildcards, attempt):
        # One that is made while the study runs counts for further attempts.
        plan = planned_runs(PLAN.stat().st_mtime_ns if PLAN.exists() else 0)
        planned = plan.get(RECORD[rule].format(**dict(wildcards.items())))
        return time_limit_min(planned, attempt, least, most)

    return limit


def all_staged(wildcards):
    """Everything that the studies selected need to be fetched before their runs."""
    runs = CONFIG.runs()
    staged = [staged_dataset(name) for name in {run.dataset for run in runs}]
    pretrained = {
        run.model for run in runs if run.values().get("pretrained") == "imagenet"
    }
    return sorted(staged) + [
        f"{DATA}/weights/imagenet/{model}.safetensors" for model in sorted(pretrained)
    ]


def fetch_flags(sources=None):
    """For `params`: where files are fetched from, and how long that may take."""
    flags = ["--timeout-s", str(CONFIG.download_timeout_s)]
    if CONFIG.source_dir:
        flags += ["--source-dir", str(ROOT / CONFIG.source_dir)]
    if sources is not None:
        listed = [source.model_dump(exclude_none=True) for source in sources]
        flags += ["--root", str(ROOT), "--sources", json.dumps(listed)]
    return untracked(flags=shlex.join(flags))


def given_resource(rule, name):
    """What the profile's `set-resources` says of a rule, as text; empty where it says nothing."""
    given = workflow.resource_settings.overwrite_resources.get(rule, {})
    return str(given[name].raw) if name in given else ""


def runs_to_a_job(rule):
    """How many runs share a job, and its GPU, by executor `submitit`."""
    pack = given_resource(rule, "pack")
    return int(pack) if re.fullmatch("[1-9][0-9]*", pack) else 1


def slots(wildcards):
    """How many runs of each kind there are at a time: on a cluster as the profile bounds them, else by cores."""
    settings = workflow.resource_settings
    jobs = getattr(workflow.executor_settings, "array_parallelism", None)
    counts = {}
    for kind, name in RULES.items():
        if not settings.nodes:
            value = settings.overwrite_threads.get(name, "")
            given = str(getattr(value, "raw", value))
            threads = (
                int(given) if re.fullmatch("[1-9][0-9]*", given) else THREADS[name]
            )
            counts[kind] = max(1, (settings.cores or 1) // threads)
        elif jobs:
            counts[kind] = min(settings.nodes, jobs * runs_to_a_job(name))
        else:
            counts[kind] = settings.nodes
    return counts


def gpu_shares(wildcards):
    """The share of a GPU, or the GPUs, that a run of each kind holds by the profile; none without GPUs."""
    shares = {}
    for kind, name in RULES.items():
        # `gpu`, `gpu:2`, `gpu:a100:2(S:0-1)`, and other things behind commas; or a number.
        gpus = re.findall(
            r"(?:^|,)gpu(?::[^:,()]*[^:,()0-9][^:,()]*)?(?::([0-9]+))?(?=$|[,(])",
            given_resource(name, "gres").strip("'\""),
        )
        count = sum(int(number or 1) for number in gpus)
        if given_resource(name, "gpu").isdigit():
            count = int(given_resource(name, "gpu"))
        if count:
            shares[kind] = count / runs_to_a_job(name)
    return shares


def profiles(wildcards=None):
    """(dataset, model) -> profile, for the networks of the studies selected.

    With `partial`, of those of which a run is there: a model may be one that cannot take the images.
    """
    return {
        (run.dataset, run.model): CONFIG.profile_path(run.dataset, run.model)
        for run in CONFIG.runs()
        if run.kind.models_are_counted and (not CONFIG.partial or Path(run.record).exists())
    }


def tables_of(study):
    """The final tables of a study: its own, its design, what has an effect, and what was published."""
    names = [study, f"{study}_design", f"{study}_effects", f"{study}_variance"]
    if CONFIG.studies[study].published:
        names.append(f"{study}_vs_published")
    return [
        f"results/tables/{name}.{suffix}"
        for name in names
        for suffix in ("tsv", "md", "tex", "html")
    ]


def all_tables(wildcards):
    """Every final table of the studies selected."""
    return [table for study in CONFIG.studies for table in tables_of(study)]


def all_figures(wildcards):
    """Every figure of the studies selected; a support vector machine has no learning curve."""
    names = []
    for name, study in CONFIG.studies.items():
        names += [name, f"{name}_effects", f"{name}_tradeoff", f"{name}_grid"]
        names += [f"{name}_curves"] if study.kind.has_history else []
    return [
        f"results/figures/{name}.{suffix}"
        for name in names
        for suffix in ("svg", "png")
    ]


def in_report(path, what):
    """For `output`: a file that stands in Snakemake's report, on the page of its study.

    `what` is its label there; the caption is the file of that name in rules/captions/.
    """
    caption = f"captions/{what.replace(' ', '_')}.rst"
    return report(path, category="{study}", labels={"what": what}, caption=caption)


def published_of(wildcards):
    """The file of a study's published values, as a list of one or none."""
    published = CONFIG.studies[wildcards.study].published
    return [ROOT / published.file] if published else []


@cache
def list_of_records():
    """The records that the tables are made of: all, or with `partial` those that are there."""
    records = [run.record for run in CONFIG.runs()]
    if not CONFIG.partial:
        return records
    return [record for record in records if Path(record).exists()]


def all_records(wildcards):
    """Every record of the studies selected. They are targets: a deleted one is made again."""
    return list_of_records()


def all_records_digest(wildcards):
    """For `params`, which are compared between calls: a study that lost a run is merged again."""
    return hashlib.sha256("\n".join(list_of_records()).encode()).hexdigest()


def print_plan():
    """Say what the studies come to, once, before Snakemake's own account of its jobs."""
    runs = CONFIG.runs()
    width = max(map(len, CONFIG.studies))
    lines = [f"{'study':<{width}}  kind  runs  title"]
    for name, study in CONFIG.studies.items():
        lines.append(
            f"{name:<{width}}  {study.kind.name:<4}  {len(study.runs()):>4}  {study.title}"
        )
    shared = sum(len(studies) > 1 for studies in runs.values())
    noun = "run stands" if shared == 1 else "runs stand"
    total = f"{len(runs)} runs in all"
    lines.append(f"{total}; {shared} {noun} in several studies" if shared else total)
    if CONFIG.partial:
        lines.append(
            f"{len(list_of_records())} of them are there; with `partial`, the others are marked"
        )
    logger.info("\n".join(lines) + "\n")


if workflow.is_main_process:
    # Open as long as this process lives.
    ALIVE, removed = remove_locks_of_the_dead(Path.cwd())
    if removed:
        logger.info(
            "The last call in this directory was killed; its lock is removed.\n"
        )
    if WHOLE:
        print_plan()
