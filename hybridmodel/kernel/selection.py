"""Which path computes a model's rollouts, and the kernel of a model where it is the one.

The rule is data: what the kernel has code for, and how many steps of candidates are asked for,
since it compiles for a fraction of a second when first used. It never depends on a timing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from hybridmodel.bridges.graph import Graph, Node, RefusalError, Weight
from hybridmodel.bridges.network import lower
from hybridmodel.kernel.kernel import DTYPES, Kernel
from hybridmodel.kernel.loops import Objective
from hybridmodel.kernel.members import restricted
from hybridmodel.kernel.network import Network
from hybridmodel.kernel.scalars import NotLoweredError
from hybridmodel.kernel.tracing import Terms, step_program
from hybridmodel.kernel.uniform import evaluate
from hybridmodel.structure import structure, unregistered
from residuals import Members, Probabilistic

KEPT = 32  # kernels of a model: its members, in training and not, and what it was before
WIDEST = 512  # sides of a matrix up to which its product is the kernel's own

Member = int | Literal["mean"]


class Served:
    """The kernels of one model, or of a problem's objective, or why there are none."""

    def __init__(self, model: Any, problem: Any = None) -> None:
        self.model = weakref.ref(model)
        self.problem = None if problem is None else weakref.ref(problem)
        self._kernels: dict[Any, tuple[Kernel, list[Any]] | str] = {}

    def kernel(self, dtype: torch.dtype, member: Member = "mean") -> tuple[Kernel, Tensor] | str:
        """The kernel and the leaves of its network, or the reason why there is none."""
        model = self.model()
        assert model is not None
        key = (member, structure(model), self._of_problem())
        if key not in self._kernels:
            while len(self._kernels) >= KEPT:
                del self._kernels[next(iter(self._kernels))]
            try:
                self._kernels[key] = self._made(model, dtype, member)
            except (NotLoweredError, RefusalError) as reason:
                self._kernels[key] = str(reason)
        found = self._kernels[key]
        if isinstance(found, str):
            return found
        kernel, leaves = found
        weights = torch.cat(evaluate(leaves)) if leaves else torch.zeros(0, dtype=dtype)
        return kernel.at(dtype), weights

    def _of_problem(self) -> tuple[Any, ...] | None:
        problem = self.problem() if self.problem else None
        return problem and (problem.discount, *map(structure, problem.networks))

    def _made(self, model: Any, dtype: torch.dtype, member: Member) -> tuple[Kernel, list[Any]]:
        problem = self.problem() if self.problem else None
        learned = problem.networks if problem else ()
        tensors = (t for module in (model, *learned) for t in module.parameters())
        if (reason := refused(*tensors)) is not None:
            raise NotLoweredError(f"the model's {reason}")
        for module in (model, *learned):
            if (reason := unregistered(module)) is not None:
                raise NotLoweredError(reason)
        graph = _graph(model, member)
        network = None if graph is None else _code(graph)
        terms = None
        if problem:
            terms = Terms(problem.stage_terms, problem.terminal_terms, _codes_of(problem))
        program, end = step_program(model, network, terms)
        objective = Objective(end, problem.discount) if problem and end else None
        # the residual is not among them where it corrects outputs
        networks = [callee for callee in program.callees if isinstance(callee, Network)]
        own = (network, *(terms.networks if terms else ()))
        reference = _reference(self.model, own, networks, self.problem)
        owners = [of for of in (self.model, self.problem) if of is not None]
        leaves = [leaf for network in networks for leaf in network.leaves]
        return Kernel(program, objective, dtype, reference, owners), leaves


def _codes_of(problem: Any) -> tuple[Network, ...]:
    """Code of the networks that a problem's stage and then its terminal terms call."""
    return tuple(
        _code(lower(module, argument.size1_out(0)))
        for pieces in (problem.stage_terms, problem.terminal_terms)
        for argument, module in zip(pieces.arguments, pieces.modules, strict=True)
    )


def _code(graph: Graph) -> Network:
    """Code of a network, with the gradient in what is trained of it."""
    first = Network(graph)
    if first.widest > WIDEST:
        raise NotLoweredError(
            f"a layer of the network has {first.widest} inputs and outputs, and beyond "
            f"{WIDEST} torch's matrix products are faster"
        )
    return Network(graph, frozenset(i for i, leaf in enumerate(first.leaves) if _trained(leaf)))


def _trained(node: Node) -> bool:
    """Whether a weight that it is made of asks for a gradient, whatever the mode right now."""
    if isinstance(node, Weight):
        return node.tensor.requires_grad
    return any(_trained(x) for x in node.operands)


def _graph(model: Any, member: Member) -> Graph | None:
    residual = model.residual
    if residual is None:
        return None
    sizes = (len(model.feature_signals), *((model.nm,) if model.nm else ()))
    if member == "mean" or not isinstance(residual, Probabilistic) or residual.count == 1:
        return lower(residual, sizes)
    graph = lower(Members(residual), sizes)
    rows = graph.outputs[0].size // residual.count
    return restricted(graph, range(member * rows, (member + 1) * rows))


def _reference(
    model: weakref.ref[Any],
    own: Sequence[Network | None],
    networks: Sequence[Network],
    problem: weakref.ref[Any] | None,
) -> Callable[..., Any]:
    """The same as the kernel, in torch and in its leaves.

    own       the residual and what the terms call
    networks  those whose leaves the weights are
    """

    def applied(network: Network, leaves: Mapping[Node, Tensor]) -> Callable[..., Any]:
        graph = network.graph

        def apply(*z: Tensor) -> Any:
            given = dict(zip(graph.inputs, z, strict=True))
            found = evaluate(graph.outputs, {**leaves, **given})
            return found[0] if len(found) == 1 else tuple(found)

        return apply

    def reference(x0: Tensor, u: Tensor, p: Tensor, d: Tensor, weights: Tensor) -> Any:
        rolled = model()
        assert rolled is not None  # a gradient's graph keeps it
        parts = iter(weights.split([node.size for of in networks for node in of.leaves], -1))
        leaves = {id(of): {node: next(parts) for node in of.leaves} for of in networks}
        residual, *learned = (of and applied(of, leaves.get(id(of), {})) for of in own)
        nd = rolled.system.nd
        ahead = d[:, : u.shape[1], :nd] if nd else None
        x = rolled.rollout_with(residual, x0, u, ahead, p=p)
        return x if problem is None else problem().judged(x, u, d, learned=learned)  # type: ignore

    return reference


def plain(*tensors: Tensor) -> str | None:
    """Why these tensors cannot go through a kernel; None where they can."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return "a compiler sees torch operations alone"
    if torch._C._functorch.peek_interpreter_stack() is not None:  # type: ignore[attr-defined]
        return "torch.func transforms see torch operations alone"
    if forward_ad._current_level >= 0:
        return "forward-mode derivatives see torch operations alone"
    return refused(*tensors)


def refused(*tensors: Tensor) -> str | None:
    """Why a kernel cannot read these tensors."""
    for t in tensors:
        if type(t) not in (Tensor, nn.Parameter):
            return f"a tensor is a {type(t).__name__}"
        if t.device.type != "cpu":
            return f"tensors are on {t.device}"
        if t.dtype not in DTYPES:
            return f"tensors are {t.dtype}"
    return None
