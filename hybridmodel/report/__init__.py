"""What a demonstration found, as one HTML file that needs nothing else to be read.

write_report(folder)          folder/report.html: verdict, errors, learning, plans, motion
write_picture(folder, path)   one picture for a README
"""

from __future__ import annotations

try:
    from hybridmodel.report.motion import write_picture
    from hybridmodel.report.page import write_report
except ModuleNotFoundError as error:
    package = (error.name or "").split(".")[0]
    if package not in ("jinja2", "matplotlib", "PIL"):
        raise
    raise ImportError(
        f"a report needs {package}: pip install hybridmodel[report]", name=error.name
    ) from error

__all__ = ["write_picture", "write_report"]
