"""The laws that systems and residuals obey, for checking one's own.

report     what a check returns, and how a table of laws is run
system     check_system: sizes, derivatives, angles, kinematics, parameters, copies, files
residual   check_residual: shapes, zero at start, gradients, bridges, copies, files
"""

from hybridmodel.laws.report import Finding, LawReport
from hybridmodel.laws.residual import check_residual
from hybridmodel.laws.system import check_system

__all__ = ["Finding", "LawReport", "check_residual", "check_system"]
