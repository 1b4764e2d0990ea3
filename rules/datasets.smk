# Fetched once, verified, and stored where runs map it into memory. Needs a network; runs do not.


rule stage_dataset:
    output:
        f"{DATA}/{{dataset}}.safetensors",
    log:
        "logs/stage_dataset/{dataset}.log",
    conda:
        ENVIRONMENT
    params:
        script=script_path("stage_dataset"),
        definition=lambda wildcards: CONFIG.datasets[
            wildcards.dataset
        ].model_dump_json(exclude={"sources"}, exclude_none=True),
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
