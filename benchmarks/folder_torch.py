"""This program does the job of `minidl train FOLDER` in PyTorch as a user of PyTorch would write
it, so that its lines can be counted.

    python -m benchmarks.folder_torch photos out --epochs 3

It reads pictures of one size from a folder for each class, and keeps a tenth of them for
validation. It shifts and mirrors them, trains a ResNet-20 by SGD over one cycle, and saves the best
model and a checkpoint that can be resumed. There is no report, a kill can destroy the checkpoint,
and a resumed training does not give the same bits.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset):
    def __init__(self, paths, labels, mean, std, augment):
        self.paths, self.labels, self.augment = paths, labels, augment
        self.mean, self.std = mean.view(3, 1, 1), std.view(3, 1, 1)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        x = (read(self.paths[i]) - self.mean) / self.std
        if self.augment:
            height, width = x.shape[1:]
            pad = min(height, width) // 8
            padded = F.pad(x[None], (pad,) * 4, mode="reflect")[0]
            top, left = torch.randint(0, 2 * pad + 1, (2,)).tolist()
            x = padded[:, top : top + height, left : left + width]
            if torch.rand(()) < 0.5:
                x = x.flip(2)
        return x, self.labels[i]


def read(path):
    with Image.open(path) as picture:
        array = np.asarray(picture.convert("RGB"))
    return torch.from_numpy(array.copy()).permute(2, 0, 1) / 255


class Block(nn.Module):
    def __init__(self, inside, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet20(classes):
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inside = 16
    for out in (16, 32, 64):
        for i in range(3):
            layers.append(Block(inside, out, 2 if i == 0 and out > 16 else 1))
            inside = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


@torch.no_grad()
def accuracy(model, loader):
    model.eval()
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)
    return right / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    classes = sorted(path.name for path in args.folder.iterdir() if path.is_dir())
    train, valid = [], []
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        paths = sorted(
            path
            for path in (args.folder / name).rglob("*")
            if path.suffix.lower() in (".png", ".jpg", ".jpeg")
        )
        rng.shuffle(paths)
        kept = max(1, len(paths) // 10)
        valid += [(path, label) for path in paths[:kept]]
        train += [(path, label) for path in paths[kept:]]
    values = torch.stack([read(path) for path, _ in train])
    mean, std = values.mean((0, 2, 3)), values.std((0, 2, 3))
    loader = DataLoader(Pictures(*zip(*train, strict=True), mean, std, True), 128, shuffle=True)
    check = DataLoader(Pictures(*zip(*valid, strict=True), mean, std, False), 256)
    model = resnet20(len(classes))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=args.epochs * len(loader), pct_start=0.2
    )
    begin, best, last = 0, 0.0, args.out / "last.pt"
    if last.exists():
        state = torch.load(last)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        begin, best = state["epoch"], state["best"]
    for epoch in range(begin, args.epochs):
        model.train()
        total = 0.0
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(y)
        found = accuracy(model, check)
        print(f"epoch {epoch + 1}: loss {total / len(train):.4f}, valid accuracy {found:.4f}")
        if found > best:
            best = found
            torch.save(
                {"model": model.state_dict(), "classes": classes, "mean": mean, "std": std},
                args.out / "best.pt",
            )
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "epoch": epoch + 1,
                "best": best,
            },
            last,
        )
    print(f"valid accuracy {best:.4f}")


if __name__ == "__main__":
    main()
