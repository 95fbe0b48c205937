"""`hybridmodel check-parity`."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from hybridmodel.cli import OK, WORSE

if TYPE_CHECKING:
    from hybridmodel.envs.bullet.settings import BulletSettings
    from hybridmodel.envs.environment import Environment
    from physics import Mechanical

_ENGINE_STEP = 1 / 240  # PyBullet's own [s]


def check_parity(
    robot: str,
    *,
    clean: Annotated[bool, Parameter(negative="--defaults")] = False,
    floating: bool = False,
    package_root: tuple[Path, ...] = (),
    ignore: tuple[str, ...] = (),
    inertia: Literal["file", "pybullet"] = "file",
    count: int = 10_000,
    rollouts: int = 5,
    dt: float = _ENGINE_STEP,
    substeps: int = 1,
    seed: int = 0,
    match: bool = False,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Does PyBullet do what the equations of a robot say, and if not, what differs?

    By default the equations are those of the file and the engine is left as it is for a user who
    loads it and sets nothing. Exits with 1 where they differ, unless --match makes them agree.

    Parameters
    ----------
    robot
        A .urdf or MJCF .xml file, the name of one of this project's systems that PyBullet
        builds, or your own RigidBody as MODULE:FACTORY.
    clean
        Set the engine as this project's plants do, instead of leaving it as it is loaded.
    floating
        Free the robot's base.
    package_root
        Folders in which package:// names are looked for.
    ignore
        What of the file to leave out, where it is refused otherwise: mimic; stiffness, equality,
        tendon of MJCF.
    inertia
        "file" as written, "pybullet" as the engine reads them.
    count
        How many random states accelerations are compared at.
    rollouts
        How many short rollouts.
    dt
        Control step [s].
    substeps
        Engine steps a control step.
    seed
        Of states and inputs.
    match
        Exit with 0 where settings are found under which both agree.
    json_file
        Write all figures there.
    """
    from hybridmodel.envs.bullet.settings import BulletSettings
    from hybridmodel.envs.parity import check_parity as check
    from hybridmodel.files import write_atomically

    if seed < 0:
        raise ValueError(f"--seed must be an integer ≥ 0, got {seed}")
    if json_file is not None and (json_file.is_dir() or not json_file.resolve().parent.is_dir()):
        raise ValueError(f"--json must be a file in a folder that is there, got {json_file}")
    system = _system(robot, floating=floating, roots=package_root, ignore=ignore, inertia=inertia)
    settings = BulletSettings() if clean else BulletSettings.engine_defaults()
    with (
        closing(_plant(system, dt, substeps, settings, package_root)) as plant,
        Console(stderr=True).status("") as status,
    ):
        found = check(
            system, plant, count=count, rollouts=rollouts, seed=seed, progress=status.update
        )
    Console(soft_wrap=True).print(str(found), markup=False, highlight=False)
    if json_file is not None:
        text = json.dumps(found.as_dict(), indent=2, ensure_ascii=False) + "\n"
        write_atomically(json_file, text.encode())
    agreed = found.holds or (match and found.match is not None and found.match.holds)
    return OK if agreed else WORSE


def _plant(
    system: Mechanical,
    dt: float,
    substeps: int,
    settings: BulletSettings,
    roots: tuple[Path, ...],
) -> Environment:
    """PyBullet's plant, of a robot without the armature that the engine has no room for."""
    from hybridmodel import envs
    from hybridmodel.envs.parity.steps import without

    built = without(system, "armature")
    with closing(envs.make(built, dt=dt, substeps=substeps)) as plant:
        kind: Any = type(plant)
    options = {"package_roots": roots} if roots else {}
    return kind(built, dt=dt, substeps=substeps, settings=settings, **options)


def _system(
    name: str,
    *,
    floating: bool,
    roots: tuple[Path, ...],
    ignore: tuple[str, ...],
    inertia: Literal["file", "pybullet"],
) -> Mechanical:
    from hybridmodel.cli.choices import system_named
    from physics import Mechanical
    from physics.rigid_body import mjcf, urdf
    from physics.rigid_body.system import RigidBody

    suffix = Path(name).suffix.lower()
    if suffix in (".urdf", ".xml", ".mjcf"):
        try:
            if suffix == ".urdf":
                read = urdf.read(name, package_roots=roots, ignore=ignore)
            else:
                read = mjcf.read(name, ignore=ignore)
        except ValueError as error:
            raise ValueError(_as_options(str(error))) from error
        return RigidBody.from_description(read, floating=floating or read.floating, inertia=inertia)
    if Path(name).is_file():
        raise ValueError(
            f"argument robot: {name!r} is a file, and its ending must be .urdf, .xml or .mjcf"
        )
    if floating or roots or ignore or inertia != "file":
        raise ValueError(
            f"--floating, --package-root, --ignore and --inertia are for files, got {name!r}"
        )
    system = system_named(name, "argument robot")
    if not isinstance(system, Mechanical):
        raise ValueError(f"argument robot: {name!r} is a {type(system).__name__}, no Mechanical")
    return system


def _as_options(message: str) -> str:
    """A refusal with Python's arguments written as options of this command."""
    message = re.sub(r'ignore=\("(\w+)",\)', r"--ignore \1", message)
    return message.replace("package_roots", "--package-root")
