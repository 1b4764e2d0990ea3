"""Where a training takes its batches from: the device that it runs on, or the host by a DataLoader.

Both yield the same images, as bytes, in the same order. A dataset of the size of MNIST lies on a GPU
whole, and a batch is picked there; `pin_memory` then has nothing to speed up. A study
that varies it takes its batches from the host.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from ablations.data.staged import Split

Source = Literal["device", "host"]
Batch = tuple[torch.Tensor, torch.Tensor]
# Of a GPU's free memory, what a dataset may take.
SHARE_OF_MEMORY = 0.25


class Batches(Protocol):
    """The images of a split and their labels, by the batch."""

    source: Source

    def take(self, order: Sequence[int], size: int) -> Iterator[Batch]:
        """Batches of `size`, the last may be shorter, in the `order` of indices given.

        Images are uint8 of shape (batch, channels, height, width), labels int64 of shape (batch,), on
        the device.
        """
        ...


class DeviceBatches:
    """Batches picked on the device, from the whole split."""

    source: Source = "device"

    def __init__(self, split: Split, device: torch.device) -> None:
        self.images, self.labels = split.images.to(device), split.labels.to(device)

    def take(self, order: Sequence[int], size: int) -> Iterator[Batch]:
        all_picked = torch.as_tensor(order, dtype=torch.int64).to(self.labels.device)
        for start in range(0, len(order), size):
            picked = all_picked[start : start + size]
            yield self.images[picked], self.labels[picked]


class HostBatches:
    """Batches picked on the host by a DataLoader, and sent.

    `pin_memory` copies each batch to page-locked memory, so that its transfer to a GPU overlaps
    with work.
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
            # A loader draws a seed for its workers; from a generator of its own, so that the numbers
            # the model draws (dropout) do not depend on how often a loader was started.
            generator=torch.Generator(),
        )
        for images, labels in loader:
            yield (
                images.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
            )


class _BatchedImages(Dataset[Batch]):
    """A dataset that a DataLoader fetches from by the batch: one index operation per tensor."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        picked = torch.as_tensor(indices)
        return self.split.images[picked], self.split.labels[picked]


def _already_a_batch(batch: Any) -> Any:
    """Not a list of samples, which a DataLoader would otherwise be given to collate."""
    return batch


def source_that_fits(wanted: Source, splits: Sequence[Split], device: torch.device) -> Source:
    """`wanted`, or `host` where the splits would take too much of a GPU's memory."""
    if wanted == "host" or device.type != "cuda":
        return wanted
    free, _ = torch.cuda.mem_get_info(device)
    needed = sum(tensor.nbytes for split in splits for tensor in (split.images, split.labels))
    return "device" if needed <= SHARE_OF_MEMORY * free else "host"


def batches_of(split: Split, source: Source, device: torch.device, pin_memory: bool) -> Batches:
    """Batches of `split` from that source. `pin_memory` is for a GPU."""
    if source == "device":
        return DeviceBatches(split, device)
    return HostBatches(split, device, pin_memory and device.type == "cuda")
