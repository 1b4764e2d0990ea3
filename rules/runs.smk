# One job, one record. Everything a run leaves, its log included, lies in the run's directory. The
# command that Snakemake prints runs in a terminal too; without its redirection it shows a bar.


rule train_cnn:
    input:
        dataset=f"{DATA}/{{dataset}}.safetensors",
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
        flags=flags_of("cnn"),
        weights=lambda wildcards, input: (
            f"--weights {shlex.quote(str(input.weights[0]))} " if input.weights else ""
        ),
        device=untracked(name=CONFIG.device),
    message:
        "Training {wildcards.model} on {wildcards.dataset}: {wildcards.hyperparameters}"
    shell:
        "python {params.script.path} --dataset {input.dataset:q} --model {wildcards.model} "
        "{params.flags} {params.weights}--device {params.device.name} --threads {threads} "
        "--record {output.record:q} --history {output.history:q} 2>> {log:q}"


rule fit_svm:
    input:
        dataset=f"{DATA}/{{dataset}}.safetensors",
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
        flags=flags_of("svm"),
    message:
        "Fitting a support vector classifier on {wildcards.dataset}: {wildcards.hyperparameters}"
    shell:
        "python {params.script.path} --dataset {input.dataset:q} {params.flags} "
        "--threads {threads} --memory-mb {resources.mem_mb} --record {output.record:q} 2>> {log:q}"
