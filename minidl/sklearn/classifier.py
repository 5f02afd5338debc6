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
    """A network that classifies, as an estimator of scikit-learn.

    model:      None: a small MLP with BatchNorm, whose first layer standardizes the features (so
                that `model_` takes rows as they were given, in float32); or a function of
                (in_features, classes) that makes a network; or the name of one in `minidl.models`.
                Both of these may take images (N, H, W, C), and `in_features` is then (H, W, C);
                uint8 images are divided by 255
    epochs:     passes over the data
    batch_size: rows a step (a few more where a single one would be left)
    lr:         the first learning rate; it falls to 0 along a cosine. 0.03 suits the small MLP;
                networks without normalization want less
    optimizer:  "adamw", "adam", "rmsprop", "sgd" (with Nesterov momentum 0.9), or a function of
                (parameters, lr)
    random_state: an int for the same network each time; None draws a seed from NumPy
    hidden:     the widths of the hidden layers of the MLP
    weight_decay: of the optimizers that are named
    class_weight: None, "balanced" or a dict {class: weight}
    early_stopping: keep a `validation_fraction` of the rows to validate with, stop after
                `n_iter_no_change` epochs without a smaller loss, and take the best epoch's weights
    warm_start: let `fit` go on with the network that there is
    verbose:    show how far the training is

    Fitted: `model_`, the network, in eval mode, its BatchNorm statistics measured on the data
    (`nn.recalibrate`); `classes_`, `n_features_in_`, `feature_names_in_`, `input_shape_` of images,
    `history_`, `n_iter_`. `sample_weight` is not supported: BatchNorm computes its statistics from
    the rows of a batch, so that weighting a row is not the same as repeating it. ValueError and
    TypeError for what does not fit, from `fit`.

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
        """Train for `epochs` passes: a new network, or with `warm_start` the one that there is."""
        again = self._goes_on()
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
        """One more pass, over these rows, 2 at least. `classes`, all that there will be, is needed
        the first time. The learning rate stays `lr`; features are standardized as those of the
        first call.
        """
        first = not hasattr(self, "model_")
        X, y = self._rows(X, first, y)
        check_classification_targets(y)
        if first:
            if classes is None:
                raise ValueError(
                    "Classifier: partial_fit needs classes, all that there will be, the first time"
                )
            self.classes_ = np.unique(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"Classifier: partial_fit: classes must be those of the first time, "
                f"{self.classes_}, got {np.unique(classes)}"
            )
        if self.class_weight == "balanced":
            raise ValueError(
                "Classifier: partial_fit cannot know how to balance classes: give "
                "class_weight a dict"
            )
        numbers = self._numbers(y)
        if first:
            self._begin(X, len(self.classes_))
        self._train(self._inputs(X), numbers, y, 1, fit=False)
        return self

    def _numbers(self, y: np.ndarray) -> np.ndarray:
        """Labels as numbers of classes; the weights of these for the loss."""
        known = np.isin(y, self.classes_)
        if not known.all():
            raise ValueError(
                f"Classifier: y has classes that are not among {self.classes_}: "
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
        """Probabilities (N, classes), float64, in the order of `classes_`."""
        logits = self._outputs(X).astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities (N, classes)."""
        logits = self._outputs(X).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(axis=1)]
