"""What a demonstration found, as one HTML file that needs nothing else to be read.

write_report(folder)          folder/report.html: verdict, errors, learning, plans, motion
write_picture(folder, path)   one picture for a README
plot_plan(problem, plan)      states and inputs of one plan or several
animate_plan(problem, plan, path)   the plan, moved
"""

from __future__ import annotations

try:
    from hybridmodel.report.motion import write_picture
    from hybridmodel.report.page import write_report
    from hybridmodel.report.plan import plot_plan
    from hybridmodel.report.plan_motion import animate_plan
except ModuleNotFoundError as error:
    package = (error.name or "").split(".")[0]
    if package not in ("jinja2", "matplotlib", "PIL"):
        raise
    raise ImportError(
        f"a report needs {package}: pip install hybridmodel[report]", name=error.name
    ) from error

__all__ = ["animate_plan", "plot_plan", "write_picture", "write_report"]
