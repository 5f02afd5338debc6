"""The report of a trained classifier: its evaluation as numbers, as text and as one HTML page.

`report` computes it and returns a `Report`. `reading` computes the predictions and `figures` the
metrics; `statistics` is the callback that records the layers during a training; `grad_cam` computes
which regions of a picture the model uses; `duplicates` finds pictures that two data sets share;
`findings` says in words what stands out; `curves` plots a history; `shown`, `pictures`, `plots` and
`page` build the page from `templates/report.html`, and `table` the text.
"""

from .curves import curves
from .report import Misread, Report, report
from .statistics import LayerStatistics

__all__ = ["LayerStatistics", "Misread", "Report", "curves", "report"]
