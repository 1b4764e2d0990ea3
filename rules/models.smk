# What a model costs depends on its architecture and the images' shape: counted once, not per run.


def profiles(wildcards=None):
    """(dataset, model) -> profile, for the models of the selected studies that are counted.

    With `partial`, for those with a completed run: another model may not accept the images.
    """
    return {
        (run.dataset, run.model): CONFIG.profile_path(run.dataset, run.model)
        for run in CONFIG.runs()
        if run.kind.models_are_counted
        and (not CONFIG.partial or Path(run.record).exists())
    }


def profile_files(wildcards):
    """The same as a list of files."""
    return sorted(set(profiles().values()))


def file_of_model(wildcards):
    """For `input`: the file of a model of the config's own. A model whose file changed is counted again."""
    code = CONFIG.model_code(wildcards.model)
    return [code.rpartition(":")[0]] if code else []


def flags_of_model(wildcards, input):
    """For `params`: what builds a model of the config's own. Snakemake does not compare what needs the input."""
    code = CONFIG.model_code(wildcards.model)
    return shlex.join(["--model-code", code]) if code else ""


rule profile_model:
    input:
        file_of_model,
    output:
        "results/models/{model}/image_shape={channels}x{height}x{width},classes={classes}/profile.tsv",
    log:
        "logs/profile_model/{model}_{channels}x{height}x{width}_{classes}.log",
    wildcard_constraints:
        channels=r"\d+",
        height=r"\d+",
        width=r"\d+",
        classes=r"\d+",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime="10m",
    params:
        flags=flags_of_model,
    message:
        "Counting the cost of {wildcards.model} on {wildcards.channels}×{wildcards.height}×{wildcards.width}"
    shell:
        f"python {SCRIPTS}/profile_model.py "
        "--model {wildcards.model} --image-shape {wildcards.channels} {wildcards.height} {wildcards.width} "
        "--classes {wildcards.classes} {params.flags} --output {output:q} 2> {log:q}"
