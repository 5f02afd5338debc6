"""Training: the `Trainer` runs the loop over model, optimizer and loader; callbacks save, log and
stop it; `Run` does a whole training in a folder, and `report` explains the result.

>>> pairs = data.ArrayDataset(np.eye(4, dtype=np.float32), np.arange(4))
>>> loader = data.DataLoader(pairs, batch_size=2, shuffle=True)
>>> model = nn.Dense(4, 4)
>>> trainer = train.Trainer(model, optim.SGD(model.parameters(), lr=1.0), progress=False)
>>> history = trainer.fit(loader, epochs=20)
>>> history["accuracy"][-1]
1.0
"""

from typing import TYPE_CHECKING

from .callbacks import EarlyStopping
from .checkpoint import Checkpoint
from .finder import LearningRateFinder
from .loggers import CSVLogger, JSONLogger, TensorBoard
from .report import LayerStatistics, Report, curves, report
from .run import Plan, Run
from .task import Task, load_task
from .trainer import Trainer

if not TYPE_CHECKING:  # to a type checker a module with __getattr__ has every name
    from .. import foreign_names, hints

    __getattr__ = hints.attributes_of(__name__, foreign_names.TRAIN)

__all__ = [
    "CSVLogger",
    "Checkpoint",
    "EarlyStopping",
    "JSONLogger",
    "LayerStatistics",
    "LearningRateFinder",
    "Plan",
    "Report",
    "Run",
    "Task",
    "TensorBoard",
    "Trainer",
    "curves",
    "load_task",
    "report",
]
