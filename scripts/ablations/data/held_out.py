"""The validation split: training images held out from training. All runs on a dataset share it."""

from dataclasses import replace

import numpy as np
import torch

from ablations.data.staged import Split, StagedDataset
from ablations.errors import AblationsError

# For good: with another order, finished runs would have been validated on other images.
ORDER_SEED = 0


def hold_out(dataset: StagedDataset, share: float) -> StagedDataset:
    """`dataset`, opened for torch, with this share of each class's training images as its validation split.

    The images depend on the dataset alone, and those of a smaller share are among those of a larger one.
    Both splits keep the order of the images. Raises AblationsError if a split would be empty.
    """
    if not share:
        return dataset
    labels = dataset.train.labels.numpy()
    order = np.random.default_rng(ORDER_SEED).permutation(len(labels))
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        held[of_class[: round(share * len(of_class))]] = True
    if held.all() or not held.any():
        raise AblationsError(
            f"validation is {share:g}, which leaves {np.sum(~held)} of {len(labels)} training images for "
            f"training and {held.sum()} for validation; change validation or train_samples"
        )
    return replace(dataset, train=_part(dataset.train, ~held), validation=_part(dataset.train, held))


def _part(split: Split, chosen: np.ndarray) -> Split:
    picked = torch.from_numpy(np.flatnonzero(chosen))
    return Split(split.images[picked], split.labels[picked])
