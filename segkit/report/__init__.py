"""The report on a run: one HTML file that says how good the model is, for whom, and where it fails.

::

    RUN/
    └── report.html          no other file is needed to read it, and nothing is loaded from anywhere

It is made from what `segkit.finetune` or `segkit.train` left in the folder, and can be made again with `segkit report RUN`.
"""

from segkit.report.page import FILE, write_report

__all__ = ["FILE", "write_report"]
