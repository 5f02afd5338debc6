"""These tests train a small CNN on handwritten digits, stopped and resumed, with many options
on.
"""

import functools

import minidl as md
from minidl import data, models, optim, train


def digits(split, count):
    whole = data.MNIST(split=split)
    return data.ArrayDataset(whole.images[:count], whole.labels[:count])


def run(folder, epochs, resume):
    md.manual_seed(0)
    model = models.MnistCNN()
    loader = data.DataLoader(digits("train", 1500), batch_size=50, shuffle=True)
    optimizer = optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    trainer = train.Trainer(
        model,
        optimizer,
        loss=functools.partial(md.cross_entropy, label_smoothing=0.1),
        schedule=optim.OneCycleLR(optimizer, max_lr=0.05, steps=2 * len(loader)),
        clip=5.0,
        ema=0.97,
        metrics=("accuracy", "top2"),
        callbacks=[train.Checkpoint(folder), train.CSVLogger(folder / "log.csv")],
    )
    history = trainer.fit(loader, valid=digits("test", 500), epochs=epochs, resume=resume)
    return trainer, history


def test_digits_are_learned_stopped_and_resumed(tmp_path):
    run(tmp_path, epochs=1, resume="auto")
    trainer, history = run(tmp_path, epochs=2, resume="auto")
    assert history["valid_accuracy"][-1] > 0.93
    assert history["valid_top2"][-1] > history["valid_accuracy"][-1]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert trainer.evaluate(digits("test", 500))["accuracy"] == history["valid_accuracy"][-1]
    model = models.MnistCNN()
    model.load_state_dict(md.load(tmp_path / "best.safetensors"))
    images, labels = digits("test", 500).images, digits("test", 500).labels
    assert md.accuracy(model.predict(images), labels) == max(history["valid_accuracy"])
