"""Train with tiny batches, then evaluate with running and with precise statistics.

    python examples/precise_bn.py --dataset cifar10 --data FOLDER --images 20000 --epochs 3

With batches of 2 to 8 images, running statistics are an average over only some tens of images, and
say little about what the model computes. `nn.recalibrate` gives every BatchNorm the statistics of
the training images instead (Precise BN: Wu & Johnson 2021). For each batch size the program prints
the test accuracy with running statistics, with precise ones, and with those of the test batches
themselves, as the mean over the ends of the last few epochs. docs/normalization.md has the figures.
The default data set is MNIST, which ships with the package.
"""

import argparse
import warnings

import numpy as np

import minidl as md
from minidl import data, nn, optim

RATE = 0.1 / 32  # the learning rate for each image of a batch


def network(channels):
    """Return six convolutions with BatchNorm, two max-pools, a global pool, and a dense layer."""
    layers = []
    for block, width in enumerate((16, 32, 64)):
        for _ in range(2):
            layers += [
                nn.Conv(channels, width, 3, padding=1, bias=False),
                nn.BatchNorm(width),
                nn.ReLU(),
            ]
            channels = width
        layers.append(nn.MaxPool(2) if block < 2 else nn.GlobalAvgPool())
    return nn.Sequential(*layers, nn.Dense(channels, 10))


def train_epoch(model, optimizer, loader):
    for images, labels in loader:
        loss = md.cross_entropy(model(images), labels)
        model.zero_grad()
        loss.backward()
        optimizer.step()


def accuracies(model, train, test, images):
    """Return the accuracies with running, precise and the test batches' own statistics, and the
    report of `recalibrate`."""
    running = md.accuracy(model.predict(test.images), test.labels)
    with nn.batch_statistics(model):
        batches = md.accuracy(model.predict(test.images, 500), test.labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this program measures these gaps on purpose
        report = nn.recalibrate(model, data.DataLoader(train, 500), -(-images // 500))
    precise = md.accuracy(model.predict(test.images), test.labels)
    report.restore()  # training continues with the running statistics
    return (running, precise, batches), report


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("mnist", "cifar10"), default="mnist")
    parser.add_argument("--data", help="folder with CIFAR-10; default: MINIDL_DATA, or a download")
    parser.add_argument("--images", type=int, default=10_000, help="number of training images")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--last", type=int, default=3, help="number of last epochs whose ends are averaged"
    )
    parser.add_argument(
        "--momentum", type=float, default=0.1, help="momentum of the running statistics"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick", action="store_true", help="train on a thousand images, only to see that it runs"
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.images, args.batch_sizes, args.epochs = 1000, [8], 1
    kind = data.CIFAR10 if args.dataset == "cifar10" else data.MNIST
    train, test = kind(args.data, split="train"), kind(args.data, split="test")
    train = data.ArrayDataset(train.images[: args.images], train.labels[: args.images])
    if args.quick:
        test = data.ArrayDataset(*test[:1000])
    results = {}
    print("batch  running  precise  of the test batch")
    for size in args.batch_sizes:
        md.manual_seed(args.seed)
        model = network(train.images.shape[-1])
        for _, layer in model.named_layers():
            if isinstance(layer, nn.BatchNorm):
                layer.momentum = args.momentum
        optimizer = optim.SGD(model.parameters(), RATE * size, 0.9)
        loader = data.DataLoader(train, size, shuffle=True, drop_last=True, seed=args.seed)
        found = []
        for _ in range(args.epochs):
            train_epoch(model.train(), optimizer, loader)
            each, report = accuracies(model, train, test, args.images)
            found.append(each)
        results[size] = np.mean(found[-args.last :], axis=0)
        running, precise, batches = results[size]
        print(f"{size:5} {running:8.4f} {precise:8.4f} {batches:18.4f}", flush=True)
    print(f"\nThe layers at the end, batch size {size}:\n{report}")
    return results


if __name__ == "__main__":
    main()
