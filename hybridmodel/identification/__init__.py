"""What was identified, what was not, and how to log data that says more.

information   Fisher information of the declared parameters, the residual projected out
fit_jointly   parameters and residual in one fit, with standard errors
profile       the likelihood along one parameter
absorbed      where a trained residual does what a parameter could
excite        an input that identifies more
"""

from hybridmodel.identification.absorbed import Absorbed, Moved, absorbed, project
from hybridmodel.identification.directions import Direction
from hybridmodel.identification.excite import Design, DesignedMultisine, excite
from hybridmodel.identification.information import Information, information
from hybridmodel.identification.joint import JointFit, fit_jointly
from hybridmodel.identification.profile import Profile, profile

__all__ = [
    "Absorbed",
    "Design",
    "DesignedMultisine",
    "Direction",
    "Information",
    "JointFit",
    "Moved",
    "Profile",
    "absorbed",
    "excite",
    "fit_jointly",
    "information",
    "profile",
    "project",
]
