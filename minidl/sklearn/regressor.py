"""A regressor for scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from .. import ops
from .estimator import Estimator


class Regressor(RegressorMixin, Estimator):
    """A neural network regressor, for one or several targets per row, with the interface of a
    scikit-learn estimator.

    The arguments are those of `Classifier` without `class_weight`; a function as `model` gets
    (in_features, outputs). The network is trained on standardized targets with the mean squared
    error, and `predict` returns values on the original scale.

    Fitted attributes: `model_`, whose outputs are standardized; `target_mean_` and
    `target_deviation_`, with which a prediction is outputs * target_deviation_ + target_mean_;
    `n_features_in_`, `feature_names_in_`, `input_shape_` of images, `history_` (with losses on the
    standardized scale), `n_iter_`.

    >>> from minidl.sklearn import Regressor
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> model = Regressor(epochs=50, random_state=0).fit(X, 1000 + 50 * X[:, 0] * X[:, 1])
    >>> bool(model.score(X, 1000 + 50 * X[:, 0] * X[:, 1]) > 0.9)
    True
    """

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
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        self.model, self.epochs, self.batch_size = model, epochs, batch_size
        self.lr, self.optimizer, self.random_state = lr, optimizer, random_state
        self.hidden, self.weight_decay = hidden, weight_decay
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.n_iter_no_change, self.warm_start = n_iter_no_change, warm_start
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Regressor:
        """Train for `epochs` epochs: a new network, or with `warm_start` that of the last fit."""
        again = self._continues()
        X, y = self._numeric(X, y, not again)
        if not again:
            self._begin_targets(X, y)
        self._train(self._inputs(X), self._scaled(y), None, self._epochs(), fit=True)
        return self

    def partial_fit(self, X: Any, y: Any) -> Regressor:
        """Train for one epoch on these rows, at least 2. The learning rate is constant, `lr`;
        features and targets are standardized by the mean and deviation of the first call's."""
        first = not hasattr(self, "model_")
        X, y = self._numeric(X, y, first)
        if first:
            self._begin_targets(X, y)
        self._train(self._inputs(X), self._scaled(y), None, 1, fit=False)
        return self

    def _numeric(self, X: Any, y: Any, reset: bool) -> Any:
        """Check X and y as `_rows` does, which lets strings pass as targets."""
        X, y = self._rows(X, reset, y, multi_output=True, y_numeric=True)
        if y.dtype.kind not in "biuf":
            raise ValueError(f"Regressor: y must be numbers, got an array of {y.dtype}")
        return X, y

    def _begin_targets(self, X: np.ndarray, y: np.ndarray) -> None:
        """Create a new network, and measure the mean and deviation of the targets."""
        self.target_mean_ = y.mean(axis=0, dtype=np.float64)
        self.target_deviation_ = y.std(axis=0, dtype=np.float64)
        self._begin(X, 1 if y.ndim == 1 else y.shape[1])

    def _scaled(self, y: np.ndarray) -> np.ndarray:
        if y.shape[1:] != self.target_mean_.shape:
            raise ValueError(
                f"Regressor: y must have the shape of the first fit, (N, "
                f"*{self.target_mean_.shape}), got {y.shape}"
            )
        deviation = np.where(self.target_deviation_ > 0, self.target_deviation_, 1.0)
        return ((y - self.target_mean_) / deviation).reshape(len(y), -1).astype(np.float32)

    def _loss(self, outputs: Any, targets: Any) -> Any:
        return ops.mse_loss(outputs, targets)

    def predict(self, X: Any) -> np.ndarray:
        """Return the predictions (N,), or (N, outputs) if y had two axes, float64."""
        outputs = self._outputs(X).astype(np.float64)
        outputs = outputs.reshape(len(outputs), *self.target_mean_.shape)
        return outputs * self.target_deviation_ + self.target_mean_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
