"""Estimators for scikit-learn: networks in pipelines, grid searches and cross-validation.

They need scikit-learn, which the extra `sklearn` installs, and have the methods `fit`, `predict`
and `score` of its estimators.
"""

try:
    import sklearn  # noqa: F401
except ImportError:
    raise ImportError("minidl.sklearn: needs scikit-learn: pip install 'minidl[sklearn]'") from None

from .classifier import Classifier
from .regressor import Regressor

__all__ = ["Classifier", "Regressor"]
