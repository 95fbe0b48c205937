"""The hybrid model: one class, one step, for torch and CasADi alike.

    ẋ = f(x, u; p) ⊕ r_θ(φ(x, u, d))        x⁺ = F(x, u)

f and φ are CasADi, r_θ is torch; `Equations` holds the analytic pieces, `step` puts them
together. In torch the pieces run as modules, in CasADi the network runs as a Function.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import casadi as ca
import torch
from torch import Tensor, nn

from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.bridges.network import pack_weights
from hybridmodel.bridges.torch_to_casadi import Weights, to_casadi
from hybridmodel.equations import Equations, Scheme, build, flow, observe, step
from hybridmodel.features import default_features, feature_signals, seen_by
from hybridmodel.memory import initial_state
from hybridmodel.placement import Placement, acceleration
from hybridmodel.rollouts import REPEATED, WORTH, Backend, Member, Path, fused_rollout, path_of
from physics import Signal, System, tangent
from physics.integrators import ALL, Integrator, discrete, rk4
from residuals import Gated, Probabilistic, Recurrent, Residual

if TYPE_CHECKING:
    from hybridmodel.costs import Cost
    from hybridmodel.export import Exported, Target
    from hybridmodel.rl.imagination import Ended, Members, RewardOf
    from hybridmodel.rl.model_env import ModelVectorEnv, Starts

Network = Callable[..., Any]
_SAME = 1e-6  # relative; logs give dt as a difference of times


class HybridModel(nn.Module):
    """x⁺ = F(x, u): analytic physics with a learned residual, discretised over dt.

    system          f(x, u; p), in CasADi
    residual        r_θ(z), in torch: a Residual, any nn.Module (it is put behind a zero gate),
                    or None for the physics alone
    dt              step [s]; a discrete system has its own, which may be left out
    placement       where r enters, see `hybridmodel.placement`
    fit_parameters  names of the physical parameters that are fitted; the others are constants
    integrator, substeps   of one step, RK4 and 1 unless given; a discrete system has neither
    hold            evaluate the network once a step and hold its output over all stages (of a
                    discrete system it is evaluated once anyway)
    features        names of the signals the network sees; default: all states, inputs and
                    exogenous signals, angles as sine and cosine
    backend         which path computes rollouts: "auto", "torch" or "kernel", see `path`

    Shapes: x (…, nx) with memory, u (…, nu), d (…, nd), p (…, np), z (…, nz), r (…, nr).
    Untrained, the model is the physics exactly. What is passed in is never changed.
    Raises ValueError naming the argument.
    """

    def __init__(
        self,
        system: System,
        residual: nn.Module | None = None,
        *,
        dt: float | None = None,
        placement: Placement = acceleration,
        fit_parameters: Sequence[str] = (),
        integrator: Integrator | None = None,
        substeps: int = 1,
        hold: bool = False,
        features: Sequence[str] | None = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if backend not in get_args(Backend):
            raise ValueError(f"backend must be one of {get_args(Backend)}, got {backend!r}")
        self.backend: Backend = backend
        if not isinstance(substeps, int) or substeps < 1:
            raise ValueError(f"substeps must be at least 1, got {substeps!r}")
        if not isinstance(placement, Placement):
            raise ValueError(f"placement must be one of hybridmodel.placement, got {placement!r}")
        self.dt, self.integrator = _stepping(system, dt, integrator, substeps)
        self.system, self.substeps, self.hold, self.placement = system, substeps, hold, placement
        self.fit_parameters = system.check_declared(fit_parameters)
        self.features = _features(system, placement if residual is not None else None, features)
        self.residual = None
        if residual is not None:
            nz, nr = len(self.feature_signals), len(placement.signals(system))
            self.residual = _sized(residual, nz, nr)
        self.nm = self.residual.nm if isinstance(self.residual, Recurrent) else 0
        placed = placement if residual is not None else None
        self.equations = build(system, placed, self.fit_parameters, self.features, self.nm)
        # made here and not when first used, since torch.compile could not look into that
        self.torch_equations: Equations = self.equations.map(to_torch)
        enters = placed.enters if placed else None
        self.scheme = Scheme(self.integrator, substeps, hold, enters, recurrent=self.nm > 0)
        self.theta = nn.Parameter(torch.zeros(len(self.fit_parameters), dtype=torch.float64))
        self.velocity: Tensor
        mask = torch.tensor([float(i in system.velocity_rows) for i in range(self.nx)])
        self.register_buffer("velocity", mask.double(), persistent=False)
        self.noise: Tensor
        nt = len(tangent.signals(system.states))
        self.register_buffer("noise", torch.zeros(nt, dtype=torch.float64))

    @property
    def nx(self) -> int:
        """Number of states, memory of the system and of the residual included."""
        return self.system.nx + self.nm

    @property
    def state_signals(self) -> tuple[Signal, ...]:
        """A signal for each row of x, memory included."""
        remembered = (Signal(f"remembered_{i}") for i in range(self.nm))
        return (*self.system.states, *self.system.memory, *remembered)

    @property
    def memory_steps(self) -> int:
        """How many past steps `initial_state` can use."""
        residual = self.residual
        own = residual.memory_steps if isinstance(residual, Recurrent) else 0
        return self.system.memory_steps + own

    @property
    def feature_signals(self) -> tuple[Signal, ...]:
        """A signal for each row of z."""
        return feature_signals(seen_by(self.system), self.features)

    # -- torch --------------------------------------------------------------------------------

    def forward(
        self,
        x: Tensor,
        u: Tensor,
        d: Tensor | None = None,
        *,
        p: Tensor | None = None,
        member: Member = "mean",
    ) -> Tensor:
        """x⁺ (…, nx) from x (…, nx), u (…, nu); p defaults to the model's own parameters.

        member   of an ensemble: "mean" for the mean of all, a number for one of them, "each" for
                 (E, …, nx) from x (E or 1, …, nx)
        """
        p = self.physical() if p is None else p
        x, u, d = self._checked(x, u, d)
        ahead = fused_rollout(self, member, x, u[..., None, :], d[..., None, :], p)
        if ahead is not None:
            return ahead[..., 1, :]
        return self.step_with(self.network(member), self.scheme, x, u, p, d)

    def network(self, member: Member = "mean") -> Network | None:
        """The map z ↦ r, of a recurrent residual (z, m) ↦ (r, m⁺).

        Raises ValueError for a member that the residual does not have.
        """
        residual = self.residual
        if member == "mean" or residual is None:
            return residual
        count = residual.count if isinstance(residual, Probabilistic) else 1
        whole = isinstance(member, int) and not isinstance(member, bool)
        known = member == "each" or (whole and 0 <= member < count)
        if not isinstance(residual, Probabilistic) or not known:
            raise ValueError(
                f"member must be 'mean', or for a residual with members 'each' or a number below "
                f"their count ({count}); got {member!r}"
            )
        if member == "each":
            return residual.members
        return lambda z: residual.members(z[None])[member]

    def constant(self, r: Tensor) -> Network:
        """A map to r (…, nr) whatever the features, in the form that `step_with` wants."""
        return (lambda z, m: (r, m)) if self.nm else (lambda z: r)

    def step_with(
        self, network: Network | None, scheme: Scheme, x: Tensor, u: Tensor, p: Tensor, d: Tensor
    ) -> Tensor:
        """x⁺ with any map z ↦ r in place of the residual, under any scheme."""
        return step(
            self.torch_equations, network, scheme, x, u, p, d, dt=self.dt, velocity=self.velocity
        )

    def rollout(
        self,
        x0: Tensor,
        u: Tensor,
        d: Tensor | None = None,
        *,
        p: Tensor | None = None,
        member: Member = "mean",
    ) -> Tensor:
        """x (…, H+1, nx) from x0 (…, nx), u (…, H, nu) and d (…, H, nd).

        member   as in `forward`; "each" gives (E, …, H+1, nx), every member on a path of its own.
                 The mean of these is not the rollout of the mean.
        """
        start = x0
        if member == "each":  # the axis of members leads those of the batch, whoever has them
            given = [(x0, 1), (u, 2), *([] if d is None else [(d, 2)])]
            axes = max(t.dim() - own for t, own in given)
            start = x0.reshape((1,) * (axes + 2 - x0.dim()) + x0.shape)
        return self.rollout_from(start, u, d, p=p, member=member)

    def rollout_from(
        self,
        x0: Tensor,
        u: Tensor,
        d: Tensor | None = None,
        *,
        p: Tensor | None = None,
        member: Member = "mean",
        again: bool = False,
    ) -> Tensor:
        """`rollout`, where for "each" x0 (E or 1, …, nx) has a start of its own for each member.

        again   whether as many steps are asked for again and again, so that compiling pays sooner
        """
        p = self.physical() if p is None else p
        if u.shape[-2]:
            self._checked(x0, u[..., 0, :], None if d is None else d[..., 0, :])
            network = self.network(member)
            x = fused_rollout(self, member, x0, u, d, p, REPEATED if again else WORTH)
            return self.rollout_with(network, x0, u, d, p=p) if x is None else x
        return self.rollout_with(self.network(member), x0, u, d, p=p)

    def rollout_with(
        self,
        network: Network | None,
        x0: Tensor,
        u: Tensor,
        d: Tensor | None = None,
        *,
        p: Tensor | None = None,
    ) -> Tensor:
        """x (…, H+1, nx) with any map z ↦ r in place of the residual."""
        p = self.physical() if p is None else p
        states = [x0]
        for k in range(u.shape[-2]):
            here = self._checked(states[-1], u[..., k, :], None if d is None else d[..., k, :])
            states.append(self.step_with(network, self.scheme, *here[:2], p, here[2]))
        if len(states) > 1:
            states[0] = states[0].expand_as(states[1])
        return torch.stack(states, -2)

    def physical(self) -> Tensor:
        """p (np,), the declared physical parameters at their present values."""
        return self.torch_equations.constrain(self.theta) if self.fit_parameters else self.theta

    def output(
        self, x: Tensor, u: Tensor, d: Tensor | None = None, *, p: Tensor | None = None
    ) -> Tensor:
        """y (…, ny) = h(x, u, p, d)."""
        x, u, d = self._checked(x, u, d)
        p = self.physical() if p is None else p
        return observe(self.torch_equations, self.residual, self.scheme, x, u, p, d)

    def state_difference(self, x: Tensor, other: Tensor) -> Tensor:
        """x ⊟ x' (…, tangent rows) of continuous states, of a rotation the rotation vector."""
        if not self.system.quaternion_rows:
            return x - other
        return self.torch_equations.state_difference(x, other)

    def state_retract(self, x: Tensor, xi: Tensor) -> Tensor:
        """x ⊞ ξ of continuous states, ξ (…, tangent rows)."""
        return self.torch_equations.state_retract(x, xi) if self.system.quaternion_rows else x + xi

    def output_difference(self, y: Tensor, other: Tensor) -> Tensor:
        """y ⊟ y' (…, tangent rows) of outputs."""
        if not any(s.quaternion for s in self.system.outputs):
            return y - other
        return self.torch_equations.output_difference(y, other)

    def residual_features(self, x: Tensor, u: Tensor, d: Tensor | None = None) -> Tensor:
        """z (…, nz), what the network sees at (x, u, d)."""
        x, u, d = self._checked(x, u, d)
        return self.torch_equations.features(
            x, self.torch_equations.applied(x, u, self.physical()), d
        )

    def initial_state(
        self,
        x0: Tensor,
        past_u: Tensor | None = None,
        *,
        past_x: Tensor | None = None,
        past_d: Tensor | None = None,
    ) -> Tensor:
        """x (…, nx) with memory, from the continuous state and what came before.

        past_u (…, n, nu), past_x (…, n, continuous), past_d (…, n, nd): inputs, states and
        exogenous signals of the last n ≥ `memory_steps` steps, the most recent last; past_x and
        past_d matter to a recurrent residual alone. Without a past, inputs were zero, and what
        the residual sees at x0 has been so for as long as it remembers.
        """
        return initial_state(self, x0, past_u, past_x, past_d)

    def sample(
        self, x: Tensor, u: Tensor, d: Tensor | None = None, *, generator: torch.Generator
    ) -> Tensor:
        """A next state (…, nx) drawn from its distribution, see `hybridmodel.density`."""
        from hybridmodel.density import sample

        return sample(self, x, u, d, generator=generator)

    def log_prob(self, x: Tensor, u: Tensor, x_next: Tensor, d: Tensor | None = None) -> Tensor:
        """log density (…) of a next state, see `hybridmodel.density`."""
        from hybridmodel.density import log_prob

        return log_prob(self, x, u, x_next, d)

    def linearize(self, x: Tensor, u: Tensor, d: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A (…, nx, nx) = ∂F/∂x and B (…, nx, nu) = ∂F/∂u at (x, u, d)."""
        x, u, d = self._checked(x, u, d)
        batch = torch.broadcast_shapes(*(v.shape[:-1] for v in (x, u, d)))
        rows = math.prod(batch)
        x, u, d = (v.expand(*batch, v.shape[-1]).reshape(rows, v.shape[-1]) for v in (x, u, d))
        p = self.physical()
        # each row of F depends on its own row of x and u, so summing over the batch is exact
        total = torch.func.jacrev(lambda x, u: self(x, u, d, p=p).sum(0), argnums=(0, 1))
        A, B = (j.movedim(0, 1) for j in total(x, u))
        return A.reshape(*batch, *A.shape[1:]), B.reshape(*batch, *B.shape[1:])

    # -- CasADi -------------------------------------------------------------------------------

    def network_function(
        self, weights: Weights = "baked", *, member: int | Literal["mean"] = "mean"
    ) -> ca.Function | None:
        """r = network(z[, w]) in CasADi, (r, m⁺) = network(z, m[, w]) of a recurrent residual.

        None without a residual.
        """
        if self.residual is None:
            return None
        self.network(member)
        residual = self.residual if member == "mean" else self.residual.member(member)  # type: ignore
        nz = len(self.feature_signals)
        return to_casadi(residual, nz=(nz, self.nm) if self.nm else nz, weights=weights)

    def weights(self):
        """The network's numbers w (nw,) for Functions with weights as parameters."""
        return (
            pack_weights(self.residual) if self.residual is not None else ca.DM(0, 1).full()[:, 0]
        )

    def ode_function(self, *, weights: Weights = "baked") -> ca.Function:
        """ẋ = f(x, u, p, d[, w]) with the residual inside.

        Raises ValueError where the model has no ODE: a discrete system, a held residual, one that
        acts on the next state, or a system with memory.
        """
        self._refuse_discrete("ode_function")
        x, u, p, d, w, network = self._symbols(weights)
        value = flow(self.equations, network, self.scheme, x, u, p, d)
        names = ["x", "u", "p", "d", *(["w"] if w is not None else [])]
        inputs = [x, u, p, d, *([w] if w is not None else [])]
        return _named("ode", inputs, value, names, "xdot")

    def step_function(
        self, *, dt: float | Literal["symbolic"] | None = None, weights: Weights = "baked"
    ) -> ca.Function:
        """x⁺ = F(x, u, p, d[, dt][, w]) as one casadi.Function with exact derivatives.

        dt       None takes the model's own; a number or "symbolic" are refused with ValueError
                 where dt belongs to the model (discrete systems, held or next-state residuals,
                 memory)
        weights  "baked" writes θ into the graph, "parameters" makes it the input w (nw,)
        """
        if dt not in (None, "symbolic") and not (
            isinstance(dt, int | float) and 0 < dt < float("inf")
        ):
            raise ValueError(f"dt must be a positive number or 'symbolic', got {dt!r}")
        if dt is not None and dt != self.dt:
            self._refuse_discrete(f"step_function(dt={dt!r})")
        x, u, p, d, w, network = self._symbols(weights)
        names, inputs = ["x", "u", "p", "d"], [x, u, p, d]
        h: Any = self.dt if dt is None else dt
        if dt == "symbolic":
            h = ca.MX.sym("dt")
            names, inputs = [*names, "dt"], [*inputs, h]
        if w is not None:
            names, inputs = [*names, "w"], [*inputs, w]
        velocity = ca.DM(self.velocity.cpu().numpy())
        x_next = step(self.equations, network, self.scheme, x, u, p, d, dt=h, velocity=velocity)
        return _named("F", inputs, x_next, names, "x_next")

    def output_function(self, *, weights: Weights = "baked") -> ca.Function:
        """y = h(x, u, p, d[, w]) with the residual where it corrects the sensors."""
        x, u, p, d, w, network = self._symbols(weights)
        y = observe(self.equations, network, self.scheme, x, u, p, d)
        names = ["x", "u", "p", "d", *(["w"] if w is not None else [])]
        return _named("h", [x, u, p, d, *([w] if w is not None else [])], y, names, "y")

    def export(
        self,
        directory: str | os.PathLike[str],
        *,
        target: Target,
        name: str | None = None,
        dtype: Literal["float64", "float32"] = "float64",
    ) -> Exported:
        """Write the model for another tool: "c", "casadi", "onnx", "acados" or "torch".

        See `hybridmodel.export.export`.
        """
        from hybridmodel.export import export

        return export(self, directory, target=target, name=name, dtype=dtype)

    def vector_env(
        self,
        reward: Cost | RewardOf,
        n: int,
        *,
        starts: Starts,
        episode_steps: int,
        member: Members = "random",
        noise: bool = False,
        stop: float | None = None,
        penalty: float = 0.0,
        ended: Ended | None = None,
    ) -> ModelVectorEnv:
        """n episodes of the model at once, with Gymnasium's interface of vector environments.

        The arguments are those of `hybridmodel.rl.ModelVectorEnv`. Raises ImportError naming the
        extra where there is no Gymnasium.
        """
        from hybridmodel.rl import ModelVectorEnv

        return ModelVectorEnv(
            self,
            reward,
            n,
            starts=starts,
            episode_steps=episode_steps,
            member=member,
            noise=noise,
            stop=stop,
            penalty=penalty,
            ended=ended,
        )

    def parameter_values(self) -> dict[str, float]:
        """The declared physical parameters by name."""
        return dict(zip(self.fit_parameters, self.physical().tolist(), strict=True))

    @property
    def path(self) -> Path:
        """Which execution path rollouts take, and why."""
        return path_of(self)

    # -----------------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> HybridModel:
        fresh = self.rebuilt()
        memo[id(self)] = fresh
        return fresh

    def rebuilt(self, system: System | None = None, *, substeps: int | None = None) -> HybridModel:
        """A copy with the same residual weights, on another system of the same kind if given.

        The copy's ϑ is this model's where the system stays, else zero.
        """
        fresh = HybridModel(
            self.system if system is None else system,
            self.residual,
            dt=self.dt,
            placement=self.placement,
            fit_parameters=self.fit_parameters,
            integrator=self.integrator,
            substeps=self.substeps if substeps is None else substeps,
            hold=self.hold,
            features=self.features,
            backend=self.backend,
        )
        if system is None:
            fresh.theta.data.copy_(self.theta.data)
        fresh.noise.copy_(self.noise)
        return fresh.to(self.theta.dtype).to(self.theta.device).train(self.training)

    def _symbols(self, weights: Weights):
        x, u = ca.MX.sym("x", self.nx), ca.MX.sym("u", self.system.nu)
        p, d = ca.MX.sym("p", len(self.fit_parameters)), ca.MX.sym("d", self.system.nd)
        network = self.network_function(weights)
        if weights == "baked" or network is None:
            return x, u, p, d, None, network
        w = ca.MX.sym("w", network.size1_in(network.n_in() - 1))
        return x, u, p, d, w, lambda *seen: network(*seen, w)

    def _refuse_discrete(self, what: str) -> None:
        reasons = {
            "the system is discrete, x⁺ = f(x, u, p, d)": self.system.dt is not None,
            "the residual is held over a step (hold=True)": self.hold and self.residual is not None,
            f"placement {self.placement.name!r} acts on the discrete step": (
                self.scheme.enters == "next state"
            ),
            "the system has memory that advances once a step": bool(self.system.memory),
            "the residual has memory that advances once a step": self.nm > 0,
        }
        for reason, holds in reasons.items():
            if holds:
                raise ValueError(f"{what} is refused: {reason}, so dt belongs to the model")

    def _checked(self, x: Tensor, u: Tensor, d: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if d is None:
            if self.system.nd:
                names = [s.name for s in self.system.exogenous]
                raise ValueError(f"d must be given: {type(self.system).__name__} needs {names}")
            d = x[..., :0]
        wanted = {"x": self.nx, "u": self.system.nu, "d": self.system.nd}
        for (name, size), value in zip(wanted.items(), (x, u, d), strict=True):
            if value.shape[-1] != size:
                raise ValueError(f"{name} must have shape (…, {size}), got {tuple(value.shape)}")
        return x, u, d


def _named(name: str, inputs: list[Any], value: Any, names: list[str], result: str) -> ca.Function:
    # an argument that a caller forgets is NaN, where CasADi alone would take it for 0
    options = {"default_in": [math.nan] * len(inputs)}
    return ca.Function(name, inputs, [value], names, [result], options)


def _stepping(
    system: System, dt: float | None, integrator: Integrator | None, substeps: int
) -> tuple[float, Integrator]:
    """dt [s] and integrator of a model, those of the system itself where it is discrete."""
    if system.dt is None:
        if not (isinstance(dt, int | float) and 0 < dt < float("inf")):
            raise ValueError(f"dt must be a positive number of seconds, got {dt!r}")
        if integrator is discrete:
            raise ValueError(
                f"integrator: 'discrete' is for systems with a dt of their own, and "
                f"{type(system).__name__} gives ẋ; choose one of {[m.name for m in ALL]}"
            )
        return float(dt), rk4 if integrator is None else integrator
    own = f"{type(system).__name__} is discrete, x⁺ = f(x, u, p, d) every {system.dt:g} s"
    same = isinstance(dt, int | float) and abs(dt - system.dt) <= _SAME * system.dt
    if not (dt is None or same):
        raise ValueError(f"dt: {own}; leave dt out, got {dt!r}")
    if integrator is not None and integrator != discrete:
        raise ValueError(f"integrator: {own}, nothing to integrate; got {integrator.name!r}")
    if substeps != 1:
        raise ValueError(f"substeps: {own}, which has no parts; wanted 1, got {substeps}")
    return float(system.dt), discrete


def _features(
    system: System, placed: Placement | None, given: Sequence[str] | None
) -> tuple[str, ...]:
    only = placed.sees(system) if placed is not None and placed.sees is not None else None
    if given is None:
        return default_features(system) if only is None else only
    if only is not None and tuple(given) != only:
        raise ValueError(
            f"features: placement {placed.name!r} takes {list(only)} alone, got {list(given)}"  # type: ignore[union-attr]
        )
    return tuple(given)


def _sized(residual: nn.Module, nz: int, nr: int) -> Residual:
    if isinstance(residual, Residual):
        return residual.sized(nz, nr)
    return Gated(residual, nz=nz, nr=nr)
