# Fetched once, verified, and stored where runs map it into memory. Needs a network; runs do not.

import json

from ablations.data.imagenet import DIGESTS, without_digest

DATA = CONFIG.data_dir
FETCH = ["--timeout-s", str(CONFIG.download_timeout_s)]
if CONFIG.source_dir:
    FETCH += ["--source-dir", str(CONFIG.file(CONFIG.source_dir))]
FETCH = " ".join(map(literal, FETCH))
# The folders that the path of an image folder may be relative to.
ROOTS = " ".join(f"--root {literal(folder)}" for folder in CONFIG.folders)
# Where the files of each dataset come from. Not a param: another mirror changes no result.
SOURCES = json.dumps(
    {
        name: [source.model_dump(exclude_none=True) for source in dataset.sources]
        for name, dataset in CONFIG.datasets.items()
    }
)
# The weights that are fetched, by the directories that they are staged in. Neither is it a param.
WEIGHTS = {
    f"{name}-{weights.digest()}": weights.written
    for name, weights in CONFIG.fetched_weights().items()
}


DATASETS = "|".join(map(re.escape, CONFIG.datasets))


@cache
def staged_dataset(dataset):
    """The file of a staged dataset. Its name tells its content, and its age does not matter."""
    begin()
    return ancient(CONFIG.staged_path(dataset))


def weights_file(name, model):
    """The file of the weights that `pretrained` names, for `model`."""
    path = CONFIG.weights_path(name, model)
    # Staged ones are verified whenever they are fetched, and their age does not matter.
    own = isinstance(CONFIG.weights.get(name), str)
    return CONFIG.file(path) if own else ancient(path)


def missing_digest(name, model):
    """Why the weights that `pretrained` names cannot be fetched, as a sentence; or nothing."""
    if name != "imagenet" or model in DIGESTS or model in CONFIG.imagenet_sha256:
        return None
    return (
        None
        if Path(CONFIG.weights_path(name, model)).exists()
        else without_digest(model)
    )


def all_staged(wildcards):
    """Everything that the selected studies need to be fetched before their runs."""
    runs = [run for run in CONFIG.executed_runs() if run.kind.reads_staged_datasets]
    staged = sorted(staged_dataset(name) for name in {run.dataset for run in runs})
    fetched = {"imagenet", *CONFIG.fetched_weights()}
    starts = {(run.values().get("pretrained"), run.model) for run in runs}
    return staged + [
        missing_digest(*start) or weights_file(*start)
        for start in sorted(s for s in starts if s[0] in fetched)
    ]


def definition_of(wildcards):
    """For `params`: what determines the content of a staged dataset."""
    return json.dumps(CONFIG.datasets[wildcards.dataset].identity())


rule stage_dataset:
    output:
        f"{DATA}/{{dataset}}-{{digest}}.safetensors",
    log:
        "logs/stage_dataset/{dataset}-{digest}.log",
    wildcard_constraints:
        dataset=DATASETS,
        digest="|".join(dataset.digest() for dataset in CONFIG.datasets.values()),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        definition=definition_of,
    message:
        "Staging {wildcards.dataset}"
    shell:
        f"python {SCRIPTS}/stage_dataset.py {ROOTS} --sources {literal(SOURCES)} {FETCH} "
        "--dataset {wildcards.dataset} --definition {params.definition:q} "
        "--output {output:q} 2> {log:q}"


rule stage_weights:
    output:
        f"{DATA}/weights/{{weights}}/{{model}}.safetensors",
    log:
        "logs/stage_weights/{weights}/{model}.log",
    wildcard_constraints:
        weights="|".join(["imagenet", *map(re.escape, WEIGHTS)]),
    localrule: True
    conda:
        ENVIRONMENT
    message:
        "Staging the weights {wildcards.weights} of {wildcards.model}"
    shell:
        f"python {SCRIPTS}/stage_weights.py --definitions {literal(json.dumps(WEIGHTS))} "
        f"--digests {literal(json.dumps(CONFIG.imagenet_sha256))} {FETCH} "
        "--name {wildcards.weights} --model {wildcards.model} --output {output:q} 2> {log:q}"


rule stage:
    input:
        all_staged,
    localrule: True
    message:
        "Everything that the runs need is staged"
