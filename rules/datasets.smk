# Fetched once, verified, and stored where runs map it into memory. Needs a network; runs do not.


rule stage_dataset:
    output:
        f"{DATA}/{{dataset}}.safetensors",
    log:
        "logs/stage_dataset/{dataset}.log",
    params:
        definition=lambda wildcards: CONFIG.datasets[wildcards.dataset].model_dump_json(
            exclude={"sources"}, exclude_none=True
        ),
        fetch=lambda wildcards: fetch_flags(CONFIG.datasets[wildcards.dataset].sources),
    conda:
        ENVIRONMENT
    message:
        "Staging {wildcards.dataset}"
    shell:
        "python {SCRIPTS}/stage_dataset.py --dataset {wildcards.dataset} "
        "--definition {params.definition:q} {params.fetch.flags} --output {output:q} 2> {log:q}"


rule stage_weights:
    output:
        f"{DATA}/weights/imagenet/{{model}}.safetensors",
    log:
        "logs/stage_weights/{model}.log",
    params:
        fetch=lambda wildcards: fetch_flags(),
    conda:
        ENVIRONMENT
    message:
        "Staging the ImageNet weights of {wildcards.model}"
    shell:
        "python {SCRIPTS}/stage_weights.py --model {wildcards.model} {params.fetch.flags} "
        "--output {output:q} 2> {log:q}"
