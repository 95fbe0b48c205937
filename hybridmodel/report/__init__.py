"""What a demonstration found, as one HTML file that needs nothing else to be read.

write_report(folder)          folder/report.html: verdict, errors, learning, plans, motion
write_picture(folder, path)   one picture for a README
"""

from __future__ import annotations

try:
    import jinja2 as _jinja2  # noqa: F401
    import matplotlib as _matplotlib  # noqa: F401
    import PIL as _pillow  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f"a report needs {error.name}: pip install hybridmodel[report]", name=error.name
    ) from error

from hybridmodel.report.motion import write_picture
from hybridmodel.report.page import write_report

__all__ = ["write_picture", "write_report"]
