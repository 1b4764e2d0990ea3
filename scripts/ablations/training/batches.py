"""The batches of a training, taken on its device or by a DataLoader on the host.

Both sources yield the same images, as bytes, in the same order. A dataset of the size of MNIST fits on a
GPU, where a batch is an index operation; `pin_memory` then has no effect. A study that varies
`pin_memory` takes its batches from the host.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from ablations.data.staged import Split

Source = Literal["device", "host"]
Batch = tuple[torch.Tensor, torch.Tensor]
# The share of a GPU's free memory that a dataset may take.
SHARE_OF_MEMORY = 0.25


class Batches(Protocol):
    """The images and labels of a split, in batches."""

    source: Source

    def take(self, order: Sequence[int], size: int) -> Iterator[Batch]:
        """Batches of `size` images, in the `order` of the indices; the last batch may be smaller.

        Images are uint8 of shape (batch, channels, height, width), and labels int64 of shape (batch,).
        Both are on the device of the training.
        """
        ...


class DeviceBatches:
    """Batches taken on the device, which holds the whole split."""

    source: Source = "device"

    def __init__(self, split: Split, device: torch.device) -> None:
        self.images, self.labels = split.images.to(device), split.labels.to(device)

    def take(self, order: Sequence[int], size: int) -> Iterator[Batch]:
        all_picked = torch.as_tensor(order, dtype=torch.int64).to(self.labels.device)
        for start in range(0, len(order), size):
            picked = all_picked[start : start + size]
            yield self.images[picked], self.labels[picked]


class HostBatches:
    """Batches taken on the host by a DataLoader, and transferred to the device.

    `pin_memory` copies each batch to page-locked memory, so that its transfer to a GPU overlaps
    with computation.
    """

    source: Source = "host"

    def __init__(self, split: Split, device: torch.device, pin_memory: bool) -> None:
        self.split, self.device, self.pin_memory = split, device, pin_memory

    def take(self, order: Sequence[int], size: int) -> Iterator[Batch]:
        loader = DataLoader(
            _BatchedImages(self.split),
            batch_size=size,
            sampler=order,
            collate_fn=_already_a_batch,
            pin_memory=self.pin_memory,
            # A loader draws a seed for its workers. With a generator of its own, the numbers that the
            # model draws (dropout) do not depend on how often a loader was started.
            generator=torch.Generator(),
        )
        for images, labels in loader:
            yield (
                images.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
            )


class _BatchedImages(Dataset[Batch]):
    """A dataset from which a DataLoader fetches a whole batch with one index operation per tensor."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        picked = torch.as_tensor(indices)
        return self.split.images[picked], self.split.labels[picked]


def _already_a_batch(batch: Any) -> Any:
    """The batch itself. DataLoader's types expect a list of samples, which it would collate."""
    return batch


def source_that_fits(wanted: Source, splits: Sequence[Split], device: torch.device) -> Source:
    """`wanted`, or `host` if the splits would take too much of a GPU's memory."""
    if wanted == "host" or device.type != "cuda":
        return wanted
    free, _ = torch.cuda.mem_get_info(device)
    needed = sum(tensor.nbytes for split in splits for tensor in (split.images, split.labels))
    return "device" if needed <= SHARE_OF_MEMORY * free else "host"


def batches_of(split: Split, source: Source, device: torch.device, pin_memory: bool) -> Batches:
    """The batches of `split` from `source`. `pin_memory` has an effect with a GPU only."""
    if source == "device":
        return DeviceBatches(split, device)
    return HostBatches(split, device, pin_memory and device.type == "cuda")
