"""A classifier for scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from .. import ops
from .estimator import Estimator


class Classifier(ClassifierMixin, Estimator):
    """A neural network classifier with the interface of a scikit-learn estimator.

    model:      the network. None: a small MLP with BatchNorm, whose first layer standardizes the
                features (so `model_` takes unscaled rows, in float32). Or the name of a model in
                `minidl.models`, or a function of (in_features, classes) that returns a network;
                these two may take images (N, H, W, C), for which `in_features` is (H, W, C), and
                uint8 images are divided by 255
    epochs:     the number of passes over the data
    batch_size: rows per batch (slightly more if the last batch would have fewer than 8)
    lr:         the initial learning rate, which decays to 0 along a cosine. 0.03 suits the small
                MLP; networks without normalization need a smaller one
    optimizer:  "adamw", "adam", "rmsprop", "sgd" (with Nesterov momentum 0.9), or a function of
                (parameters, lr)
    random_state: an int gives the same network in each fit; None draws a seed from NumPy
    hidden:     the widths of the hidden layers of the MLP
    weight_decay: the weight decay of optimizers that are given by name
    class_weight: None, "balanced" or a dict {class: weight}
    early_stopping: whether to hold out a `validation_fraction` of the rows for validation, stop
                after `n_iter_no_change` epochs without a smaller loss, and restore the weights of
                the best epoch
    warm_start: whether `fit` continues with the network of the last fit
    verbose:    whether progress is shown

    Fitted attributes: `model_`, the network in evaluation mode, whose BatchNorm statistics were
    measured on the data after the training (`nn.recalibrate`); `classes_`, `n_features_in_`,
    `feature_names_in_`, `input_shape_` of images, `history_`, `n_iter_`.

    `sample_weight` is not supported: BatchNorm computes its statistics from the rows of a batch, so
    weighting a row is not the same as repeating it. `fit` raises ValueError and TypeError for
    arguments that do not fit.

    >>> from minidl.sklearn import Classifier
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> y = np.where(X[:, 0] > 0, "right", "left")
    >>> model = Classifier(random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.95), model.predict_proba(X).shape
    (True, (200, 2))
    """

    classes_: np.ndarray

    def __init__(
        self,
        model: Any = None,
        epochs: int = 20,
        batch_size: int = 128,
        lr: float = 0.03,
        optimizer: Any = "adamw",
        random_state: Any = None,
        *,
        hidden: Any = (128,),
        weight_decay: float = 0.01,
        class_weight: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        self.model, self.epochs, self.batch_size = model, epochs, batch_size
        self.lr, self.optimizer, self.random_state = lr, optimizer, random_state
        self.hidden, self.weight_decay, self.class_weight = hidden, weight_decay, class_weight
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.n_iter_no_change, self.warm_start = n_iter_no_change, warm_start
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Classifier:
        """Train for `epochs` epochs: a new network, or with `warm_start` that of the last fit."""
        again = self._continues()
        X, y = self._rows(X, not again, y)
        check_classification_targets(y)
        classes = np.unique(y)
        if again and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"Classifier: with warm_start the classes must be those of the first "
                f"fit, {self.classes_}, got {classes}"
            )
        if not again:
            self.classes_ = classes
            self._begin(X, len(classes))
        self._train(self._inputs(X), self._numbers(y), y, self._epochs(), fit=True)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Classifier:
        """Train for one epoch on these rows, at least 2. The first call needs `classes`, all
        classes of this and later calls. The learning rate is constant, `lr`; features are
        standardized by the mean and deviation of the first call's rows.
        """
        first = not hasattr(self, "model_")
        X, y = self._rows(X, first, y)
        check_classification_targets(y)
        if first:
            if classes is None:
                raise ValueError(
                    "Classifier: the first call of partial_fit needs classes, all classes of this "
                    "and later calls, got None"
                )
            self.classes_ = np.unique(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"Classifier: classes of partial_fit must be those of the first call, "
                f"{self.classes_}, got {np.unique(classes)}"
            )
        if self.class_weight == "balanced":
            raise ValueError(
                'Classifier: class_weight must be a dict or None for partial_fit, got "balanced": '
                "the counts of all classes are not known"
            )
        numbers = self._numbers(y)
        if first:
            self._begin(X, len(self.classes_))
        self._train(self._inputs(X), numbers, y, 1, fit=False)
        return self

    def _numbers(self, y: np.ndarray) -> np.ndarray:
        """Return the labels as indices into `classes_`, and set the class weights of the loss."""
        known = np.isin(y, self.classes_)
        if not known.all():
            raise ValueError(
                f"Classifier: y must have no other classes than {self.classes_}, got "
                f"{np.unique(y[~known])}"
            )
        weights = None
        if self.class_weight is not None:
            weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
            weights = weights.astype(np.float32)
        self._weighted = weights
        return np.searchsorted(self.classes_, y).astype(np.int64)

    def _loss(self, outputs: Any, targets: Any) -> Any:
        return ops.cross_entropy(outputs, targets, weight=self._weighted)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities (N, classes), float64, in the order of `classes_`."""
        logits = self._outputs(X).astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the probabilities (N, classes), float64."""
        logits = self._outputs(X).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest class of each row, (N,)."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(axis=1)]
