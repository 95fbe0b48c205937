"""Modules that no table knows: torch.export writes down their operations, which become nodes.

The module is traced in float64, in the mode (training or not) that it is in, on a deep copy: on
a batch of one where its rows are independent, else on a bare vector. What it asks of the module:
forward takes (…, n) or at least (1, n), or else (n,), and its path does not depend on values.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import inspect
import io
import logging
import operator
import warnings
from collections.abc import Iterator
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from hybridmodel.bridges.aten import KNOWN, OPERATIONS, decompositions
from hybridmodel.bridges.expressions import as_node, reshape, weight
from hybridmodel.bridges.graph import Node, Nodes

_COUNT = 3  # rows of the batch that is tried
# what torch and modules raise when they are given an array of another shape than they take
_WRONG_SHAPE = (RuntimeError, IndexError, TypeError, AssertionError, ValueError)


def trace(module: nn.Module, nodes: Nodes) -> Nodes:
    """What a module makes of nodes, by torch.export.

    Raises ValueError where the module takes neither (1, …) nor a bare array, mixes the rows of a
    batch, draws random numbers, changes its own state or branches on values; NotImplementedError
    where it uses an operation that is not known, named with its place.
    """
    twin = copied(module)
    batched = is_batched(twin, tuple(x.shape for x in nodes))
    lead = (1,) if batched else ()
    points = tuple(torch.zeros(*lead, *x.shape, dtype=torch.float64) for x in nodes)
    program = _exported(twin, points)
    arguments = [reshape(x, *lead, *x.shape) for x in nodes]
    outputs = _read(program, module, arguments)
    return tuple(reshape(y, *(y.shape[1:] if batched else y.shape or (1,))) for y in outputs)


def copied(module: nn.Module) -> nn.Module:
    """A deep copy in float64 on the CPU, in the same mode; ValueError where there can be none."""
    try:
        twin = copy.deepcopy(module)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"the module cannot be copied: {first_line(error)}") from error
    for tensor in (*twin.parameters(), *twin.buffers()):
        if not tensor.is_meta:  # such a tensor has no numbers to move
            dtype = torch.float64 if tensor.is_floating_point() else tensor.dtype
            tensor.data = tensor.data.to("cpu", dtype)
    return twin


def is_batched(module: nn.Module, shapes: tuple[tuple[int, ...], ...]) -> bool:
    """Whether a module maps batches row by row, or else bare arrays.

    Raises ValueError where it takes neither, or where rows of a batch influence one another.
    """
    points = _rows(shapes)
    try:
        together, again = _call(module, points), _call(module, points)
        alone = _call(module, [x[:1] for x in points])
    except _WRONG_SHAPE as error:
        batch = f"a batch is refused ({first_line(error)})"
    else:
        if not _equal(together, again):
            mode = "; call .eval() on the network first" if module.training else " in eval mode too"
            raise ValueError(f"its value is random{mode}")
        rows = [(_COUNT, *y.shape[1:]) for y in alone]
        if all(y.shape[:1] == (1,) for y in alone) and rows == [tuple(y.shape) for y in together]:
            _check_rows(module, points)
            return True
        batch = f"a batch of {_COUNT} gives shape {tuple(together[0].shape)}"
    try:
        _call(module, [x[0] for x in points])
    except _WRONG_SHAPE as error:
        wanted = ", ".join(str(shape) for shape in shapes)
        raise ValueError(
            f"it maps neither batches row by row ({batch}) nor bare arrays of shape {wanted} "
            f"({first_line(error)})"
        ) from error
    return False


def _rows(shapes: tuple[tuple[int, ...], ...]) -> list[Tensor]:
    """Random batches of both signs: a sum over rows has another sign than one of them."""
    generator = torch.Generator().manual_seed(0)
    points = [torch.randn(_COUNT, *s, generator=generator, dtype=torch.float64) for s in shapes]
    for x in points:
        x[1], x[2] = -2 * x[0], x[2].abs()
    return points


def _check_rows(module: nn.Module, points: list[Tensor]) -> None:
    """ValueError where a row of a batch has another value than alone or in another order."""
    order = torch.arange(_COUNT).roll(1)
    for scale in (1.0, 1e3):  # the large one for what a sum over rows switches
        batch = [scale * x for x in points]
        try:
            together, turned = _call(module, batch), _call(module, [x[order] for x in batch])
            single = [_call(module, [x[i : i + 1] for x in batch]) for i in range(_COUNT)]
        except _WRONG_SHAPE:
            continue  # the module takes the shape and refuses these numbers
        for several, moved, *alone in zip(together, turned, *single, strict=True):
            rows = torch.cat(alone)
            if not (_close(several, rows) and _close(moved, rows[order])):
                raise ValueError(
                    "the rows of a batch influence one another, by what is taken over the first "
                    "axis or by a branch on values"
                )


def _close(a: Tensor, b: Tensor) -> bool:
    size = b.double().nan_to_num(0.0, 0.0, 0.0).abs().amax().item() if b.numel() else 0.0
    return torch.allclose(a, b, 1e-9, 1e-9 * size, equal_nan=True)


def takes(module: nn.Module, points: tuple[Tensor, ...]) -> bool:
    """Whether a module takes arrays of these shapes."""
    try:
        _call(module, list(points))
    except _WRONG_SHAPE:
        return False
    return True


def _equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in zip(a, b, strict=True))


def _call(module: nn.Module, points: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        found = module(*points)
    outputs = list(found) if isinstance(found, tuple | list) else [found]
    if not outputs or not all(isinstance(y, Tensor) for y in outputs):
        raise TypeError(f"forward must return a tensor or a tuple of them, got {type(found)}")
    return outputs


@contextlib.contextmanager
def quiet(*packages: str) -> Iterator[None]:
    """Keeps loggers and dumps of packages off the screen: failures come as exceptions too."""
    loggers = [logging.getLogger(name) for name in packages]
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in packages:
            loggers.append(logger)
    levels = {logger: logger.level for logger in loggers}
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL + 1)
        with contextlib.redirect_stderr(io.StringIO()):  # torch.export prints partial graphs
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def _exported(module: nn.Module, points: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    with warnings.catch_warnings(), quiet("torch"):
        # torch about a class of its own, and about the list of weights that nn.GRU keeps
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "The tensor attributes? self.*_flat_weights", UserWarning)
        try:
            program = torch.export.export(module, points)
            return program.run_decompositions(decompositions())
        except Exception as error:  # torch.export raises whatever the module's code led to
            raise ValueError(f"torch.export cannot trace it: {first_line(error)}") from error


def _read(program: Any, module: nn.Module, arguments: list[Node]) -> list[Node]:
    signature = program.graph_signature
    for name in (*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()):
        raise ValueError(f"forward changes {name!r}; a network must leave its state as it is")
    values: dict[fx.Node, Any] = {}
    remaining = iter(arguments)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            values[node] = _placeholder(node.name, program, module, remaining)
        elif node.op == "call_function":
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = _apply(node, args, kwargs)
        elif node.op == "get_attr":
            values[node] = None  # the body of a branch or loop, which has no graph form
        elif node.op == "output":
            return [as_node(y) for y in fx.map_arg(node.args[0], values.__getitem__)]
    raise ValueError("torch.export gave a graph without output")


def _placeholder(name: str, program: Any, module: nn.Module, arguments: Iterator[Node]) -> Any:
    signature = program.graph_signature
    if name in signature.inputs_to_parameters:
        return weight(module.get_parameter(signature.inputs_to_parameters[name]))
    if name in signature.inputs_to_buffers:
        buffer = module.get_buffer(signature.inputs_to_buffers[name])
        return weight(buffer) if buffer.is_floating_point() else buffer.detach().cpu()
    if name in signature.inputs_to_lifted_tensor_constants:
        return program.constants[signature.inputs_to_lifted_tensor_constants[name]]
    if name in signature.user_inputs:
        return next(arguments)
    return None  # a token of side effects or an object: whoever uses it is refused


def _apply(node: fx.Node, args: Any, kwargs: Any) -> Any:
    target: Any = node.target
    if target is operator.getitem:
        return args[0][args[1]]
    found: list[Node] = []
    map_aggregate((args, kwargs), lambda a: found.append(a) if isinstance(a, Node) else a)
    if not isinstance(target, torch._ops.OpOverload):
        if found or not isinstance(target, BuiltinFunctionType):  # else: of sizes
            raise NotImplementedError(f"{_place(node)}: {target} has no graph form")
        return target(*args, **kwargs)
    name = target._schema.name.removeprefix("aten::")
    if torch.Tag.nondeterministic_seeded in target.tags:
        raise ValueError(f"{_place(node)}: {name} draws random numbers in the mode it is in")
    if not found:
        return target(*args, **kwargs)  # of known numbers alone
    if name not in OPERATIONS:
        near = difflib.get_close_matches(name, KNOWN, 5, 0.7)
        hint = f"; similar ones that have are {', '.join(near)}" if near else ""
        raise NotImplementedError(f"{_place(node)}: operation {name} has no graph form{hint}")
    try:
        inspect.signature(OPERATIONS[name]).bind(target, *args, **kwargs)
    except TypeError as error:
        options = ", ".join(f"{key}={value}" for key, value in kwargs.items())
        raise NotImplementedError(
            f"{_place(node)}: operation {name} has no graph form with {options or 'its arguments'}"
        ) from error
    try:
        return OPERATIONS[name](target, *args, **kwargs)
    except NotImplementedError as error:
        raise NotImplementedError(f"{_place(node)}: operation {name} {error}") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{_place(node)}: operation {name} {error}") from error


def _place(node: fx.Node) -> str:
    """Where an operation stands: the module's path, and the line of the user's source."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0] if stack else ""
    lines = (node.meta.get("stack_trace") or "").strip().splitlines()
    source = f", in `{lines[-1].strip()[:80]}`" if lines else ""
    return f"at {path or 'forward'!r}{source}"


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
