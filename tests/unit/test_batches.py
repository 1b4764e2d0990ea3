"""Batches: the same images in the same order, wherever they come from."""

import pytest
import torch
from ablations.data.staged import Split
from ablations.training import batches
from ablations.training.batches import DeviceBatches, HostBatches, batches_of, source_that_fits
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

CPU = torch.device("cpu")


def numbered(count: int) -> Split:
    """Images that hold their own numbers."""
    numbers = torch.arange(count)
    return Split(numbers.to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous(), numbers)


def sources(split: Split) -> list[batches.Batches]:
    return [batches_of(split, source, CPU, pin_memory=False) for source in ("device", "host")]


@pytest.mark.parametrize("size", [16, 32, 100])
def test_the_order_is_that_of_a_shuffling_data_loader(size):
    """As a user writes it, over three epochs; the last batch of each is shorter."""
    split = numbered(70)
    dataset = TensorDataset(split.images, split.labels)
    plain = DataLoader(
        dataset, size, sampler=RandomSampler(dataset, generator=torch.Generator().manual_seed(3))
    )
    shuffles = [torch.Generator().manual_seed(3) for _ in sources(split)]
    for _ in range(3):
        expected = [labels.tolist() for _, labels in plain]
        for source, shuffle in zip(sources(split), shuffles, strict=True):
            order = list(RandomSampler(range(70), generator=shuffle))
            taken = list(source.take(order, size))
            assert [labels.tolist() for _, labels in taken] == expected
            for images, labels in taken:
                assert images.dtype == torch.uint8
                assert images[:, 0, 0, 0].tolist() == labels.tolist()


def test_an_epoch_that_is_over_has_no_batches():
    for source in sources(numbered(8)):
        assert list(source.take([], 4)) == []


def test_a_data_loader_fetches_whole_batches(monkeypatch):
    fetched = []
    whole = batches._BatchedImages.__getitems__

    def spy(self, indices):
        fetched.append(len(indices))
        return whole(self, indices)

    monkeypatch.setattr(batches._BatchedImages, "__getitems__", spy)
    assert len(list(HostBatches(numbered(70), CPU, pin_memory=False).take(range(70), 32))) == 3
    assert fetched == [32, 32, 6]


def test_a_dataset_that_fills_a_gpu_stays_on_the_host(monkeypatch):
    split = numbered(100)
    needed = split.images.nbytes + split.labels.nbytes
    for free, expected in ((5 * needed, "device"), (3 * needed, "host")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * free))
        assert source_that_fits("device", [split], torch.device("cuda")) == expected
    assert source_that_fits("host", [split], torch.device("cuda")) == "host"
    assert source_that_fits("device", [split], CPU) == "device"


def test_on_a_cpu_images_are_not_copied():
    split = numbered(4)
    assert DeviceBatches(split, CPU).images is split.images
