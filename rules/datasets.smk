# Fetched once, verified, and stored where runs map it into memory. Needs a network; runs do not.


rule stage_dataset:
    output:
        f"{DATA}/{{dataset}}-{{digest}}.safetensors",
    log:
        "logs/stage_dataset/{dataset}-{digest}.log",
    wildcard_constraints:
        digest="|".join(dataset.digest() for dataset in CONFIG.datasets.values()),
    conda:
        ENVIRONMENT
    params:
        script=script_path("stage_dataset"),
        definition=lambda wildcards: json.dumps(
            CONFIG.datasets[wildcards.dataset].identity()
        ),
        fetch=lambda wildcards: fetch_flags(CONFIG.datasets[wildcards.dataset].sources),
    message:
        "Staging {wildcards.dataset}"
    shell:
        "python {params.script.path} --dataset {wildcards.dataset} "
        "--definition {params.definition:q} {params.fetch.flags} --output {output:q} 2> {log:q}"


rule stage_weights:
    output:
        f"{DATA}/weights/imagenet/{{model}}.safetensors",
    log:
        "logs/stage_weights/{model}.log",
    conda:
        ENVIRONMENT
    params:
        script=script_path("stage_weights"),
        fetch=lambda wildcards: fetch_flags(),
    message:
        "Staging the ImageNet weights of {wildcards.model}"
    shell:
        "python {params.script.path} --model {wildcards.model} {params.fetch.flags} "
        "--output {output:q} 2> {log:q}"
