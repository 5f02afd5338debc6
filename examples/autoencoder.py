"""Train a convolutional autoencoder on MNIST: 784 pixels through 16 numbers and back.

    python examples/autoencoder.py --epochs 5

The encoder halves the size of the images twice, and the decoder doubles it again with transposed
convolutions. The program writes a picture of test digits with their reconstructions below them
(autoencoder.png).
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

import minidl as md
from minidl import data, nn, optim


class Autoencoder(nn.Layer):
    """Encodes images (N, 28, 28, 1) as `code` numbers, and decodes these to logits of pixels."""

    def __init__(self, code=16):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv(1, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm(16),
            nn.ReLU(),
            nn.Conv(16, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm(32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dense(7 * 7 * 32, code),
        )
        self.widen = nn.Sequential(
            nn.Dense(code, 7 * 7 * 32, bias=False), nn.BatchNorm(7 * 7 * 32), nn.ReLU()
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose(32, 16, 2, stride=2, bias=False),
            nn.BatchNorm(16),
            nn.ReLU(),
            nn.ConvTranspose(16, 1, 2, stride=2),
        )

    def forward(self, x):
        return self.decoder(self.widen(self.encoder(x)).reshape(-1, 7, 7, 32))


def error(model, images):
    """Return the mean squared error of the reconstructed pixels, in eval mode."""
    return float(np.mean((rebuilt(model, images) - images) ** 2))


def rebuilt(model, images):
    """Return the reconstructions of images, with values from 0 to 1."""
    return 1 / (1 + np.exp(-model.predict(images)))


def draw(images, again, path):
    """Draw images in one row and their reconstructions in another."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(images), figsize=(len(images), 2), layout="constrained")
    for row, pictures in zip(axes, (images, again), strict=True):
        for ax, picture in zip(row, pictures, strict=True):
            ax.imshow(picture[:, :, 0], cmap="gray_r", vmin=0, vmax=1)
            ax.axis("off")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--code", type=int, default=16, help="how many numbers encode an image")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick", action="store_true", help="train for four epochs on 2,000 images"
    )
    parser.add_argument("--data", help="folder with the MNIST files; default: the shipped ones")
    parser.add_argument("--picture", type=Path, default=Path("autoencoder.png"))
    args = parser.parse_args()

    md.manual_seed(args.seed)
    train, test = (data.MNIST(args.data, split=split) for split in ("train", "test"))
    if args.quick:
        train = data.ArrayDataset(train.images[:2000], train.labels[:2000])
    images = test.images[: 1000 if args.quick else None].astype(np.float32) / 255
    model = Autoencoder(args.code)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    loader = data.DataLoader(train, args.batch_size, shuffle=True, drop_last=True)
    print(f"an image of the mean gray everywhere: {np.var(images):.5f}")
    for epoch in range(1, 5 if args.quick else args.epochs + 1):
        model.train()
        for batch, _ in tqdm(loader, desc=f"epoch {epoch}", unit=" batches"):
            loss = md.binary_cross_entropy_with_logits(model(batch), batch)
            model.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"mean squared error of the test images {error(model, images):.5f}")
    draw(images[:12], rebuilt(model, images[:12]), args.picture)
    print(f"saved {args.picture}")


if __name__ == "__main__":
    main()
