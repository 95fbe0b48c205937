"""What an inertia tensor must satisfy, and what PyBullet makes of one that does not.

    Σ = ½ tr(I) 1 − I,    I = tr(Σ) 1 − Σ,    Σ = L Lᵀ

I  inertia about the centre of mass (3, 3) [kg·m²]
Σ  ∫ r rᵀ dm, second moment of mass about it (3, 3) [kg·m²]
L  its lower Cholesky factor

A density ≥ 0 exists exactly where Σ ⪰ 0, which is the triangle inequality of the principal
moments: none exceeds the sum of the other two (Wensing, Kim, Slotine, Linear matrix inequalities
for physically consistent inertial parameter identification, RA-L 2018).
"""

from __future__ import annotations

import dataclasses
import math
import sys

import numpy as np

from physics.rigid_body.description import EYE, ZERO, Description, Link, Matrix
from physics.rigid_body.rotation import product, rotate_inertia, transpose

TOLERANCE = 1e-9  # of the largest principal moment: files round their numbers


def second_moment(inertia: Matrix) -> Matrix:
    """Σ = ½ tr(I) 1 − I; entries may be floats or CasADi scalars."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = inertia
    half = (xx + yy + zz) / 2
    return ((half - xx, -xy, -xz), (-yx, half - yy, -yz), (-zx, -zy, half - zz))


def from_second_moment(sigma: Matrix) -> Matrix:
    """I = tr(Σ) 1 − Σ; entries may be floats or CasADi scalars."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = sigma
    return ((yy + zz, -xy, -xz), (-yx, xx + zz, -yz), (-zx, -zy, xx + yy))


def cholesky(sigma: Matrix) -> Matrix:
    """The lower L with Σ = L Lᵀ and a positive diagonal; ValueError where Σ is not ≻ 0."""
    try:
        rows = np.linalg.cholesky(np.array(sigma, dtype=float)).tolist()
    except np.linalg.LinAlgError:
        raise ValueError(f"sigma must be positive definite, got {sigma}") from None
    return (tuple(rows[0]), tuple(rows[1]), tuple(rows[2]))


def principal_moments(inertia: Matrix) -> tuple[float, float, float]:
    """Eigenvalues of I, ascending [kg·m²]."""
    low, middle, high = np.linalg.eigvalsh(np.array(inertia, dtype=float)).tolist()
    return low, middle, high


def check(description: Description) -> tuple[str, ...]:
    """One sentence for each link whose mass and inertia no body has.

    Reported are principal moments that are not all positive or break the triangle inequality,
    each by more than 1e-9 of the largest, and an inertia without mass. A link with neither mass
    nor inertia is a mere frame.
    """
    found = []
    for link in description.links:
        if not link.mass and link.inertia == ZERO:
            continue
        low, middle, high = principal_moments(link.inertia)
        moments = f"principal moments {low:.6g}, {middle:.6g}, {high:.6g} kg·m²"
        if not link.mass:
            found.append(f"link {link.name!r} has an inertia but no mass ({moments})")
        elif low <= TOLERANCE * high:
            found.append(f"link {link.name!r}: inertia is not positive definite ({moments})")
        elif high > low + middle + TOLERANCE * high:
            found.append(f"link {link.name!r}: inertia breaks the triangle inequality ({moments})")
    return tuple(found)


def as_pybullet(link: Link) -> Link:
    """The link as PyBullet 3.2.7 loads it with URDF_USE_INERTIA_FROM_FILE.

    - without <inertial>: 1 kg and I = 1 at the link's origin; nothing for a link called "world";
    - off-diagonals: diagonalised by Jacobi rotations, which end with the first one that starts
      below 1e-6 tr|I|, and what is left beside the diagonal is dropped;
    - a principal moment that is negative or exceeds the sum of the other two, compared without
      any tolerance: I = 0, the mass stays;
    - mass 0: kept, with its inertia;
    - what is left is multiplied by <contact><inertia_scaling>, unless the mass is 0.

    Said of PyBullet but not of a link: the base is fixed where its mass is 0, whatever
    `useFixedBase` says; without the flag, I is that of the collision shapes instead. And where
    it has set I = 0, calculateInverseDynamics and calculateMassMatrix may refuse the robot, since
    they want I about the joint to be positive semidefinite within 1e-15, whatever its size.
    (BulletUrdfImporter::getMassAndInertia and btMatrix3x3::diagonalize of bullet3.)
    """
    if not link.has_inertial:
        some = link.name != "world"
        link = dataclasses.replace(
            link,
            mass=float(some),
            center=(0.0, 0.0, 0.0),
            inertia=EYE if some else ZERO,
            inertia_frame=EYE,
            has_inertial=True,
        )
    (x, y, z), axes = _jacobi(_as_written(link))
    if min(x, y, z) < 0 or x > y + z or y > x + z or z > x + y:
        return dataclasses.replace(link, inertia=ZERO, inertia_scaling=1.0)
    scale = link.inertia_scaling if link.mass else 1.0
    diagonal = ((scale * x, 0.0, 0.0), (0.0, scale * y, 0.0), (0.0, 0.0, scale * z))
    turned = rotate_inertia(product(link.inertia_frame, axes), diagonal)
    return dataclasses.replace(link, inertia=turned, inertia_scaling=1.0)


def _as_written(link: Link) -> Matrix:
    """The tensor in the axes of the file, where PyBullet compares it to the last bit.

    Turning it into the link's axes and back has rounded it, unless the turn was a right angle;
    what the file wrote is the shortest decimal within that rounding.
    """
    back = rotate_inertia(transpose(link.inertia_frame), link.inertia)
    if all(entry in (-1.0, 0.0, 1.0) for row in link.inertia_frame for entry in row):
        return back
    slack = 16 * sys.float_info.epsilon * max(abs(entry) for row in back for entry in row)

    def shortest(value: float) -> float:
        if abs(value) <= slack:
            return 0.0
        decimals = (float(f"{value:.{digits}e}") for digits in range(17))
        return next(decimal for decimal in decimals if abs(decimal - value) <= slack)

    (xx, xy, xz), (_, yy, yz), (_, _, zz) = back
    xx, xy, xz, yy, yz, zz = map(shortest, (xx, xy, xz, yy, yz, zz))
    return ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))


def _jacobi(inertia: Matrix) -> tuple[tuple[float, float, float], Matrix]:
    """Diagonal of Jᵀ I J and J, after Jacobi rotations that stop where PyBullet's do."""
    a = [list(row) for row in inertia]
    j = [list(row) for row in EYE]
    last = False
    for _ in range(30):
        size = abs(a[0][0]) + abs(a[1][1]) + abs(a[2][2])
        p, q, r = max(((0, 1, 2), (0, 2, 1), (1, 2, 0)), key=lambda s: abs(a[s[0]][s[1]]))
        off = a[p][q]
        if last or abs(off) <= sys.float_info.epsilon * 1e-6 * size:
            break
        last = abs(off) <= 1e-6 * size
        ratio = (a[q][q] - a[p][p]) / (2 * off)
        t = math.copysign(1.0, ratio) / (abs(ratio) + math.hypot(1.0, ratio))  # tan of the turn
        c = 1 / math.hypot(1.0, t)
        s = c * t
        a[p][p] -= t * off
        a[q][q] += t * off
        a[p][q] = a[q][p] = 0.0
        for row in (a[r], *j):
            row[p], row[q] = c * row[p] - s * row[q], c * row[q] + s * row[p]
        a[p][r], a[q][r] = a[r][p], a[r][q]
    rows = [(row[0], row[1], row[2]) for row in j]
    return (a[0][0], a[1][1], a[2][2]), (rows[0], rows[1], rows[2])
