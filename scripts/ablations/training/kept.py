"""The files that stay of a trained network beside its record, where a study asks for them."""

from collections.abc import Collection
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from ablations.files import atomic_path
from ablations.kinds.cnn import CNN


def keep(
    what: Collection[str], directory: Path, run: str, model: nn.Module, logits: Tensor | None, labels: Tensor
) -> list[Path]:
    """Write what a study keeps of `run` into its `directory`, atomically; return the files.

    `weights.safetensors` is the state dict of the plain model. `logits.safetensors` has `logits`
    (float32, shape (images, classes)) and `labels` (int64, shape (images,)) in the order of the staged test
    set. Both name the run in their metadata. A diverged run has no logits, and nothing of it is kept.

    A file that is not kept is removed: an earlier training of the run left it, and it would not belong to the
    record.
    """
    tensors: dict[str, dict[str, Tensor]] = {}
    if logits is not None and "weights" in what:
        tensors["weights"] = model.state_dict()
    if logits is not None and "logits" in what:
        tensors["logits"] = {"logits": logits, "labels": labels}
    written = []
    for name in CNN.can_keep:
        path = directory / f"{name}.safetensors"
        if name not in tensors:
            path.unlink(missing_ok=True)
            continue
        # Copies, as the format has no tensors under two names.
        plain = {key: tensor.detach().cpu().clone().contiguous() for key, tensor in tensors[name].items()}
        with atomic_path(path) as temporary:
            save_file(plain, temporary, metadata={"run": run})
        written.append(path)
    return written
