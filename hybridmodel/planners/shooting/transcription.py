"""A problem as a nonlinear program, and where its parts stand in the solver's vectors.

    min f(z, π)   s.t.   xₖ₊₁ − F(xₖ, uₖ) = 0,   g ≤ 0,   h = 0,   z = (x₀, u₀, …, u_{H−1}, x_H)

Variables stand by stages, which keeps the matrix of Newton steps banded. Under a risk x holds the
states of all members, one above another, which share u; J_e are their costs, the objective is
`risk.program(J)`, and its slacks follow x_H. What is unknown within a step follows its u.
"""

from __future__ import annotations

from collections.abc import Mapping

import casadi as ca
import numpy as np

from hybridmodel.planners.planner import Plan, Task
from hybridmodel.planners.shooting.dynamics import Dynamics, matrix_dynamics
from hybridmodel.planners.shooting.layout import AT_END, each, laid_out
from hybridmodel.problem import OptimalControlProblem


class Transcription:
    """The program of a problem under given dynamics.

    nlp        {"x", "p", "f", "g"} in MX
    separable  whether f is a sum over stages, and so are the rows
    rows       where the rows of each constraint stand in g, (steps, n) by name
    stages     widths of the stages: x of each, then what follows it, and rows of a step, of the end

    by_stages   rows of one step stand together, in the order of time; else those of one constraint
    """

    def __init__(
        self, problem: OptimalControlProblem, dynamics: Dynamics, *, by_stages: bool = False
    ) -> None:
        self.problem, self.dynamics = problem, dynamics
        model, H = problem.model, problem.horizon
        self._n, self._inner = dynamics.members * model.nx, dynamics.inner
        follows = model.system.nu + (0 if self._inner is None else self._inner.size)
        z, last = ca.MX.sym("z", self._n + follows, H), ca.MX.sym("last", self._n)
        before, U = z[: self._n, :], z[self._n :, :]
        pi = ca.MX.sym("pi", problem.n_parameters, H + 1)
        p = ca.MX.sym("p", len(model.fit_parameters))
        w = ca.MX.sym("w", len(dynamics.weights()))
        v = ca.MX.sym("v", len(problem.weights()))
        ahead, end = pi[:, :-1], pi[:, -1]
        known = p, ahead[: model.system.nd, :], w
        after = ca.horzcat(before[:, 1:], last)
        # constraints by name; those of one step stand together, so multipliers can be shifted
        blocks = {"defect": after - dynamics.steps(before, U, *known)}
        if self._inner is not None:
            blocks["inner"] = self._inner.rows(before, U, *known)
        blocks |= self._constraints(before, U[: model.system.nu, :], last, ahead, end)
        costs = self._costs(before, U[: model.system.nu, :], last, ahead, end, v)
        slacks, self._start = ca.MX(0, 1), None
        if problem.risk is None:
            cost = costs
        else:
            cost, slacks, rows = self._risk(costs)
            blocks |= rows
        self.separable = not any(name in blocks for name in ("costs", "risk")) and (
            not slacks.numel()
        )
        self.n_slacks = slacks.numel()
        self.rows, g = laid_out(blocks, by_stages)
        self.g_low = np.zeros(g.numel())
        for name, where in self.rows.items():
            if "inequality" in name or name == "risk":
                self.g_low[where] = -np.inf
        self.nlp = {
            "x": ca.veccat(z, last, slacks),
            "p": ca.veccat(pi, p, w, v),
            "f": cost,
            "g": g,
        }
        self._members = None
        if problem.risk is not None:
            self._members_costs = ca.Function("costs", [self.nlp["x"], self.nlp["p"]], [costs])
            self._members = matrix_dynamics(model, 1, members=True)
            sizes = self._n, model.system.nu, p.numel(), model.system.nd
            given = [ca.MX.sym(f"s{i}", n) for i, n in enumerate(sizes)]
            given.append(ca.MX.sym("w", len(self._members.weights())))
            self._one_step = ca.Function("step", given, [self._members.steps(*given)])
        at_end = sum(blocks[name].shape[0] for name in AT_END if name in blocks)
        of_step = sum(b.shape[0] for n, b in blocks.items() if n not in ("defect", *AT_END))
        self.stages = self._n, follows, of_step, at_end

    def arguments(self, guess: Plan, task: Task, *, warm: bool) -> dict[str, np.ndarray | float]:
        """What a solver is called with from a guess, with its multipliers where it is warm."""
        problem, H = self.problem, self.problem.horizon
        x = self._members_states(guess, task)
        x[0] = np.tile(task.x0, self.dynamics.members)
        low, high = (
            np.tile(b, (H + 1, self.dynamics.members))
            for b in (problem.state_low, problem.state_high)
        )
        low[0] = high[0] = x[0]
        inner = np.zeros((H, 0)) if self._inner is None else self._inner.start(x)
        free = np.full_like(inner, np.inf)
        p = self._parameters(task)
        none = np.zeros(self.n_slacks)
        z = self._flat(x, guess.u, inner, none)
        if self._start is not None and self.n_slacks:
            slacks = self._start(self._members_costs(z, p)).full().ravel()
            z[len(z) - self.n_slacks :] = np.nan_to_num(slacks, posinf=0.0, neginf=0.0)
        found: dict[str, np.ndarray | float] = {
            "x0": z,
            "p": p,
            "lbx": self._flat(low, np.tile(problem.input_low, (H, 1)), -free, none - np.inf),
            "ubx": self._flat(high, np.tile(problem.input_high, (H, 1)), free, none + np.inf),
            "lbg": self.g_low,
            "ubg": 0.0,
        }
        given = guess.multipliers
        if warm and self._fit(given):
            found["lam_x0"] = self._flat(
                given["x"],
                given["u"],
                given.get("points", inner),
                given["slacks"][0] if self.n_slacks else none,
            )
            lam_g = np.zeros(len(self.g_low))
            for name, where in self.rows.items():
                lam_g[where] = given[name]
            found["lam_g0"] = lam_g
        return found

    def inputs(self, z: np.ndarray) -> np.ndarray:
        """u (H, nu) of a solution."""
        return self._parts(z)[1]

    def multipliers(self, lam_x: np.ndarray, lam_g: np.ndarray) -> dict[str, np.ndarray]:
        """By constraint, then those of the bounds of each variable; first axis: step."""
        found = {name: lam_g[where] for name, where in self.rows.items()}
        found["x"], found["u"], points, slacks = self._parts(lam_x)
        if self._inner is not None:
            found["points"] = points
        if self.n_slacks:
            found["slacks"] = slacks[None]
        return found

    # -- the program ------------------------------------------------------------------------------

    def _constraints(
        self, before: ca.MX, U: ca.MX, last: ca.MX, ahead: ca.MX, end: ca.MX
    ) -> dict[str, ca.MX]:
        problem, H, E = self.problem, self.problem.horizon, self.dynamics.members
        apart, at_end = ca.reshape(before, -1, E * H), ca.reshape(last, -1, E)
        path, terminal = (apart, each(U, E), each(ahead, E)), (at_end, each(end, E))
        found = {
            "inequality": problem.path_g.map(E * H)(*path),
            "equality": problem.path_h.map(E * H)(*path),
            "terminal_inequality": problem.end_g.map(E)(*terminal),
            "terminal_equality": problem.end_h.map(E)(*terminal),
        }
        steps = (H, H, 1, 1)
        return {
            name: ca.reshape(block, block.shape[0] * block.shape[1] // count, count)
            for (name, block), count in zip(found.items(), steps, strict=True)
        }

    def _costs(
        self, before: ca.MX, U: ca.MX, last: ca.MX, ahead: ca.MX, end: ca.MX, v: ca.MX
    ) -> ca.MX:
        """J (E, 1)."""
        problem, H, E = self.problem, self.problem.horizon, self.dynamics.members
        k = ca.DM(np.repeat(np.arange(H), E)[None, :])
        apart = ca.reshape(before, -1, E * H)
        stage = problem.stage.map(E * H)(
            apart, each(U, E), k, each(ahead, E), ca.repmat(v, 1, E * H)
        )
        gamma = ca.DM(problem.discount ** np.arange(H))
        at_end = problem.terminal.map(E)(ca.reshape(last, -1, E), each(end, E), ca.repmat(v, 1, E))
        return ca.reshape(stage, E, H) @ gamma + problem.discount**H * at_end.T

    def _risk(self, costs: ca.MX) -> tuple[ca.MX, ca.MX, dict[str, ca.MX]]:
        """Objective, slacks and rows of the risk of J."""
        risk = self.problem.risk
        assert risk is not None
        J = ca.MX.sym("J", costs.shape[0])
        made = risk.program(J)
        bent = ca.which_depends(made.value, ca.vertcat(J, made.slacks), 2, True)
        if not (made.rows.numel() or any(bent)):
            return risk.program(costs).value, ca.MX(0, 1), {}
        # J are variables of their own: as they are they would tie all steps together in the Hessian
        # where the value bends, and each inequality to the whole horizon where there are some
        self._start = ca.Function("start", [J], [ca.vertcat(J, made.start)])
        rows = {"costs": costs - J}
        if made.rows.numel():
            rows["risk"] = made.rows
        return made.value, ca.vertcat(J, made.slacks), rows

    # -- numbers ----------------------------------------------------------------------------------

    def _members_states(self, guess: Plan, task: Task) -> np.ndarray:
        """Where states begin, (H+1, E·nx)."""
        if self._members is None:
            return guess.x.copy()
        everyone = np.tile(guess.x, (1, self._members.members))
        if not np.isfinite(guess.cost):  # the guess is no rollout, all members begin alike
            return everyone
        p = self.problem.model.physical().detach().cpu().numpy()
        w, d = self._members.weights(), task.pi[:, : self.problem.model.system.nd]
        own = [everyone[0]]
        for k, u in enumerate(guess.u):
            own.append(self._one_step(own[-1], u, p, d[k], w).full().ravel())
        return np.array(own) if np.isfinite(own).all() else everyone

    def _parameters(self, task: Task) -> np.ndarray:
        problem = self.problem
        return np.concatenate(
            [
                task.pi.ravel(),
                problem.model.physical().detach().cpu().numpy(),
                self.dynamics.weights(),
                problem.weights(),
            ]
        )

    def _fit(self, given: Mapping[str, np.ndarray]) -> bool:
        """Whether multipliers are of this program."""
        H, nu = self.problem.horizon, self.problem.model.system.nu
        wanted = {name: where.shape for name, where in self.rows.items()}
        wanted |= {"x": (H + 1, self._n), "u": (H, nu)}
        if self._inner is not None:
            wanted["points"] = (H, self._inner.size)
        if self.n_slacks:
            wanted["slacks"] = (1, self.n_slacks)
        return {name: rows.shape for name, rows in given.items()} == wanted

    def _flat(
        self, x: np.ndarray, u: np.ndarray, inner: np.ndarray, slacks: np.ndarray
    ) -> np.ndarray:
        return np.concatenate([np.hstack([x[:-1], u, inner]).ravel(), x[-1], slacks])

    def _parts(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(H+1, E·nx), (H, nu), what is inside steps and slacks, of what is ordered by stages."""
        H, n, nu = self.problem.horizon, self._n, self.problem.model.system.nu
        flat, slacks = np.split(flat, [len(flat) - self.n_slacks])
        stages = flat[:-n].reshape(H, -1)
        x = np.vstack([stages[:, :n], flat[-n:]])
        return x, stages[:, n : n + nu].copy(), stages[:, n + nu :].copy(), slacks
