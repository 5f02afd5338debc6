"""Train 784-256-BatchNorm-ReLU-10 on MNIST: the smallest complete program.

python examples/seed_net.py --epochs 3
"""

import argparse

import minidl as md
from minidl import data, nn, optim


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Dense(784, 256)
        self.bn1 = nn.BatchNorm(256)
        self.fc2 = nn.Dense(256, 10)

    def forward(self, x):
        return self.fc2(md.relu(self.bn1(self.fc1(x))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()

    md.manual_seed(0)
    model = Net()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = data.DataLoader(data.MNIST(split="train"), batch_size=128, shuffle=True)
    test = data.MNIST(split="test")
    for epoch in range(args.epochs):
        for images, labels in loader:
            loss = md.cross_entropy(model(images.reshape(len(images), -1)), labels)
            model.zero_grad()
            loss.backward()
            optimizer.step()
        logits = model.predict(test.images.reshape(len(test), -1))
        print(
            f"epoch {epoch + 1}: loss {loss.item():.4f}, "
            f"test accuracy {md.accuracy(logits, test.labels):.4f}"
        )


if __name__ == "__main__":
    main()
