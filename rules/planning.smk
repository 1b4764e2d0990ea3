# What the studies can show and what they cost, before anything is trained. Neither rule waits for a run.


def written_studies(wildcards):
    """For `params`: every study as it is written in the config."""
    return {name: study.written for name, study in CONFIG.studies.items()}


def staged_datasets(wildcards):
    """For `params`: where each dataset is staged."""
    return {name: CONFIG.staged_path(name) for name in CONFIG.datasets}


def slots(wildcards):
    """For `params`: how many runs of each kind can run at the same time."""
    profile = CALL.profile
    return {name: profile.slots(kind) for name, kind in CONFIG.all_kinds.items()}


def gpu_shares(wildcards):
    """For `params`: how many GPUs a run of each kind holds."""
    return CALL.profile.gpu_shares(CONFIG.all_kinds.values())


def packed_by_executor(wildcards):
    """For `params`: the kinds for whose runs the executor chooses how many share a GPU."""
    profile = CALL.profile
    return [
        name
        for name, kind in CONFIG.all_kinds.items()
        if profile.packs_itself(kind.rule)
    ]


rule design:
    log:
        "logs/design/design.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        studies=written_studies,
        kinds=own_kinds,
    message:
        "What the studies can show"
    script:
        "../scripts/design.py"


rule plan:
    input:
        profile_files,
    log:
        "logs/plan/plan.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        studies=written_studies,
        profiles=profiles,
        datasets=staged_datasets,
        slots=slots,
        gpu_shares=gpu_shares,
        packed_by_executor=packed_by_executor,
        kinds=own_kinds,
    message:
        "What the runs will take"
    script:
        "../scripts/plan.py"
