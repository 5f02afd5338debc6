"""These tests check the batches of a DataLoader, their order, loops over them, and arguments.
Transforms and resumption have files of their own, and `test_prefetch` tests the thread.
"""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

import minidl.random
from minidl.data import MNIST, ArrayDataset, DataLoader
from minidl.tensor import Tensor
from tests.support.loaders import labels_of, numbered, prefetch_threads
from tests.support.processes import python

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.mark.parametrize("prefetch", [0, 2])
def test_mnist(prefetch):
    data = MNIST(split="test")
    loader = DataLoader(data, 128, prefetch=prefetch)
    assert len(loader) == 79
    batches = list(loader)
    assert len(batches) == 79
    images, labels = batches[0]
    assert isinstance(images, Tensor) and images.shape == (128, 28, 28, 1)
    assert images.dtype == np.float32 and labels.dtype == np.int64
    assert batches[-1][0].shape == (16, 28, 28, 1) and batches[-1][1].shape == (16,)
    together = np.concatenate([images.numpy() for images, _ in batches])
    assert np.array_equal(together, data.images.astype(np.float32) / np.float32(255))
    assert np.array_equal(np.concatenate([labels for _, labels in batches]), data.labels)


@pytest.mark.parametrize(
    ("count", "size", "drop_last", "lengths"),
    [
        (10, 4, False, [4, 4, 2]),
        (10, 4, True, [4, 4]),
        (8, 4, False, [4, 4]),
        (8, 4, True, [4, 4]),
        (3, 4, False, [3]),
        (3, 4, True, []),
        (3, 1, False, [1, 1, 1]),
        (0, 4, False, []),
        (0, 4, True, []),
    ],
)
@pytest.mark.parametrize("prefetch", [0, 1, 2, 50])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches(count, size, drop_last, lengths, prefetch, shuffle):
    loader = DataLoader(
        numbered(count), size, shuffle=shuffle, drop_last=drop_last, prefetch=prefetch
    )
    assert len(loader) == len(lengths)
    batches = labels_of(loader)
    assert [len(labels) for labels in batches] == lengths
    seen = list(itertools.chain(*batches))
    assert len(set(seen)) == len(seen) == sum(lengths)
    if not shuffle:
        assert seen == list(range(sum(lengths)))


def test_image_and_label_stay_together():
    for images, labels in DataLoader(numbered(200), 7, shuffle=True, seed=1):
        expected = np.broadcast_to(labels.reshape(-1, 1, 1, 1), images.shape)
        assert np.array_equal(np.rint(images.numpy() * 255), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
@pytest.mark.parametrize("shuffle", [False, True])
def test_other_dtypes_pass_unchanged(dtype, shuffle):
    data = ArrayDataset(np.array([[0], [1], [7]]).astype(dtype), [0, 1, 2])
    (images, labels), *_ = DataLoader(data, 3, shuffle=shuffle, seed=0)
    assert images.dtype == dtype
    assert np.array_equal(images.numpy(), data.images[labels])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.int32, np.int64), (np.uint8, np.int64), (bool, np.int64), (np.float32, np.float32)],
)
def test_labels(dtype, expected):
    data = ArrayDataset(np.zeros((2, 1)), np.array([0, 1], dtype))
    ((_, labels),) = DataLoader(data, 2)
    assert labels.dtype == expected and labels.tolist() == [0, 1]


def test_layouts():
    """Whatever the memory layout of the data set, a batch is contiguous and has the native byte
    order.
    """
    planes = np.arange(48, dtype=np.float32).reshape(2, 3, 4, 2)
    for images in (planes.transpose(0, 2, 3, 1), planes[:, ::-1], planes.astype(">f4")):
        ((batch, _),) = DataLoader(ArrayDataset(images, [0, 1]), 2)
        assert np.array_equal(batch.numpy(), images)
        assert batch.numpy().flags.c_contiguous and batch.numpy().dtype.isnative


def test_batches_are_copies():
    data = numbered(4, np.float32)
    for images, labels in DataLoader(data, 2):
        images.numpy()[...] = -1
        labels[...] = -1
    assert np.array_equal(data.images[:, 0, 0, 0], [0, 1, 2, 3])
    assert np.array_equal(data.labels, [0, 1, 2, 3])


class Items:
    """A data set without arrays."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return np.full((2, 2, 1), index, np.uint8), index


def test_items():
    ((images, labels), (last, _)) = DataLoader(Items(), 3)
    assert images.shape == (3, 2, 2, 1) and images.dtype == np.float32
    assert np.array_equal(images.numpy()[:, 0, 0, 0], np.float32([0, 1, 2]) / np.float32(255))
    assert labels.dtype == np.int64 and labels.tolist() == [0, 1, 2]
    assert last.shape == (2, 2, 2, 1)
    pairs = [(np.float64([1.0]), 3), (np.float64([2.0]), 4)]
    ((images, labels),) = DataLoader(pairs, 2)
    assert images.numpy().tolist() == [[1.0], [2.0]] and labels.tolist() == [3, 4]


# Order


def test_order_is_a_function_of_seed_and_epoch():
    def epochs(seed, prefetch, count=3):
        loader = DataLoader(numbered(50), 8, shuffle=True, seed=seed, prefetch=prefetch)
        return [labels_of(loader) for _ in range(count)]

    first = epochs(5, 0)
    assert first == epochs(5, 2) == epochs(np.int64(5), 9)
    assert first[0] != first[1] != first[2] != first[0]
    assert first != epochs(6, 0)


def test_order_does_not_change_between_versions():
    """A run that a later version resumes continues in the same order."""
    loader = DataLoader(numbered(10), 10, shuffle=True, seed=3)
    assert labels_of(loader) == [[6, 8, 4, 1, 3, 5, 9, 7, 0, 2]]
    assert labels_of(loader) == [[2, 4, 0, 5, 8, 1, 3, 9, 7, 6]]


def test_seed_is_drawn_from_the_generator_once():
    def seeds():
        minidl.random.manual_seed(11)
        return [DataLoader(numbered(3)).seed for _ in range(2)]

    assert seeds() == seeds()
    assert len(set(seeds())) == 2
    minidl.random.manual_seed(11)
    state = minidl.random.generator().bit_generator.state
    list(DataLoader(numbered(9), shuffle=True, seed=1))
    assert repr(minidl.random.generator().bit_generator.state) == repr(state)


def test_order_does_not_depend_on_the_batch_size():
    orders = [
        list(itertools.chain(*labels_of(DataLoader(numbered(30), size, shuffle=True, seed=2))))
        for size in (1, 7, 30)
    ]
    assert orders[0] == orders[1] == orders[2]


# The loop


def test_left_early():
    loader = DataLoader(numbered(100), 2, prefetch=3)
    # The caller does nothing, so a thread makes batches after two of them.
    for batch, _ in enumerate(loader):
        assert len(prefetch_threads()) == (batch >= 2)
        if batch == 3:
            break
    assert prefetch_threads() == []
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    assert len(prefetch_threads()) == 1
    del iterator
    assert prefetch_threads() == []


@pytest.mark.skipif(
    not Path("/proc/self/task").exists() or not minidl.kernels.openmp,
    reason="Linux tells the number of threads",
)
def test_a_thread_makes_batches_on_one_thread():
    """Kernels would start threads in it that compete with the model's."""
    code = """
import os
import numpy as np
import minidl as md
from minidl.data import ArrayDataset, DataLoader
md.set_num_threads(4)
images = np.zeros((1000, 28, 28, 1), np.uint8)
before = len(os.listdir("/proc/self/task"))
loader = iter(DataLoader(ArrayDataset(images, np.zeros(1000, int)), 200))
for _ in range(4):
    x, _ = next(loader)
print(len(os.listdir("/proc/self/task")) - before)
(x * 2).sum()
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert python(code).stdout.split() == ["1", "4"]


def test_exception_in_the_loop():
    with pytest.raises(ZeroDivisionError):
        for _ in DataLoader(numbered(100), 2):
            1 / 0  # noqa: B018
    assert prefetch_threads() == []


def test_two_iterations_at_once():
    def loader():
        return DataLoader(numbered(40), 3, shuffle=True, seed=4)

    one = loader()
    both = list(zip(one, one, strict=True))
    alone = loader()
    assert labels_of(a for a, _ in both) == labels_of(alone)
    assert labels_of(b for _, b in both) == labels_of(alone)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "DataLoader: batch_size must be an int >= 1, got 0"),
        ({"batch_size": -3}, ValueError, "batch_size must be an int >= 1, got -3"),
        ({"batch_size": 2.0}, TypeError, r"batch_size must be an int >= 1, got 2\.0"),
        ({"batch_size": True}, TypeError, "batch_size must be an int >= 1"),
        ({"batch_size": None}, TypeError, "batch_size must be an int >= 1"),
        ({"prefetch": -1}, ValueError, "prefetch must be an int >= 0, got -1"),
        ({"prefetch": "2"}, TypeError, "prefetch must be an int >= 0, got '2'"),
        ({"seed": -1}, ValueError, "seed must be an int >= 0, got -1"),
        ({"seed": 2**64}, ValueError, "seed must be an int from 0 to 18446744073709551615, got"),
        ({"seed": 1.5}, TypeError, "seed must be an int >= 0, got"),
        ({"transform": 3}, TypeError, "transform must be a function of images, or None, got 3"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        DataLoader(numbered(4), **arguments)


@pytest.mark.parametrize(
    "dataset", [np.zeros(()), (np.zeros(3), np.zeros(3)), "mnist", {}, None, 3, iter([])]
)
def test_not_a_data_set(dataset):
    with pytest.raises(TypeError, match=r"dataset must .*; got a .*ArrayDataset\(images, labels\)"):
        DataLoader(dataset)


def test_arrays_that_disagree_with_the_length():
    data = numbered(4)
    data.labels = data.labels[:3]
    message = r"dataset\.labels must have a first axis of len\(dataset\) = 4; its shape is \(3,\)"
    with pytest.raises(ValueError, match=message):
        DataLoader(data)


def test_repr():
    loader = DataLoader(numbered(4), 2, shuffle=True, seed=8)
    assert repr(loader) == (
        "DataLoader(ArrayDataset(images (4, 2, 3, 1) uint8, labels (4,) int64), batch_size=2, "
        "shuffle=True, transform=None, drop_last=False, seed=8, prefetch=2)"
    )


@pytest.mark.parametrize(
    "name, word",
    [
        ("num_workers", "prefetch"),
        ("collate_fn", "transform"),
        ("pin_memory", "leave it out"),
        ("batch_sampler", "batch_size"),
        ("generator", "seed"),
        ("shufle", ""),
    ],
)
def test_arguments_of_other_loaders(name, word):
    with pytest.raises(TypeError, match=f"unexpected keyword argument {name!r}.*{word}"):
        DataLoader(numbered(4), 2, **{name: 2})


@pytest.mark.parametrize("name", ["shuffle", "drop_last"])
def test_flags(name):
    for value in ("False", None, 2, 0.5):
        with pytest.raises(TypeError, match=f"{name} must be True or False"):
            DataLoader(numbered(4), 2, **{name: value})
    assert getattr(DataLoader(numbered(4), 2, **{name: np.True_}), name) is True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("prefetch", [0, 1, 3, 50])
@pytest.mark.parametrize("given", [0, 1, 4])
def test_an_iterator_that_a_forked_child_continues(prefetch, given):
    done = python(f"""
import os, signal
import numpy as np
from minidl.data import ArrayDataset, DataLoader
loader = DataLoader(ArrayDataset(np.arange(10)), 2, prefetch={prefetch})
expected = [b.numpy().tolist() for b in loader]
iterator = iter(loader)
start = [next(iterator).numpy().tolist() for _ in range({given})]
pid = os.fork()
if pid == 0:
    signal.alarm(30)                    # ends the child, should it hang
    same = start + [b.numpy().tolist() for b in iterator] == expected
    os._exit(0 if same and [b.numpy().tolist() for b in loader] == expected else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]),
      start + [b.numpy().tolist() for b in iterator] == expected)
""")
    assert done.stdout.split() == ["0", "True"], done.stderr
