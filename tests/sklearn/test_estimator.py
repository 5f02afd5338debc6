"""These tests run scikit-learn's own checks of estimators, and use our estimators in searches,
pipelines and pickles.
"""

import pickle
import threading

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import minidl as md
from minidl import data, models, nn
from minidl.sklearn import Classifier, Regressor
from minidl.sklearn.estimator import _even
from tests.support.cases import errors_of
from tests.support.processes import python
from tests.support.sklearn_models import blobs, convolutions, dropping, pictures

X, Y = blobs()
quick = {"epochs": 2, "hidden": (8,), "random_state": 0}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([Classifier(epochs=20), Regressor(epochs=20)])
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_a_grid_search_in_two_processes_is_that_in_one():
    net = make_pipeline(StandardScaler(), Classifier(model=dropping, epochs=2, random_state=0))
    searches = [
        GridSearchCV(net, {"classifier__lr": [0.001, 0.01]}, n_jobs=jobs, cv=2).fit(X, Y)
        for jobs in (1, 2)
    ]
    results = [
        {name: value for name, value in search.cv_results_.items() if "time" not in name}
        for search in searches
    ]
    assert all(np.array_equal(value, results[1][name]) for name, value in results[0].items())
    assert np.array_equal(*[search.predict_proba(X) for search in searches])


def test_cross_validation():
    assert cross_val_score(Classifier(random_state=0), X, Y, cv=3).min() > 0.9


@pytest.mark.parametrize("make", [Classifier, Regressor])
def test_the_seed_decides(make):
    y = Y if make is Classifier else X[:, 0]
    fitted = [make(model=dropping, epochs=2, random_state=seed).fit(X, y) for seed in (0, 0, 1)]
    outputs = [net.model_.predict(np.float32(X)) for net in fitted]
    assert np.array_equal(outputs[0], outputs[1]) and not np.array_equal(outputs[0], outputs[2])


def test_fits_of_several_threads_do_not_disturb_each_other():
    expected = Classifier(model=dropping, epochs=3, random_state=0).fit(X, Y).predict_proba(X)
    found = [None] * 3

    def fit(k):
        found[k] = Classifier(model=dropping, epochs=3, random_state=0).fit(X, Y).predict_proba(X)

    threads = [threading.Thread(target=fit, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(expected, other) for other in found)


def test_the_generator_of_the_program_is_left_alone():
    md.manual_seed(5)
    expected = md.rand(3).data
    md.manual_seed(5)
    Classifier(model=dropping, epochs=1).fit(X, Y)
    assert np.array_equal(md.rand(3).data, expected)


@pytest.mark.parametrize("options", [{}, {"model": dropping}, {"early_stopping": True}])
def test_pickles(options):
    net = Classifier(**options, epochs=2, random_state=0).fit(X, Y)
    other = pickle.loads(pickle.dumps(net))
    assert np.array_equal(other.predict_proba(X), net.predict_proba(X))
    for twin in (net, other):  # the optimizer's averages are part of it
        twin.partial_fit(X, Y)
    assert np.array_equal(other.predict_proba(X), net.predict_proba(X))


def test_clones_are_not_fitted():
    net = clone(Classifier(model=convolutions, lr=0.1).fit(*pictures()))
    assert net.lr == 0.1 and net.model is convolutions and not hasattr(net, "model_")


def test_the_network_is_in_eval_mode_with_measured_statistics():
    net = Classifier(**quick, batch_size=45).fit(X, Y)
    norm = net.model_[2]
    assert not net.model_.training and isinstance(norm, nn.BatchNorm)
    rows = np.float32((X - X.mean(0)) / X.std(0)) @ net.model_[1].weight.data
    assert np.allclose(norm.running_mean, rows.mean(0), atol=1e-4)
    assert np.allclose(norm.running_var, rows.var(0), rtol=1e-3)


def test_statistics_that_are_frozen_stay():
    def frozen(in_features, outputs):
        norm = nn.BatchNorm(in_features).freeze_stats()
        return nn.Sequential(norm, nn.Dense(in_features, outputs))

    net = Classifier(model=frozen, epochs=1).fit(X, Y)
    assert not net.model_[0].running_mean.any()


def test_features_are_standardized_for_the_default_network():
    """float32 could not hold their offsets together with the values."""
    far = X * [1e-3, 1, 1e6, 1] + [1e9, 0, -1e12, 5]
    assert Classifier(random_state=0).fit(far, Y).score(far, Y) > 0.95


def test_a_column_that_never_changes():
    constant = np.hstack([X, np.full((len(X), 1), 3.0)])
    assert Classifier(random_state=0).fit(constant, Y).score(constant, Y) > 0.95


def test_images():
    images, labels = pictures()
    for model in (convolutions, "mobile"):
        net = Classifier(model=model, epochs=10, random_state=0).fit(images, labels)
        assert net.score(images, labels) == 1.0
        assert net.input_shape_ == (6, 5, 3) and net.n_features_in_ == 90
    net.set_params(model=None).fit(X, Y)  # a new fit forgets the images
    assert not hasattr(net, "input_shape_") and net.predict(X).shape == (90,)


def test_floats_of_images_are_taken_as_they_are():
    images, labels = pictures()
    nets = [
        Classifier(model=convolutions, epochs=2, random_state=0).fit(x, labels)
        for x in (images, (images / 255).astype(np.float32))
    ]
    assert np.allclose(
        nets[0].predict_proba(images),
        nets[1].predict_proba((images / 255).astype(np.float32)),
        atol=1e-5,
    )


def test_early_stopping_takes_the_best_epoch():
    net = Classifier(
        epochs=200,
        lr=0.3,
        early_stopping=True,
        n_iter_no_change=3,
        validation_fraction=0.4,
        random_state=0,
    ).fit(X, Y)
    losses = net.history_["valid_loss"]
    assert net.n_iter_ == len(losses) < 200
    assert min(losses) == losses[-4] and min(losses[-3:]) >= losses[-4]


def test_optimizers():
    for optimizer in ("adamw", "adam", "rmsprop", "sgd", lambda p, lr: md.optim.SGD(p, lr=lr)):
        net = Classifier(optimizer=optimizer, random_state=0).fit(X, Y)
        assert net.score(X, Y) > 0.9, optimizer


def test_no_batch_has_a_single_row_and_the_last_one_is_not_small():
    for count in range(2, 80):
        for wanted in range(1, 90):
            size = _even(count, wanted)
            assert count % size != 1 and (size >= wanted or size == count)
            assert count % size == 0 or count % size >= 8 or wanted < 8
    assert _even(100, 30) == 30 and _even(61, 30) == 31 and _even(133, 64) == 67
    assert _even(9, 4) == 5 and _even(10, 4) == 4


def test_a_small_rest_of_the_rows_brings_no_warning(recwarn):
    Classifier(batch_size=43, **quick).fit(X, Y)  # 90 rows: 4 would be left over
    assert not recwarn.list


def test_a_warm_start_goes_on():
    net = Classifier(**quick, warm_start=True).fit(X, Y)
    first, weight = net.model_, net.model_[1].weight.data.copy()
    net.fit(X, Y)
    assert net.model_ is first and not np.array_equal(first[1].weight.data, weight)
    assert Classifier(**quick).fit(X, Y).fit(X, Y).model_ is not first


def test_without_scikit_learn_the_error_names_it():
    python("""
        import sys
        sys.modules["sklearn"] = None
        import minidl
        try:
            import minidl.sklearn
        except ImportError as error:
            assert "pip install 'minidl[sklearn]'" in str(error)
        else:
            raise AssertionError
    """)


def wrong(**options):
    return lambda: Classifier(**options).fit(X, Y)


images, labels = pictures(8)
test_errors = errors_of(
    [
        (wrong(epochs=0), ValueError, "Classifier: epochs"),
        (wrong(epochs="ten"), TypeError, "Classifier: epochs"),
        (wrong(batch_size=0), ValueError, "Classifier: batch_size"),
        (wrong(lr=-1), ValueError, "lr"),
        (wrong(optimizer="lion"), ValueError, "Classifier: optimizer"),
        (wrong(optimizer=3), TypeError, "Classifier: optimizer"),
        (wrong(model=3), TypeError, "Classifier: model"),
        (wrong(model=lambda a, b: 3), TypeError, "what model returns must be a Layer"),
        (
            wrong(model=nn.Dense(4, 3)),
            TypeError,
            "Classifier: model must be None, the name of a model, "
            "or a function of (in_features, outputs)",
            "got a layer, Dense",
        ),
        (
            wrong(model=lambda inputs, outputs: nn.Dense(inputs, 5)),
            ValueError,
            "Classifier: model",
            "outputs (N, 3)",
            "['cat' 'dog' 'emu']",
            "(2, 5)",
        ),
        (wrong(model=lambda inputs, outputs: nn.Dense(inputs, 2)), ValueError, "(2, 2)"),
        (
            lambda: Regressor(lambda inputs, outputs: nn.Dense(inputs, 2)).fit(X, X[:, 0]),
            ValueError,
            "Regressor: model",
            "outputs (N, 1)",
            "targets",
            "(2, 2)",
        ),
        (wrong(hidden=8), TypeError, "hidden"),
        (wrong(early_stopping="yes"), TypeError, "early_stopping"),
        (wrong(warm_start=3), TypeError, "warm_start"),
        (wrong(early_stopping=True, n_iter_no_change=0), ValueError, "n_iter_no_change"),
        (lambda: Classifier().fit(images, labels), ValueError, "dim 4"),
        (
            lambda: Classifier(**quick).fit(X, Y).partial_fit(X[:1], Y[:1]),
            ValueError,
            "minimum of 2 is required by Classifier",
        ),
        (
            lambda: (
                Classifier(convolutions, 1).fit(images, labels).partial_fit(images[:1], labels[:1])
            ),
            ValueError,
            "minimum of 2",
        ),
        (
            lambda: Regressor(**quick).fit(X, X[:, 0]).partial_fit(X[:1], X[:1, 0]),
            ValueError,
            "minimum of 2 is required by Regressor",
        ),
        (
            lambda: Classifier(**quick, warm_start=True).fit(X, Y).fit(X[:1], Y[:1]),
            ValueError,
            "minimum of 2",
        ),
        (lambda: Classifier(convolutions, 1).fit(images, labels[:5]), ValueError, "inconsistent"),
        (
            lambda: Classifier(convolutions, 1).fit(images, labels).predict(images[:, 1:]),
            ValueError,
            "fitted with images (6, 5, 3), got images (5, 5, 3)",
        ),
        (
            lambda: Classifier(convolutions, 1).fit(images, labels).predict(X),
            ValueError,
            "fitted with images (6, 5, 3), got an array of 2 axes",
        ),
        (
            lambda: Classifier(dropping, 1).fit(X, Y).predict(images),
            ValueError,
            "fitted with rows, got images",
        ),
    ]
)


def test_anything_with_rows_is_data_for_the_network():
    """What scikit-learn's estimator keeps is an ordinary model of minidl."""
    net = Classifier(**quick).fit(X, Y)
    outputs = net.model_.predict(data.ArrayDataset(np.float32(X), np.zeros(len(X), int)))
    assert np.array_equal(net.classes_[outputs.argmax(1)], net.predict(X))


@pytest.mark.parametrize(
    "again",
    [lambda net, x: net, lambda net, x: net.fit(x, Y), lambda net, x: net.partial_fit(x + 3, Y)],
)
def test_the_default_network_standardizes_its_features_itself(again, tmp_path):
    far = np.float32(X * [0.1, 1, 10, 1] + [1, 0, -100, 5])
    net = again(Classifier(**quick, warm_start=True).fit(far, Y), far)
    expected = net.predict_log_proba(far)
    models.save(tmp_path / "model", net.model_, net.classes_)
    for model in (
        net.model_,
        models.load(tmp_path / "model", trust=True).model,
        nn.fold(net.model_),
        md.compile(net.model_, far[:1]),
    ):
        outputs = model(far)
        found = md.log_softmax(outputs, axis=1).data
        assert np.allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert net.model_[:1](far).shape == far.shape


def test_a_model_that_was_refused_is_not_kept():
    net = Classifier(model=lambda inputs, outputs: nn.Dense(inputs, 5), warm_start=True)
    with pytest.raises(ValueError):
        net.fit(X, Y)
    assert not hasattr(net, "model_")


def test_networks_without_statistics_of_a_single_row():
    def network(inputs, outputs):
        return nn.Sequential(
            nn.Dense(inputs, 8), nn.BatchNorm(8, track_stats=False), nn.ReLU(), nn.Dense(8, outputs)
        )

    assert Classifier(network, random_state=0).fit(X, Y).score(X, Y) > 0.9
