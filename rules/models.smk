# What a model costs depends on its architecture and the images' shape: counted once, not per run.


rule profile_model:
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
        script=script_path("profile_model"),
    message:
        "Counting the cost of {wildcards.model} on {wildcards.channels}×{wildcards.height}×{wildcards.width}"
    shell:
        "python {params.script.path} --model {wildcards.model} "
        "--image-shape {wildcards.channels} {wildcards.height} {wildcards.width} "
        "--classes {wildcards.classes} --output {output:q} 2> {log:q}"
