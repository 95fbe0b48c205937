"""A model's step as a program: traced by the text that torch and CasADi run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import casadi as ca

from hybridmodel.equations import step
from hybridmodel.kernel.callees import Callee, Scalar
from hybridmodel.kernel.network import Network
from hybridmodel.kernel.program import Call, Program
from hybridmodel.kernel.scalars import NotLoweredError
from hybridmodel.learned import Pieces

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

    def callee(self, made: Callee) -> int:
        self.callees.append(made)
        return len(self.callees) - 1

    def piece(self, function: ca.Function, uses: int) -> Callable[..., Any]:
        """A piece of the equations: written out, or called where that would be long."""
        _lowered(function)
        if function.n_instructions() * uses <= _WRITTEN_OUT:
            return function
        index = self.callee(Scalar(function))
        return lambda *arguments: self.call(index, ca.vertcat(*arguments))


@dataclass(frozen=True)
class Terms:
    """What an objective sums: stage (x, u, k, d, x⁺) and terminal (x, d) ↦ (cost, violation).

    networks   code of those that stage and then terminal call
    """

    stage: Pieces
    terminal: Pieces
    networks: tuple[Network, ...]


def step_program(
    model: HybridModel, network: Network | None, terms: Terms | None = None
) -> tuple[Program, Program | None]:
    """x⁺, with terms cost and violation too, and the program of their end.

    network   code of the residual
    Raises NotLoweredError with the reason.
    """
    system, trace = model.system, _Trace()
    nd = system.nd if terms is None else terms.stage.result.size1_in("d")
    x, u = ca.SX.sym("x", model.nx), ca.SX.sym("u", system.nu)
    p, d = ca.SX.sym("p", len(model.fit_parameters)), ca.SX.sym("d", nd)
    uses = model.substeps * max(1, model.integrator.order)
    equations = model.equations.map(lambda function: trace.piece(function, uses))
    apply: Callable[..., Any] | None = None
    if network is not None:
        index, sizes = trace.callee(network), network.sizes

        def called(*z: ca.SX) -> Any:
            r = trace.call(index, ca.vertcat(*z))
            return r if len(sizes) == 1 else (r[: sizes[0]], r[sizes[0] :])

        apply = called

    velocity = ca.DM(model.velocity.cpu().numpy())
    after = step(
        equations, apply, model.scheme, x, u, p, d[: system.nd], dt=model.dt, velocity=velocity
    )
    inputs, outputs = {"x": x, "u": u, "p": p, "d": d}, {"x": after}
    at_end: dict[str, ca.SX] = {}
    if terms is not None:
        places = [trace.callee(own) for own in terms.networks]
        k, last = ca.SX.sym("k"), len(terms.stage.modules)
        cost, violation = terms.stage.run(lambda i, z: trace.call(places[i], z), x, u, k, d, after)
        inputs["k"] = k
        outputs |= {"cost": cost, "violation": violation}
        split = len(trace.calls)
        cost, violation = terms.terminal.run(lambda i, z: trace.call(places[last + i], z), x, d)
        at_end = {"cost": cost, "violation": violation}
    else:
        split = len(trace.calls)
    used = sorted({call.callee for call in trace.calls})
    calls = [Call(used.index(c.callee), c.arguments, c.results) for c in trace.calls]
    callees = tuple(trace.callees[old] for old in used)
    program = Program(inputs, outputs, tuple(calls[:split]), callees)
    if not at_end:
        return program, None
    return program, Program(
        {n: inputs[n] for n in ("x", "p", "d")}, at_end, tuple(calls[split:]), callees
    )


def _lowered(function: ca.Function) -> None:
    if not function.is_a("SXFunction"):
        raise NotLoweredError(
            f"{function.name()} has no scalar form: it holds matrix operations that CasADi does "
            f"not expand"
        )
