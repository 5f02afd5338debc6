"""A run's report: what a trained classifier is worth, and why, as numbers and as one page.

`report` computes it and gives a `Report`. Here each part has a file: `reading` the predictions,
`figures` what they are worth, `statistics` the callback that looks into layers, `grad_cam` what the
model looks at, `duplicates` pictures that two parts share, `findings` what is worth a word;
`machine`, `pictures`, `plots` and `page` make the page of `templates/report.html`.
"""

from .curves import curves
from .report import Misread, Report, report
from .statistics import LayerStatistics

__all__ = ["LayerStatistics", "Misread", "Report", "curves", "report"]
