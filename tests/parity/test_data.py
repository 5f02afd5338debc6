"""These tests use data sets of PyTorch in a loader, and mixed labels in the losses of both."""

import numpy as np
import torch
from torch.utils import data as theirs

import minidl as md
from minidl import data
from minidl.data import transforms as T


class Pictures(theirs.Dataset):
    """Items (image tensor, int), as PyTorch's own data sets have them."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index >= 10:
            raise IndexError(index)
        return torch.full((4, 5, 3), float(index)), index % 2


def test_data_sets_of_pytorch():
    for dataset, rows in (
        (Pictures(), range(10)),
        (theirs.Subset(Pictures(), [7, 2]), [7, 2]),
        (data.Subset(Pictures(), [7, 2]), [7, 2]),
    ):
        images, labels = next(iter(data.DataLoader(dataset, 10, transform=T.RandomFlip())))
        assert images.dtype == np.float32 and images.shape == (len(rows), 4, 5, 3)
        assert images.numpy()[:, 0, 0, 0].tolist() == list(rows)
        assert labels.dtype == np.int64 and labels.tolist() == [row % 2 for row in rows]


def test_a_tensor_data_set():
    dataset = theirs.TensorDataset(torch.rand(6, 3), torch.arange(6))
    batch, labels = next(iter(data.DataLoader(dataset, 6)))
    assert np.array_equal(batch.numpy(), dataset.tensors[0].numpy())
    assert labels.tolist() == list(range(6))
    parts = data.split(dataset, (0.5, 0.5))
    assert sorted([*parts[0].indices, *parts[1].indices]) == list(range(6))
    mean, std = data.mean_std(dataset)
    np.testing.assert_allclose(mean, dataset.tensors[0].double().mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, dataset.tensors[0].double().std(0, correction=0), rtol=1e-6)


def test_tensors_are_data_and_images():
    x = torch.rand(4, 6, 6, 3)
    assert next(iter(data.DataLoader(x, 4))).shape == (4, 6, 6, 3)
    assert T.CenterCrop(4)(x).shape == (4, 4, 4, 3)


def test_the_loss_of_mixed_labels():
    images = np.random.default_rng(0).random((8, 6, 6, 3), np.float32)
    _, labels = T.CutMix(1.0, classes=5)(images, np.arange(8) % 5, np.random.default_rng(0))
    logits = np.random.default_rng(1).standard_normal((8, 5)).astype(np.float32)
    ours = md.cross_entropy(md.tensor(logits), labels).item()
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert abs(ours - loss.item()) < 1e-6
