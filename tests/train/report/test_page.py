"""These tests check the report page: it is complete, needs no other file, is accessible as far as
its source shows, and leaves out what was not given.
"""

import builtins
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from minidl import data, models, train
from tests.support.errors import refuses
from tests.support.reports import bright, noise, pictures, saved, settings, small_network, trained

VOID = {"meta", "img", "br", "link", "hr", "input"}
EVIL = "<script>alert(\"1\")</script> & 'x'"


class Parsed(HTMLParser):
    """The elements of a page. An end tag that closes another element is an error."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text += text

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def sections(self):
        return [attributes["id"] for attributes in self.all("section")]


@pytest.fixture(scope="module")
def full():
    """Return a report to which everything was given."""
    layers = train.LayerStatistics()
    model, history = trained([layers])
    return train.report(
        models.Saved(model, ["left", "middle", "right"]),
        pictures(30, seed=1),
        history=history,
        train_set=pictures(),
        statistics=layers,
        config={"lr": 0.2, "optimizer": {"name": "sgd"}, "path": EVIL},
        command="minidl train spots --lr 0.2",
        title="Spots",
    )


@pytest.fixture(scope="module")
def page(full):
    return full.html()


def test_all_sections(page):
    parsed = Parsed(page)
    assert set(parsed.sections) - {"findings", "misread"} == {
        "curves",
        "confusion",
        "classes",
        "looks",
        "layers",
        "duplicates",
        "configuration",
        "machine",
    }
    links = [link["href"] for link in parsed.all("a")]
    ids = {attributes.get("id") for _, attributes in parsed.elements}
    assert len(links) >= 8 and all(link.startswith("#") and link[1:] in ids for link in links)
    for words in (
        "Spots",
        "learning rate",
        "Grad-CAM",
        "optimizer.name",
        "minidl train spots --lr 0.2",
        "kernels",
        "python",
        "Size of a step",
        "What normalization does",
    ):
        assert words.lower() in parsed.text.lower()


def test_only_what_was_given_has_a_section():
    report = train.report(saved(), (bright([0, 1]), [0, 2]))
    assert Parsed(report.html()).sections == [
        "findings",
        "confusion",
        "classes",
        "looks",
        "machine",
    ]
    assert "no convolution" in report.html()


def test_the_page_is_self_contained(page):
    assert "http" not in page and "//" not in re.sub(r'"data:[^"]*"', "", page)
    parsed = Parsed(page)
    assert not parsed.all("script") and not parsed.all("link")
    for attributes in (*parsed.all("img"), *parsed.all("use"), *parsed.all("image")):
        source = attributes.get("src") or attributes.get("href")
        assert source.startswith(("data:image/png;base64,", "#"))
    assert len(page) < 3e6


def test_ids_are_unique_and_what_plots_refer_to_exists(page):
    ids = [attributes["id"] for _, attributes in Parsed(page).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for name in re.findall(r'(?:href="|url\()#([^")]+)', page):
        assert name in ids


def test_headings_are_in_order_and_pictures_have_a_text(page):
    parsed = Parsed(page)
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert parsed.all("img") and all(image["alt"] for image in parsed.all("img"))
    svgs = [a for tag, a in parsed.elements if a.get("role") == "img"]
    assert svgs and all(a["aria-label"] for a in svgs)
    assert parsed.all("html")[0]["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in parsed.all("meta"))


def test_colours_come_from_the_style(page):
    """Plots have no colours of their own, so that they can be read in the dark theme."""
    plots = "".join(re.findall(r"<svg.*?</svg>", page, re.S))
    assert "var(--a)" in plots
    assert not re.findall(r"#[0-9a-f]{6}\b", plots)
    assert "prefers-color-scheme: dark" in page


def test_what_users_name_is_escaped(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name in ("a & <b>", '"quoted" $x$'):
        (tmp_path / name).mkdir()
        for i, picture in enumerate(noise(3)):
            image.fromarray(picture).save(tmp_path / name / f"<i>{i}.png")
    folder = data.ImageFolder(tmp_path, cache=False)
    model = models.Saved(
        models.create("mnist-cnn", classes=2, input_shape=(16, 16, 3)), folder.classes
    )
    text = train.report(
        model,
        folder,
        valid_name=EVIL,
        title=EVIL,
        command=EVIL,
        config={EVIL: {EVIL: EVIL}},
        history={"loss": [1.0], "_$<b>": [2.0]},
        train_set=folder,
    ).html()
    parsed = Parsed(text)
    assert not parsed.all("script") and not parsed.all("b") and not parsed.all("i")
    assert EVIL in parsed.text and '"quoted" $x$' in parsed.text and "a & <b>" in parsed.text


@pytest.mark.parametrize("classes", [2, 20, 21, 130])
def test_a_confusion_matrix_of_any_size(classes):
    names = [f"class {k}" for k in range(classes)]
    levels = np.linspace(0, 1, classes)
    labels = np.roll(np.arange(classes), 1)
    text = train.report(saved(names), (bright(levels), labels)).html()
    parsed = Parsed(text)
    assert len(text) < 1e6
    if classes <= 20:
        cells = [a for a in parsed.all("td") if a.get("class", "").startswith("wrong")]
    else:
        cells = [a for a in parsed.all("rect") if a.get("class") == "wrong"]
    assert len(cells) == classes if classes <= 120 else len(cells) > 110
    assert ("others are left out" in parsed.text) == (classes > 120)


def test_the_page_of_large_noisy_pictures_is_small():
    images = np.random.default_rng(0).integers(0, 256, (60, 200, 150, 3), np.uint8)
    model = models.Saved(models.create("mnist-cnn", classes=3, input_shape=(200, 150, 3)))
    report = train.report(model, (images, np.arange(60) % 3), train_set=(images, np.arange(60)))
    assert len(report.duplicates) == 60
    assert len(report.html()) < 3e6


@pytest.mark.parametrize(
    "images",
    [
        noise(6, channels=1),
        noise(6, channels=3),
        noise(6).astype(np.float32) / 255,
        noise(6).astype(np.float64) * 3 - 100,
    ],
)
def test_pictures_of_any_kind(images):
    model = models.Saved(models.create("mnist-cnn", classes=3, input_shape=images.shape[1:]))
    assert Parsed(train.report(model, (images, np.arange(6) % 3)).html()).all("img")


def test_no_epoch_no_curves():
    report = train.report(
        saved(),
        (bright([0, 1]), [0, 2]),
        history={"loss": [], "lr": []},
        statistics=train.LayerStatistics(),
    )
    assert not {"curves", "layers"} & set(Parsed(report.html()).sections)


def test_figures_that_are_not_finite():
    history = {
        "loss": [float("nan"), float("inf"), 1.0],
        "valid_loss": [1.0, float("nan"), 2.0],
        "lr": [0.1] * 3,
    }
    assert (
        "curves"
        in Parsed(train.report(saved(), (bright([0]), [0]), history=history).html()).sections
    )


def test_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    report = train.report(saved(), (bright([0, 1]), [0, 2]))
    path = tmp_path / "report.html"
    report.save(path)
    text = path.read_text(encoding="utf-8")
    assert Parsed(text).sections and text.startswith("<!DOCTYPE html>")
    monkeypatch.setattr(type(report), "html", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.save(path)
    assert path.read_text(encoding="utf-8") == text and len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        train.report(saved(), (bright([0]), [0])).save(tmp_path / "no" / "report.html")


@pytest.mark.parametrize("package", ["jinja2", "matplotlib", "PIL"])
def test_a_missing_package_names_the_extra(package, monkeypatch):
    report = train.report(saved(), (bright([0, 1]), [0, 2]))

    def imported(name, *rest):
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {package}", name=package)
        return original(name, *rest)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", imported)
    with refuses(ImportError, package, "minidl[report]"):
        report.html()


def test_matplotlib_is_left_as_it_is(full):
    before = settings()
    pyplot = "matplotlib.pyplot" in sys.modules
    full.html()
    assert settings() == before
    assert ("matplotlib.pyplot" in sys.modules) == pyplot


def test_the_same_report_is_the_same_page(full, page):
    assert full.html() == page


def test_a_frozen_model_is_explained():
    model = small_network().freeze()
    images = noise(6, 12, 1)
    report = train.report(models.Saved(model), (images, np.arange(6) % 3))
    assert "What speaks for" in report.html()
