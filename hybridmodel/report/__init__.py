"""What was found, as HTML files that need nothing else to be read.

write_report(folder)          folder/report.html: verdict, errors, learning, plans, motion
write_picture(folder, path)   one picture for a README
plot_plan(problem, plan)      states and inputs of one plan or several
animate_plan(problem, plan, path)   the plan, moved
write_pictures(path, pictures, title=…)   pictures under their headings, on a page, of
  control_error_pictures(…)   all of the next four, by heading
  query_picture, exploitation_picture, compounding_picture, event_picture   errors that matter
                              for control
  learning_picture(histories) return over real steps
write_study(folder)           folder/study.html: what a study's models recover, where, and how
write_matrix(folder, path)    its heat map alone, for a README
"""

from __future__ import annotations

try:
    from hybridmodel.report.control_errors import (
        compounding_picture,
        control_error_pictures,
        event_picture,
        exploitation_picture,
        query_picture,
        write_pictures,
    )
    from hybridmodel.report.learning import learning_picture
    from hybridmodel.report.motion import write_picture
    from hybridmodel.report.page import write_report
    from hybridmodel.report.plan import plot_plan
    from hybridmodel.report.plan_motion import animate_plan
    from hybridmodel.report.study import write_matrix, write_study
except ModuleNotFoundError as error:
    package = (error.name or "").split(".")[0]
    if package not in ("jinja2", "matplotlib", "PIL"):
        raise
    raise ImportError(
        f"a report needs {package}: pip install hybridmodel[report]", name=error.name
    ) from error

__all__ = [
    "animate_plan",
    "compounding_picture",
    "control_error_pictures",
    "event_picture",
    "exploitation_picture",
    "learning_picture",
    "plot_plan",
    "query_picture",
    "write_matrix",
    "write_picture",
    "write_pictures",
    "write_report",
    "write_study",
]
