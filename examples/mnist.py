"""Train a network with batch normalization on MNIST: what `make mnist` runs.

    python examples/mnist.py --epochs 12 --model cnn

The program writes the model (mnist.safetensors) and a picture of the curves and of misread digits
(mnist.png).
"""

import argparse
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

import minidl as md
from minidl import data, models, optim


def train_epoch(model, loader, optimizer, schedule, title):
    """Train for one epoch; return the mean loss and the accuracy while training."""
    model.train()
    losses, hits, seen = [], 0, 0
    with tqdm(total=len(loader.dataset), desc=title, unit=" images", unit_scale=True) as bar:
        for images, labels in loader:
            optimizer.lr = next(schedule)
            logits = model(images)
            loss = md.cross_entropy(logits, labels)
            model.zero_grad()
            loss.backward()
            optimizer.step()

            losses.append(loss.item())
            hits += md.accuracy(logits, labels) * len(labels)
            seen += len(labels)
            bar.set_postfix(loss=f"{losses[-1]:.4f}", accuracy=f"{hits / seen:.4f}", refresh=False)
            bar.update(len(labels))
    return float(np.mean(losses)), hits / seen


def cosine(lr, steps):
    """Return learning rates from lr down to nearly 0, along half a cosine."""
    return (lr * 0.5 * (1 + math.cos(math.pi * t / steps)) for t in range(steps))


def draw(history, images, labels, guesses, path):
    """Draw the curves of the training, and the test digits that are still misread."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subfigures(1, 2)
    epochs = range(1, len(history) + 1)
    loss_axes, accuracy_axes = left.subplots(2, 1, sharex=True)
    loss_axes.plot(epochs, [h["loss"] for h in history], marker="o")
    loss_axes.set_ylabel("training loss")
    accuracy_axes.plot(epochs, [h["train"] for h in history], marker="o", label="while training")
    accuracy_axes.plot(epochs, [h["test"] for h in history], marker="o", label="test")
    accuracy_axes.set(xlabel="epoch", ylabel="accuracy", xticks=list(epochs))
    accuracy_axes.legend()

    wrong = np.flatnonzero(guesses != labels)
    right.suptitle(f"{len(wrong)} of {len(labels)} test digits misread (label → guess)")
    for axes, k in zip(right.subplots(4, 6).flat, wrong, strict=False):
        axes.imshow(images[k, :, :, 0], cmap="gray_r")
        axes.set_title(f"{labels[k]} → {guesses[k]}", fontsize=9)
    for axes in right.axes:
        axes.axis("off")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1, help="the highest learning rate")
    parser.add_argument("--model", choices=["mlp", "cnn"], default="cnn")
    parser.add_argument("--norm", choices=models.norms.NAMES, default="batch")
    parser.add_argument(
        "--threads", type=int, help="number of threads; default: all that this process may use"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", help="folder with the MNIST files; default: the shipped ones")
    parser.add_argument("--save", type=Path, default=Path("mnist.safetensors"))
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {args.epochs}")

    md.manual_seed(args.seed)
    if args.threads is not None:
        md.set_num_threads(args.threads)
    train = data.MNIST(args.data, split="train")
    test = data.MNIST(args.data, split="test")
    loader = data.DataLoader(train, args.batch_size, shuffle=True)

    model = (models.MLP if args.model == "mlp" else models.MnistCNN)(norm=args.norm)
    optimizer = optim.SGD(model.parameters(), args.lr, momentum=0.9, weight_decay=1e-3)
    schedule = cosine(args.lr, args.epochs * len(loader))
    print(model.summary((28, 28, 1)))

    history = []
    for epoch in range(1, args.epochs + 1):
        loss, accuracy = train_epoch(
            model, loader, optimizer, schedule, f"epoch {epoch}/{args.epochs}"
        )
        guesses = model.predict(test.images).argmax(axis=1)
        history.append(
            {"loss": loss, "train": accuracy, "test": float((guesses == test.labels).mean())}
        )

    md.save(args.save, model.state_dict())
    picture = args.save.with_suffix(".png")
    draw(history, test.images, test.labels, guesses, picture)
    print(f"saved {args.save} and {picture}")
    print(f"test accuracy {history[-1]['test']:.4f}")


if __name__ == "__main__":
    main()
