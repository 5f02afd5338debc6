"""Write an operation of your own, check its gradient, and train with it.

    python examples/custom_function.py

The operation is x times a hard sigmoid, clip((x + 3) / 6, 0, 1): "hard swish" (Howard et al.
2019), in plain NumPy. Forward and backward stand together; `forward` keeps what `backward` needs.
"""

import argparse

import numpy as np

import minidl as md
from minidl import data, nn, optim


class HardSwish(md.Function):
    """y = x h with h = clip((x + 3) / 6, 0, 1);  dx = (h + x / 6 where 0 < h < 1) dy."""

    def forward(self, x):
        self.x = x
        self.h = np.clip((x + 3) / 6, 0, 1)
        return x * self.h

    def backward(self, dy):
        inside = (self.h > 0) & (self.h < 1)
        return dy * (self.h + np.where(inside, self.x / 6, 0).astype(dy.dtype))


class Activation(nn.Layer):
    """The operation as a layer, which a Sequential can hold."""

    def forward(self, x):
        return HardSwish.apply(x)


def train(steps, batch_size=128):
    """Train a small network on MNIST; return its accuracy on 2,000 test images."""
    md.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Dense(784, 128, bias=False),
        nn.BatchNorm(128),
        Activation(),
        nn.Dense(128, 10),
    )
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = data.DataLoader(data.MNIST(split="train"), batch_size, shuffle=True)
    for step, (images, labels) in enumerate(loader):
        if step == steps:
            break
        loss = md.cross_entropy(model(images), labels)
        model.zero_grad()
        loss.backward()
        optimizer.step()
    test = data.MNIST(split="test")
    return md.accuracy(model.predict(test.images[:2000]), test.labels[:2000])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="train for 50 steps only")
    args = parser.parse_args()
    x = md.tensor(np.linspace(-4.05, 4.05, 31), requires_grad=True)  # float64, away from the kinks
    md.gradcheck(HardSwish.apply, [x])
    print("the gradient agrees with central differences")
    steps = 50 if args.quick else 468
    print(f"accuracy after {steps} steps: {train(steps):.3f}")


if __name__ == "__main__":
    main()
