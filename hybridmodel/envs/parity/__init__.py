"""Does a plant follow a System, and what differs where it does not?

check       check_parity: figures by joint, then the diagnosis
gaps        differences of accelerations and of rollouts
measure     the same by row, with the reference that rollouts are held against
probes      states and inputs at which a plant is asked
culprits    what is known to make PyBullet differ, as a table
switches    the culprits of one plant, each to be set alone or left out
setup       a plant as its choices; constants, those of a System by name
diagnosis   switch, measure, name; steps, the same for the engine's step; others, for other engines
apart       what no engine can be asked about; axes, those of a file that are not of unit length
matching    what makes both agree, measured again; advice, what to change for it, as code
report      ParityReport
"""

from hybridmodel.envs.parity.check import check_parity
from hybridmodel.envs.parity.gaps import acceleration_gap, random_states, rollout_gap
from hybridmodel.envs.parity.report import Finding, JointGap, Match, ParityReport

__all__ = [
    "Finding",
    "JointGap",
    "Match",
    "ParityReport",
    "acceleration_gap",
    "check_parity",
    "random_states",
    "rollout_gap",
]
