"""`pack: auto`: as many jobs share a GPU as fit in its memory, by what a job is known to need.

Jobs without a GPU share a node by its processors and memory alone.
"""

from collections.abc import Mapping

# The part of a GPU's memory that is given out, and the largest pack that is chosen.
GIVEN_OUT = 0.9
LARGEST = 32
WITHOUT_GPU = "a job asks for no GPU"


def auto_pack(needed_mb: int, gpu_mb: int, options: Mapping[str, str | bool]) -> tuple[int, str]:
    """How many jobs that need `needed_mb` share a GPU of `gpu_mb`, and why; 0 is an unknown number.

    `options` are those of the request; nodes are looked at later.
    """
    if not gpu_mb and not any(name == "gres" or name.startswith("gpus") for name in options):
        return LARGEST, WITHOUT_GPU
    if not gpu_mb:
        return 1, "the resource gpu_total_mb, the memory of one GPU, is not given"
    if not needed_mb:
        return 1, "how much of the GPU's memory a job needs (gpu_mem_mb) is not known"
    fitting = int(GIVEN_OUT * gpu_mb) // needed_mb
    why = f"a job needs {needed_mb} MB of a GPU with {gpu_mb} MB"
    if fitting > LARGEST:
        return LARGEST, f"{why}, and larger packs are not chosen"
    return max(1, fitting), why
