"""A model's step as a program: traced by the text that torch and CasADi run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import casadi as ca

from hybridmodel.bridges.graph import Graph
from hybridmodel.equations import step
from hybridmodel.kernel.callees import Callee, Scalar
from hybridmodel.kernel.network import Network
from hybridmodel.kernel.program import Call, Program
from hybridmodel.kernel.scalars import NotLoweredError

if TYPE_CHECKING:
    from hybridmodel.model import HybridModel

_WRITTEN_OUT = 1000  # operations, all uses together, up to which a piece is written out


class _Trace:
    """Cuts calls out of what is traced."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.callees: list[Callee] = []

    def call(self, callee: int, arguments: ca.SX) -> ca.SX:
        results = ca.SX.sym(f"result_{len(self.calls)}", self.callees[callee].n_out)
        self.calls.append(Call(callee, ca.densify(arguments), results))
        return results

    def piece(self, function: ca.Function, uses: int) -> Callable[..., Any]:
        """A piece of the equations: written out, or called where that would be long."""
        _lowered(function)
        if function.n_instructions() * uses <= _WRITTEN_OUT:
            return function
        self.callees.append(Scalar(function))
        index = len(self.callees) - 1
        return lambda *arguments: self.call(index, ca.vertcat(*arguments))


def step_program(
    model: HybridModel,
    graph: Graph | None,
    wanted: frozenset[int] = frozenset(),
    *,
    stage: ca.Function | None = None,
) -> tuple[Program, Network | None]:
    """x⁺ and, where a stage is given, its outputs (x, u, k, d, x⁺) ↦ (cost, violation).

    wanted   leaves of the network whose gradient is asked for
    Raises NotLoweredError with the reason.
    """
    system, trace = model.system, _Trace()
    nd = system.nd if stage is None else stage.size1_in("d")
    x, u = ca.SX.sym("x", model.nx), ca.SX.sym("u", system.nu)
    p, d = ca.SX.sym("p", len(model.fit_parameters)), ca.SX.sym("d", nd)
    network = None if graph is None else Network(graph, wanted)
    uses = model.substeps * max(1, model.integrator.order)
    equations = model.equations.map(lambda function: trace.piece(function, uses))
    apply: Callable[..., Any] | None = None
    if network is not None:
        assert graph is not None
        trace.callees.append(network)
        index, sizes = len(trace.callees) - 1, [y.size for y in graph.outputs]

        def called(*z: ca.SX) -> Any:
            r = trace.call(index, ca.vertcat(*z))
            return r if len(sizes) == 1 else (r[: sizes[0]], r[sizes[0] :])

        apply = called

    velocity = ca.DM(model.velocity.cpu().numpy())
    after = step(
        equations, apply, model.scheme, x, u, p, d[: system.nd], dt=model.dt, velocity=velocity
    )
    inputs, outputs = {"x": x, "u": u, "p": p, "d": d}, {"x": after}
    if stage is not None:
        _lowered(stage)
        k = ca.SX.sym("k")
        cost, violation = stage(x, u, k, d, after)
        inputs["k"] = k
        outputs |= {"cost": cost, "violation": violation}
    used = {call.callee for call in trace.calls}
    order = {old: new for new, old in enumerate(sorted(used))}
    calls = tuple(Call(order[c.callee], c.arguments, c.results) for c in trace.calls)
    callees = tuple(trace.callees[old] for old in sorted(used))
    return Program(inputs, outputs, calls, callees), network


def terminal_program(step: Program, terms: ca.Function) -> Program:
    """V and violation at the end of a step's rollout: terms (x, d) ↦ (cost, violation)."""
    _lowered(terms)
    inputs = {name: step.inputs[name] for name in ("x", "p", "d")}
    cost, violation = terms(inputs["x"], inputs["d"])
    return Program(inputs, {"cost": cost, "violation": violation})


def _lowered(function: ca.Function) -> None:
    if not function.is_a("SXFunction"):
        raise NotLoweredError(
            f"{function.name()} has no scalar form: it holds matrix operations that CasADi does "
            f"not expand"
        )
