"""The common base of the classifier and the regressor: input checks, network and training."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import checks, models, nn, optim
from ..data.dataset import ArrayDataset
from ..data.loader import DataLoader
from ..nn.norm import FEW
from ..nn.population import Tracking
from ..ops.common import float_tensor
from ..random import own_generator
from ..tensor import Tensor
from ..train.trainer import Trainer

Self = TypeVar("Self", bound="Estimator")

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adamw": optim.AdamW,
    "adam": optim.Adam,
    "rmsprop": optim.RMSprop,
    "sgd": optim.SGD,
}
MEASURED = 64  # batches on which the statistics of BatchNorm are measured after a training


class Best:
    """A callback that keeps the weights of the epoch with the smallest `valid_loss`, and stops the
    training after `patience` epochs without improvement."""

    def __init__(self, patience: int) -> None:
        self.patience, self.loss, self.epoch = patience, np.inf, 0
        self.state: dict[str, np.ndarray] = {}

    def on_epoch_end(self, trainer: Any) -> None:
        loss = trainer.history["valid_loss"][-1]
        if loss < self.loss:
            self.loss, self.epoch, self.state = loss, trainer.epoch, trainer.model.state_dict()
        trainer.stop = trainer.epoch - self.epoch >= self.patience


class Standardize(nn.Layer):
    """Computes (x - center) * scale of rows (N, features); `center` and `scale` are buffers."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.center = np.zeros(features, np.float32)
        self.scale = np.ones(features, np.float32)

    def forward(self, x: Any) -> Tensor:
        return (float_tensor(x, "Standardize") - self.center) * self.scale


class StandardizedMLP(nn.Sequential):
    """The default network: an MLP with BatchNorm, whose first layer standardizes the features.

    It has a `config`, so that `models.save` can write it. A slice of it is a plain Sequential.
    """

    def __init__(self, features: int, hidden: tuple[int, ...], outputs: int) -> None:
        layers: list[nn.Layer] = [Standardize(features)]
        before = features
        for width in hidden:
            layers += [nn.Dense(before, width, bias=False), nn.BatchNorm(width), nn.ReLU()]
            before = width
        super().__init__(*layers, nn.Dense(before, outputs))
        self.features, self.hidden, self.outputs = features, tuple(hidden), outputs

    def __getitem__(self, index: Any) -> Any:
        found = self._layers[index]
        return nn.Sequential(*found) if isinstance(found, list) else found

    def config(self) -> dict[str, Any]:
        return {"features": self.features, "hidden": list(self.hidden), "outputs": self.outputs}


class Estimator(BaseEstimator):
    """The base of estimators that train a network.

    A subclass defines the constructor's arguments and the loss, and converts y to targets and the
    network's outputs to predictions.
    """

    model: Any
    hidden: Any
    epochs: int
    batch_size: int
    lr: float
    optimizer: Any
    weight_decay: float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    warm_start: bool
    random_state: Any
    verbose: bool

    model_: nn.Layer
    n_features_in_: int
    input_shape_: tuple[int, ...]

    # ---------------------------------------------------------------------------- for subclasses

    def _loss(self, outputs: Any, targets: Any) -> Any:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------ the input

    def _rows(self, X: Any, reset: bool, y: Any = "no_validation", **options: Any) -> Any:
        """Check X, and y if it is given, by the rules of scikit-learn; X may have images if `model`
        is given.

        With y, which means a training, at least 2 rows are required: BatchNorm cannot compute
        statistics from a single row.
        """
        least = 1 if isinstance(y, str) else 2
        if reset:  # the new training may have another kind of input
            for name in ("input_shape_", "feature_names_in_"):
                self.__dict__.pop(name, None)
        if self.model is None or np.ndim(X) < 3:
            if hasattr(self, "input_shape_"):
                raise ValueError(
                    f"{type(self).__name__} was fitted with images "
                    f"{self.input_shape_}, got an array of {np.ndim(X)} axes"
                )
            return validate_data(
                self,
                X,
                y,
                reset=reset,
                dtype=(np.float64, np.float32),
                ensure_min_samples=least,
                **options,
            )
        X = check_array(
            X,
            allow_nd=True,
            dtype=(np.float32, np.float64, np.uint8),
            ensure_min_samples=least,
            input_name="X",
        )
        if reset:
            self.input_shape_, self.n_features_in_ = X.shape[1:], int(np.prod(X.shape[1:]))
        elif X.shape[1:] != getattr(self, "input_shape_", None):
            fitted = f"images {self.input_shape_}" if hasattr(self, "input_shape_") else "rows"
            raise ValueError(
                f"{type(self).__name__} was fitted with {fitted}, got images {X.shape[1:]}"
            )
        if isinstance(y, str):
            return X
        # scikit-learn checks y and that the lengths match, for which X must have two axes.
        _, y = validate_data(self, X.reshape(len(X), -1), y, reset=False, **options)
        return X, y

    def _inputs(self, X: np.ndarray) -> np.ndarray:
        """Convert X to the inputs of the network. For the default network, rows are standardized in
        their own precision: float32 may be too coarse for differences between large values."""
        if self.model is None:
            X = (X - self._center) / self._width
        return np.ascontiguousarray(X if X.dtype == np.uint8 else X.astype(np.float32, copy=False))

    # ---------------------------------------------------------------------------------- the network

    def _begin(self, X: np.ndarray, outputs: int) -> None:
        """Create a new network with a new seed."""
        where = type(self).__name__
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._passes = 0
        self._optimizer_state: dict[str, Any] | None = None
        if self.model is None:
            self._center, width = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
            self._width = np.where(width > 0, width, 1.0)
        with own_generator(self._seed):
            self.model_ = self._inside = self._network(X.shape[1:], outputs, where)
            if isinstance(self.model_, StandardizedMLP):
                self.model_[0].center[...] = self._center
                self.model_[0].scale[...] = 1 / self._width
                # Training skips the first layer, since `_inputs` standardizes. Layers are shared.
                self._inside = self.model_[1:]
            try:
                self._check_outputs(X[:2], outputs, where)
            except Exception:  # a later fit with `warm_start` must not continue with this network
                del self.model_
                raise

    def _network(self, shape: tuple[int, ...], outputs: int, where: str) -> nn.Layer:
        if self.model is None:
            hidden = checks.ints(self.hidden, where, "hidden")
            return StandardizedMLP(shape[0], hidden, outputs)
        if isinstance(self.model, str):
            return models.create(self.model, classes=outputs, input_shape=shape)
        expected = (
            "None, the name of a model, or a function of (in_features, outputs) that returns one"
        )
        if isinstance(self.model, nn.Layer):
            raise TypeError(
                f"{where}: model must be {expected}: a new one for each fit, got a "
                f"layer, {type(self.model).__name__}"
            )
        checks.function(self.model, where, "model", expected)
        made = self.model(shape[0] if len(shape) == 1 else shape, outputs)
        return checks.instance(made, where, "what model returns", nn.Layer, "a Layer")

    def _check_outputs(self, X: np.ndarray, outputs: int, where: str) -> None:
        """Raise a ValueError unless the network has `outputs` outputs for each row. The
        cross-entropy would accept more. X has two rows, since BatchNorm may need them."""
        made = self._inside.predict(self._inputs(X))
        shape = made.shape if isinstance(made, np.ndarray) else None
        if shape != (len(X), outputs):
            what = f"classes, {self.classes_}" if hasattr(self, "classes_") else "targets"
            raise ValueError(
                f"{where}: model must return a network with outputs (N, {outputs}), as many as "
                f"there are {what}; for {len(X)} rows its outputs are "
                f"{'not an array' if shape is None else f'of shape {shape}'}"
            )

    def _continues(self) -> bool:
        """Return whether `fit` continues with the network of the last fit."""
        return checks.flag(self.warm_start, type(self).__name__, "warm_start") and hasattr(
            self, "model_"
        )

    def _epochs(self) -> int:
        return checks.count(self.epochs, type(self).__name__, "epochs", 1)

    # --------------------------------------------------------------------------------- the training

    def _train(
        self, X: np.ndarray, targets: np.ndarray, strata: Any, epochs: int, fit: bool
    ) -> None:
        """Train for some epochs. Only `fit` has a schedule and may stop early."""
        where = type(self).__name__
        valid = None
        callbacks: list[Any] = []
        if fit and checks.flag(self.early_stopping, where, "early_stopping"):
            X, held_X, targets, held = train_test_split(
                X,
                targets,
                test_size=self.validation_fraction,
                stratify=strata,
                random_state=self._seed,
            )
            valid = held_X, held
            callbacks = [Best(checks.count(self.n_iter_no_change, where, "n_iter_no_change", 1))]
        with own_generator(self._seed + self._passes):
            size = _even(len(X), checks.size(self.batch_size, where, "batch_size"))
            loader = DataLoader(
                ArrayDataset(X, targets),
                size,
                shuffle=True,
                prefetch=0,
                seed=self._seed + self._passes,
            )
            optimizer = self._optimizer(where)
            schedule = optim.CosineLR(optimizer, len(loader) * epochs) if fit else None
            trainer = Trainer(
                self._inside,
                optimizer,
                loss=self._loss,
                schedule=schedule,
                metrics=(),
                callbacks=callbacks,
                progress=bool(checks.flag(self.verbose, where, "verbose")),
            )
            self.history_ = trainer.fit(loader, valid=valid, epochs=epochs)
        if callbacks and callbacks[0].state:  # it is empty if the validation loss was always NaN
            self._inside.load_state_dict(callbacks[0].state)
        self._passes += trainer.epoch
        self._optimizer_state = optimizer.state_dict()
        self.n_iter_ = trainer.epoch
        if any(
            isinstance(layer, Tracking)
            and layer.running_mean is not None
            and not layer.frozen
            and not layer.stats_frozen
            for _, layer in self._inside.named_layers()
        ):
            nn.recalibrate(self._inside, islice(loader.once(), MEASURED), quiet=True)
        self._inside.eval()
        self.model_.eval()

    def _optimizer(self, where: str) -> Any:
        if isinstance(self.optimizer, str):
            name = checks.choice(self.optimizer, where, "optimizer", tuple(OPTIMIZERS))
            options = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
            made = OPTIMIZERS[name](
                self._inside.parameters(), lr=self.lr, weight_decay=self.weight_decay, **options
            )
        else:
            checks.function(
                self.optimizer,
                where,
                "optimizer",
                "the name of one, or a function of (parameters, lr) that makes one",
            )
            made = self.optimizer(self._inside.parameters(), lr=self.lr)
        if self._optimizer_state is not None:
            made.load_state_dict(self._optimizer_state)
            made.lr = self.lr
        return made

    def _outputs(self, X: Any) -> np.ndarray:
        """Return the outputs of the network for X."""
        check_is_fitted(self)
        return self._inside.predict(self._inputs(self._rows(X, reset=False)))


def _even(count: int, size: int) -> int:
    """Return a batch size of at least `size` with which the last batch has at least FEW rows, or,
    if all batches are that small, more than a single row. From one row BatchNorm cannot compute
    statistics, and from few they are noisy."""
    size = min(max(size, 2), count)
    fewest = FEW if size >= FEW else 2
    while 0 < count % size < fewest:
        size += 1
    return size
