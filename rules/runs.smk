# One job, one record. Everything a run leaves, its log included, lies in the run's directory. The
# command that Snakemake prints runs in a terminal too; without its redirection it shows a bar.


rule train_cnn:
    input:
        # Its name says what it holds; when it was written says nothing.
        dataset=ancient(staged_dataset),
        weights=weights_of,
    output:
        record="results/runs/cnn/{dataset}/{model}/{hyperparameters}/record.tsv",
        history="results/runs/cnn/{dataset}/{model}/{hyperparameters}/history.tsv",
    log:
        "results/runs/cnn/{dataset}/{model}/{hyperparameters}/run.log",
    conda:
        ENVIRONMENT
    # One thread per run, and as many runs as cores: two threads gain almost nothing on small
    # images, and lose everything when a neighbour is busy.
    threads: 1
    resources:
        mem_mb=4000,
        runtime="4h",
    params:
        script=script_path("train_cnn"),
        definition=lambda wildcards: CONFIG.datasets[wildcards.dataset].digest(),
        flags=flags_of("cnn"),
        weights=lambda wildcards, input: (
            f"--weights {shlex.quote(str(input.weights[0]))} " if input.weights else ""
        ),
        device=untracked(name=CONFIG.device),
        # No output: Snakemake deletes the outputs of a job that fails.
        checkpoint="results/runs/cnn/{dataset}/{model}/{hyperparameters}/checkpoint.pt",
    message:
        "Training {wildcards.model} on {wildcards.dataset}: {wildcards.hyperparameters}"
    shell:
        "python {params.script.path} --dataset {input.dataset:q} "
        "--definition-digest {params.definition} --model {wildcards.model} {params.flags} "
        "{params.weights}--device {params.device.name} --threads {threads} "
        "--record {output.record:q} --history {output.history:q} "
        "--checkpoint {params.checkpoint:q} --time-limit-min {resources.runtime} 2>> {log:q}"


rule fit_svm:
    input:
        # Its name says what it holds; when it was written says nothing.
        dataset=ancient(staged_dataset),
    output:
        record="results/runs/svm/{dataset}/svc/{hyperparameters}/record.tsv",
    log:
        "results/runs/svm/{dataset}/svc/{hyperparameters}/run.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        script=script_path("fit_svm"),
        definition=lambda wildcards: CONFIG.datasets[wildcards.dataset].digest(),
        flags=flags_of("svm"),
    message:
        "Fitting a support vector classifier on {wildcards.dataset}: {wildcards.hyperparameters}"
    shell:
        "python {params.script.path} --dataset {input.dataset:q} "
        "--definition-digest {params.definition} {params.flags} "
        "--threads {threads} --memory-mb {resources.mem_mb} --record {output.record:q} 2>> {log:q}"
