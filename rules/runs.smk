# One job, one record. Everything a run leaves, its log included, lies in the run's directory. The
# command that Snakemake prints runs in a terminal too; without its redirection it shows a bar.

RECORD = {
    "train_cnn": "results/runs/cnn/{dataset}/{model}/{hyperparameters}/record.tsv",
    "fit_svm": "results/runs/svm/{dataset}/svc/{hyperparameters}/record.tsv",
}


rule train_cnn:
    input:
        files=inputs_of("cnn"),
    output:
        record=RECORD["train_cnn"],
        history="results/runs/cnn/{dataset}/{model}/{hyperparameters}/history.tsv",
    log:
        "results/runs/cnn/{dataset}/{model}/{hyperparameters}/run.log",
    conda:
        ENVIRONMENT
    threads: THREADS["train_cnn"]
    resources:
        mem_mb=4000,
        runtime=time_limit("train_cnn", "4h"),
    params:
        call=untracked(
            script=f"{SCRIPTS}/train_cnn.py",
            device=CONFIG.device,
            batches=CONFIG.source_of_batches(),
        ),
        flags=flags_of("cnn"),
    message:
        "Training {wildcards.model} on {wildcards.dataset}: {wildcards.hyperparameters}"
    shell:
        "python {params.call.script} --dataset {input.files[0]:q} --model {wildcards.model} {params.flags} "
        "--device {params.call.device} --batches {params.call.batches} --threads {threads} "
        "--time-limit-min {resources.runtime} "
        "--record {output.record:q} --history {output.history:q} 2>> {log:q}"


rule fit_svm:
    input:
        files=inputs_of("svm"),
    output:
        record=RECORD["fit_svm"],
    log:
        "results/runs/svm/{dataset}/svc/{hyperparameters}/run.log",
    conda:
        ENVIRONMENT
    threads: THREADS["fit_svm"]
    resources:
        mem_mb=4000,
        runtime=time_limit("fit_svm", "1h"),
    params:
        call=untracked(script=f"{SCRIPTS}/fit_svm.py"),
        flags=flags_of("svm"),
    message:
        "Fitting a support vector classifier on {wildcards.dataset}: {wildcards.hyperparameters}"
    shell:
        "python {params.call.script} --dataset {input.files[0]:q} {params.flags} --threads {threads} "
        "--memory-mb {resources.mem_mb} --record {output.record:q} 2>> {log:q}"
