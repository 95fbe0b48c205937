"""MuJoCo as the plant of a mechanical System whose q are the joints of one tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import casadi as ca
import mujoco
import numpy as np

from hybridmodel.envs.environment import Environment, Reward
from hybridmodel.envs.evaluated import Evaluated
from hybridmodel.envs.hidden import HiddenEffects
from hybridmodel.envs.mujoco import mjcf
from hybridmodel.envs.mujoco.bodies import tree
from hybridmodel.envs.mujoco.settings import MujocoSettings
from hybridmodel.envs.mujoco.welded import Welded, weld
from physics import Mechanical, tangent

FREE = 6  # rows of v that a free base has
INSTANT = 1e-9  # [s] the step of an acceleration: dry friction would stop within a longer one
# mj_step without its checks, which would write a log file into the working directory
_INTEGRATE = {
    "RK4": lambda model, data: mujoco.mj_RungeKutta(model, data, 4),
    "Euler": mujoco.mj_Euler,
    "implicitfast": mujoco.mj_implicit,
}


class MujocoPlant(Environment):
    """A mechanical System simulated by MuJoCo in its own minimal coordinates.

        M v̇ + b = B uᵃ + τ + λ,   |λᵢ| ≤ cᵢ(q)

    λ is dry friction, modelled or hidden, which the engine solves as a soft constraint: see
    `MujocoSettings` for how slowly a joint that ought to stick still creeps. Viscous friction,
    modelled or hidden, is the engine's joint damping. Inputs, τ, c(q) and forces that depend on
    the state are held over each engine step. The engine's free base has the System's convention:
    velocity in the world, rates in the body, quaternion (w, x, y, z). It draws no pictures.
    `settings` of another kind show what the engine does unasked; `mjcf` is the model as text.

    Raises ValueError where no tree is known for the system, the engine refuses its masses, or an
    effect has no form in the engine.
    """

    def __init__(
        self,
        system: Mechanical,
        *,
        dt: float,
        substeps: int | None = None,
        hidden: HiddenEffects | None = None,
        reward: Reward | None = None,
        initial_state: Sequence[float] | np.ndarray | None = None,
        episode_steps: int | None = None,
        render_mode: str | None = None,
        settings: MujocoSettings | None = None,
    ) -> None:
        super().__init__(
            system,
            dt=dt,
            substeps=substeps,
            hidden=hidden,
            reward=reward,
            initial_state=initial_state,
            episode_steps=episode_steps,
            render_mode=render_mode,
        )
        self._arguments = {
            "dt": dt,
            "substeps": self.substeps,
            "hidden": hidden,
            "reward": reward,
            "initial_state": initial_state,
            "episode_steps": episode_steps,
            "render_mode": render_mode,
        }
        if only := self.hidden.engine_only:
            raise ValueError(f"{only[0]} is there in PyBullet alone, and the engine is MuJoCo")
        self.engine_settings = MujocoSettings() if settings is None else settings
        true: Any = self.hidden.true_system(system)
        self._tree = tree(true)
        self._nq, self._nv = true.nq, true.nv
        self._integrate = _INTEGRATE[self.engine_settings.integrator]
        self._prepare_friction(true)
        self._build(true)
        self._prepare_force(true)

    def with_settings(self, **changes: Any) -> Self:
        """The same plant, built anew with other `MujocoSettings`."""
        settings = dataclasses.replace(self.engine_settings, **changes)
        return type(self)(self.system, settings=settings, **self._arguments)  # type: ignore[arg-type]

    def _prepare_friction(self, true: Mechanical) -> None:
        """D and c(q) of every row of v, what the System models included."""
        joints = [joint for joint in self._tree.description.joints if joint.moves]
        base = FREE if self._tree.floating else 0
        own = np.array([[0.0, 0.0]] * base + [[joint.damping, joint.friction] for joint in joints])
        own = own.reshape(self._nv, 2)
        if self.engine_settings.joint_damping == "none":
            own[:, 0] = 0.0
        if self.engine_settings.dry_friction == "none":
            own[:, 1] = 0.0
        self._damping = own[:, 0] + np.array(self.hidden.viscous or (0.0,) * self._nv)
        q = ca.SX.sym("q", self._nq)
        where = tangent.positions(true.states[: self._nq], q)
        limit = ca.DM(own[:, 1]) + self.hidden.friction_limit(where)
        self._limit = Evaluated(ca.Function("limit", [q], [ca.densify(limit)]))
        self._ripples = bool(ca.depends_on(limit, q))

    def _build(self, true: Mechanical) -> None:
        settings, shape = self.engine_settings, self._tree
        self._gravity = shape.gravity if settings.gravity is None else float(settings.gravity)
        names = [joint.name for joint in shape.description.joints if joint.moves]
        base = self._nv - len(names)
        limit = self._limit(np.array(true.neutral[: self._nq])).copy()
        bodies = weld(shape.description, floating=shape.floating)
        self.mjcf = mjcf.text(
            shape.description.name,
            bodies,
            settings=settings,
            timestep=self.dt / self.substeps,
            gravity=self._gravity,
            damping=dict(zip(names, self._damping[base:], strict=True)),
            friction=dict(zip(names, limit[base:], strict=True)),
        )
        try:
            self._model = mujoco.MjModel.from_xml_string(self.mjcf)
        except ValueError as error:
            raise ValueError(f"MuJoCo refuses {shape.description.name}: {error}") from None
        self._data = mujoco.MjData(self._model)
        if settings.inertia == "system":
            self._set_masses([body for body in bodies if not body.fixed])
        joints = [self._model.joint(name) for name in names]
        own = [*range(7)] if shape.floating else []
        self._q_rows = np.array(own + [int(j.qposadr[0]) for j in joints])
        self._v_rows = np.array([*range(base)] + [int(j.dofadr[0]) for j in joints])
        # A free joint's six rows have no attributes of their own in the text
        self._model.dof_damping[self._v_rows[:base]] = self._damping[:base]
        self._model.dof_frictionloss[self._v_rows[:base]] = limit[:base]
        for name in ("solref", "solimp"):
            getattr(self._model, f"dof_{name}")[:] = getattr(settings, f"friction_{name}")

    def _set_masses(self, bodies: Sequence[Welded]) -> None:
        """Of those that the compiler refuses; the engine itself takes any M(q) ≻ 0."""
        refused = [body for body in bodies if mjcf.refusal(body)]
        for body in refused:
            i = self._model.body(mjcf.label(body)).id
            self._model.body_mass[i], self._model.body_inertia[i] = mjcf.masses(body)
        if refused:
            mujoco.mj_setConst(self._model, self._data)

    def _prepare_force(self, true: Mechanical) -> None:
        """B uᵃ and force(x, uᵃ), evaluated in each engine step only where they depend on x."""
        x, u = ca.SX.sym("x", true.nx), ca.SX.sym("u", true.nu)
        force = true.input_map(x[: true.nq], true.namespace()) @ u + self.hidden.force(true, x, u)
        self._force = Evaluated(ca.Function("force", [x, u], [ca.densify(force)]))
        slope = ca.jacobian(force, ca.vertcat(x, u))
        self._input_map: np.ndarray | None = None
        if slope.is_constant():
            by_x, by_u = np.split(np.asarray(ca.evalf(ca.densify(slope))), [true.nx], axis=1)
            at_rest = self._force(np.zeros(true.nx), np.zeros(true.nu))
            if not (np.any(by_x) or np.any(at_rest)):
                self._input_map = by_u

    def _place(self, x: np.ndarray) -> None:
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[self._q_rows], self._data.qvel[self._v_rows] = np.split(x, [self._nq])
        if self._ripples:
            self._model.dof_frictionloss[self._v_rows] = self._limit(x[: self._nq])

    def _read(self) -> np.ndarray:
        return np.concatenate([self._data.qpos[self._q_rows], self._data.qvel[self._v_rows]])

    def _advance(self, applied: np.ndarray, force: np.ndarray) -> None:
        model, data, rows = self._model, self._data, self._v_rows
        if self._input_map is not None:
            force = applied @ self._input_map.T + force
        for u, further in zip(applied, force, strict=True):
            if self._input_map is None:
                further = further + self._force(self._read(), u)
            data.qfrc_applied[rows] = further
            if self._ripples:
                model.dof_frictionloss[rows] = self._limit(data.qpos[self._q_rows])
            mujoco.mj_forward(model, data)
            if not np.all(np.isfinite(data.qacc)):
                data.qpos[:] = data.qvel[:] = np.nan
                return
            self._integrate(model, data)

    def _acceleration(self, x: np.ndarray, applied: np.ndarray) -> np.ndarray:
        self._place(x)
        self._data.qfrc_applied[self._v_rows] = self._force(x, applied)
        option = self._model.opt
        step, option.timestep = option.timestep, INSTANT
        mujoco.mj_forward(self._model, self._data)
        option.timestep = step
        return self._data.qacc[self._v_rows]

    def _engine_settings(self) -> dict[str, Any]:
        record = {
            "engine": "mujoco",
            "version": mujoco.mj_versionString(),
            "gravity": self._gravity,
            "joint_damping": tuple(self._damping.tolist()),
        }
        return dataclasses.asdict(self.engine_settings) | record
