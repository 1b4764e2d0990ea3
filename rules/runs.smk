# One job, one record. Everything that a run writes is in its directory, its log included. The command
# that Snakemake prints runs in a terminal too; without its redirection it shows a progress bar.

from ablations.files import changed_at
from ablations.runs.run import Run, parse_hyperparameters
from ablations.tracking.memory import memory_limit_mb
from ablations.tracking.plan import PLAN, read_plan, time_limit_min
from ablations.tracking.profile import Profile

CNN, SVM = KINDS["cnn"], KINDS["svm"]
CNN_RUN, SVM_RUN = (
    kind.directory("{dataset}", "{model}", "{hyperparameters}") for kind in (CNN, SVM)
)
BATCHES = CONFIG.source_of_batches()


@cache
def hyperparameters_of(kind, text):
    """The hyperparameters that a part of a run's path spells."""
    return parse_hyperparameters(kind, text)


# Each function that Snakemake has to call for a job costs the planning of a large study several
# percent: a run has one for all its inputs, and one for its flags.


def inputs_of(kind):
    """For `input`: the staged dataset, and the weights that a run starts from, if any."""

    def inputs(wildcards):
        try:
            hyperparameters = hyperparameters_of(kind, wildcards.hyperparameters)
        except AblationsError as error:
            # Snakemake prints the name of a missing input as it is, and an exception with a traceback.
            return [str(error)]
        if CONFIG.models:
            begin_commands()
        dataset = staged_dataset(wildcards.dataset)
        name = getattr(hyperparameters, "pretrained", "none")
        if name == "none":
            return [dataset]
        if name != "imagenet" and name not in CONFIG.weights:
            return [f"the config's `weights` has no '{name}'"]
        if problem := missing_digest(name, wildcards.model):
            # A finished run does not need them.
            if not Path(
                f"{kind.directory(**dict(wildcards.items()))}/record.tsv"
            ).exists():
                return [problem]
        return [dataset, weights_file(name, wildcards.model)]

    return inputs


def flags_of(kind):
    """For `params`: what determines a run, besides its dataset and model, as flags of its script.

    And what is kept of it, which reruns nothing: Snakemake does not compare params that depend on the input.
    """

    def flags(wildcards, input):
        hyperparameters = hyperparameters_of(kind, wildcards.hyperparameters)
        digest = CONFIG.datasets[wildcards.dataset].digest()
        words = ["--definition-digest", digest, *hyperparameters.flags()]
        if len(input.files) > 1:
            words += ["--weights", str(input.files[1])]
        model = wildcards.get("model", kind.fixed.get("model"))
        if kind.models_are_counted and (code := CONFIG.model_code(model)):
            words += ["--model-code", code]
        if kept := CONFIG.kept_of(Run(kind, wildcards.dataset, model, hyperparameters)):
            words += ["--keep", *kept]
        return shlex.join(words)

    return flags


@cache
def planned_runs(written):
    """What the last `snakemake plan` expected of each run, by its record, as written at that time."""
    return read_plan()


def planned_run(kind, wildcards):
    """The plan of a run; None if it was never planned."""
    # A plan that is made while the study runs counts for further attempts.
    plan = planned_runs(changed_at(PLAN))
    names = {"dataset": "", "model": "", **dict(wildcards.items())}
    return plan.get(f"{kind.directory(**names)}/record.tsv")


def gpu_memory(kind):
    """For `resources.gpu_mem_mb`: what a run needs of its GPU, by the plan, where the profile has `pack: auto`.

    0 where that is not known: the run is then alone. A further attempt shares its GPU with fewer.
    """
    if not CALL.profile.packs_itself(kind.rule):
        return 0

    def needed(wildcards, attempt):
        planned = planned_run(kind, wildcards)
        return int(planned["gpu_mb"]) * attempt if planned else 0

    return needed


def planned_limit(kind, bounds_of, limit_of, otherwise):
    """For a resource: what the plan has, in the bounds that the profile gives for the rule, or `otherwise`."""
    try:
        bounds = bounds_of(CALL.profile, kind.rule)
    except AblationsError as error:
        raise WorkflowError(str(error))
    if bounds is None:
        return otherwise

    def limit(wildcards, attempt):
        return limit_of(planned_run(kind, wildcards), attempt, *bounds)

    return limit


def time_limit(kind, otherwise):
    """For `resources.runtime`: minutes. On one machine nothing ends a run for the time it takes."""
    return planned_limit(kind, Profile.time_bounds, time_limit_min, otherwise)


def memory_limit(kind):
    """For `resources.mem_mb`: memory of the node."""
    return planned_limit(kind, Profile.memory_bounds, memory_limit_mb, 4000)


rule train_cnn:
    input:
        files=inputs_of(CNN),
    output:
        record=f"{CNN_RUN}/record.tsv",
        history=f"{CNN_RUN}/history.tsv",
    log:
        f"{CNN_RUN}/run.log",
    wildcard_constraints:
        dataset=DATASETS,
    conda:
        ENVIRONMENT
    threads: CNN.threads
    resources:
        mem_mb=memory_limit(CNN),
        runtime=time_limit(CNN, "4h"),
        gpu_mem_mb=gpu_memory(CNN),
    params:
        flags=flags_of(CNN),
    message:
        "Training {wildcards.model} on {wildcards.dataset}: {wildcards.hyperparameters}"
    shell:
        f"python {SCRIPTS}/train_cnn.py "
        "--dataset {input.files[0]:q} --model {wildcards.model} {params.flags} "
        f"--device {CONFIG.device} --batches {BATCHES} "
        "--threads {threads} "
        "--time-limit-min {resources.runtime} "
        "--record {output.record:q} --history {output.history:q} 2>> {log:q}"


rule fit_svm:
    input:
        files=inputs_of(SVM),
    output:
        record=f"{SVM_RUN}/record.tsv",
    log:
        f"{SVM_RUN}/run.log",
    wildcard_constraints:
        dataset=DATASETS,
    conda:
        ENVIRONMENT
    threads: SVM.threads
    resources:
        mem_mb=memory_limit(SVM),
        runtime=time_limit(SVM, "1h"),
    params:
        flags=flags_of(SVM),
    message:
        "Fitting a support vector classifier on {wildcards.dataset}: {wildcards.hyperparameters}"
    shell:
        f"python {SCRIPTS}/fit_svm.py "
        "--dataset {input.files[0]:q} {params.flags} --threads {threads} "
        "--memory-mb {resources.mem_mb} --record {output.record:q} 2>> {log:q}"


@cache
def begin_commands():
    """Tell which commands of the config run for the first time in this directory, where they are about to."""
    begin()
    kinds = [
        study.kind for study in CONFIG.studies.values() if not study.kind.is_shipped
    ]
    tell_new_commands(kinds=dict.fromkeys(kinds), models=CONFIG.models)


def files_of(kind):
    """For `input`: the files that a run of an own kind needs. Their age does not matter."""

    def files(wildcards):
        begin_commands()
        try:
            hyperparameters_of(kind, wildcards.hyperparameters)
            return list(map(ancient, kind.files(wildcards)))
        except AblationsError as error:
            return [str(error)]

    return files


def definition_flags(kind):
    """For `params`: what determines a run of an own kind, as flags of its script."""

    def flags(wildcards, output):
        words = ["--kind", kind.name, "--definition", json.dumps(kind.written)]
        for name, value in wildcards.items():
            words += [f"--{name}", value]
        if len(output) > 1:
            words += ["--history", output[1]]
        return shlex.join(words)

    return flags


def interpreter_of(kind):
    """For `params`: the Python of the script, which Snakemake does not compare.

    The environment of a kind has its own packages, and not those of the scripts. This is not in the text of
    `shell`, which Snakemake evaluates once more when a job begins, after the last kind.
    """

    def python(wildcards, input):
        return shlex.quote(sys.executable) if kind.environment else "python"

    return python


for KIND in [CONFIG.all_kinds[name] for name in CONFIG.kinds]:
    if not KIND.rule:
        continue

    OWN_RUN = KIND.directory("{dataset}", "{model}", "{hyperparameters}")

    rule:
        name:
            KIND.rule
        input:
            files_of(KIND),
        output:
            f"{OWN_RUN}/record.tsv",
            *([f"{OWN_RUN}/history.tsv"] if KIND.has_history else []),
        log:
            f"{OWN_RUN}/run.log",
        conda:
            str(Path(KIND.environment).resolve()) if KIND.environment else ENVIRONMENT
        threads: KIND.threads
        resources:
            mem_mb=memory_limit(KIND),
            runtime=time_limit(KIND, "4h"),
            gpu_mem_mb=gpu_memory(KIND),
        params:
            flags=definition_flags(KIND),
            python=interpreter_of(KIND),
        message:
            f"Running {KIND.name}: {{wildcards}}"
        shell:
            f"{{params.python}} {SCRIPTS}/run_command.py {{params.flags}} --threads {{threads}} "
            "--time-limit-min {resources.runtime} --record {output[0]:q} 2>> {log:q}"
