"""Random changes of the training images, on the device of the training."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from ablations.kinds.cnn_hyperparameters import CnnHyperparameters

# A crop moves an image by up to this share of its side: 4 pixels of 32, as for CIFAR in the paper on ResNets.
MARGIN = 1 / 8


class Augmentation:
    """Mirrors every second image, and moves each by up to `margins` rows and columns, at random.

    What moves in from outside is black. An epoch's draws depend on the seed and the epoch alone, so that a
    run which resumes in the middle of an epoch makes the same changes.
    """

    def __init__(self, seed: int, margins: tuple[int, int]) -> None:
        self.seed, self.margins = seed, margins

    def draw(self, epoch: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For `count` images in the order of an epoch: whether mirrored; rows and columns of the crop.

        A crop begins at this row and column of the image with a black margin on every side.
        """
        random = np.random.default_rng((self.seed, epoch))
        mirrored = random.random(count) < 0.5
        rows, columns = (random.integers(0, 2 * margin + 1, count) for margin in self.margins)
        return mirrored, rows, columns

    def of_epoch(
        self, epoch: int, count: int, device: torch.device
    ) -> Callable[[torch.Tensor, int], torch.Tensor]:
        """A function from a batch, and the place of its first image in the order, to the changed batch.

        Images are uint8 of shape (batch, channels, height, width).
        """
        mirrored, rows, columns = (torch.from_numpy(drawn).to(device) for drawn in self.draw(epoch, count))
        down, across = self.margins

        def changed(images: torch.Tensor, first: int) -> torch.Tensor:
            batch, channels, height, width = images.shape
            here = slice(first, first + batch)
            if down or across:
                images = F.pad(images, (across, across, down, down))
            at_row = rows[here, None] + torch.arange(height, device=device)
            at_column = columns[here, None] + torch.arange(width, device=device)
            at_column = torch.where(mirrored[here, None], at_column.flip(1), at_column)
            image = torch.arange(batch, device=device)[:, None, None, None]
            channel = torch.arange(channels, device=device)[None, :, None, None]
            return images[image, channel, at_row[:, None, :, None], at_column[:, None, None, :]]

        return changed


def augmentation_of(hp: CnnHyperparameters, image_shape: tuple[int, int, int]) -> Augmentation | None:
    """The augmentation that a run asks for, on images (channels, height, width)."""
    if hp.augment == "none":
        return None
    _, height, width = image_shape
    sides = (height, width) if hp.augment == "crop_flip" else (0, 0)
    down, across = (round(side * MARGIN) for side in sides)
    return Augmentation(hp.seed_of_data, (down, across))
