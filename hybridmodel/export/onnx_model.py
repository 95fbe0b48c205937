"""Target "onnx": x⁺ = F(x, u, p, d) over a batch, as one ONNX graph.

Every value is (batch, n), and the scalars of an analytic piece are (batch, 1). The graph is
printed from the recorded program: torch's exporter fixes the batch to the size that it saw.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import erf

from hybridmodel.bridges.graph import Concatenate, Elementwise, Graph, MatMul, Node, Sum, Take
from hybridmodel.bridges.network import lower
from hybridmodel.export.c.pieces import DType
from hybridmodel.export.network_graph import constants, scalar_function
from hybridmodel.export.onnx_scalars import Builder, print_scalars
from hybridmodel.export.program import Call, Combine, Input, record_step
from hybridmodel.export.round_trip import (
    TOLERANCE,
    RoundTrip,
    difference,
    evaluate,
    in_float64,
)
from hybridmodel.model import HybridModel

OPSET, IR_VERSION = 18, 9


def write(model: HybridModel, folder: Path, name: str, digest: str, dtype: DType) -> RoundTrip:
    """Write NAME.onnx, with inputs x, u, p, d (those of size 0 left out) and output x_next.

    Raises ValueError for an operation that ONNX has no form for, and ImportError without onnx.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError(
            "target 'onnx' needs the package onnx: pip install hybridmodel[onnx]"
        ) from None
    model = in_float64(model)
    proto = print_model(model, name, digest, dtype)
    onnx.checker.check_model(proto, full_check=True)
    path = folder / f"{name}.onnx"
    path.write_bytes(proto.SerializeToString())
    return _check(model, path, dtype)


def print_model(model: HybridModel, name: str, digest: str, dtype: DType) -> Any:
    """The onnx.ModelProto of a float64 model."""
    from onnx import helper

    program, builder = record_step(model), Builder(dtype)
    given = [n for n in program.nodes if isinstance(n, Input) and n.size]
    values: list[str] = []
    columns: dict[int, list[str]] = {}

    def split(number: int) -> list[str]:
        if number not in columns:
            size = program.nodes[number].size
            columns[number] = builder.columns(values[number], size) if size else []
        return columns[number]

    for node in program.nodes:
        match node:
            case Input():
                values.append(node.name)
            case Combine():
                terms = [values[k] for k in node.arguments]
                scaled = [
                    term
                    if c == 1
                    else builder.node("Mul", term, builder.constant(np.atleast_2d(c)))
                    for term, c in zip(terms, node.coefficients, strict=True)
                ]
                while len(scaled) > 1:
                    scaled = [builder.node("Add", scaled[0], scaled[1]), *scaled[2:]]
                values.append(scaled[0])
            case Call():
                entries = [split(k) for k in node.arguments]
                results = [
                    x if moving else builder.over_batch(x, given[0].name, 1)
                    for x, moving in print_scalars(builder, node.function, entries)
                ]
                values.append(builder.node("Concat", *results, axis=1))
            case _:
                assert model.residual is not None  # or there were no such node
                [z] = node.arguments
                graph = lower(model.residual, program.nodes[z].size)
                values.append(_print_network(builder, graph, values[z]))
    [result] = program.results
    builder.nodes.append(helper.make_node("Identity", [values[result]], ["x_next"]))
    value = helper.make_tensor_value_info
    proto = helper.make_graph(
        builder.nodes,
        name,
        [value(node.name, builder.real, ["batch", node.size]) for node in given],
        [value("x_next", builder.real, ["batch", model.nx])],
        builder.constants,
        doc_string=f"x_next = F(x, u, p, d) over {model.dt!r} s",
    )
    made = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    helper.set_model_props(made, {"model_sha256": digest, "dt": repr(model.dt)})
    return made


def _print_network(builder: Builder, graph: Graph, z: str) -> str:
    """The network's nodes, each as (batch, size) with its elements by rows; the name of r."""
    fixed = constants(graph)
    [start], [end] = graph.inputs, graph.outputs
    values: dict[Node, str] = {start: z}

    def wide(x: Node) -> str:
        """The value of a node over the batch."""
        return builder.over_batch(values[x], z, x.size) if x in fixed else values[x]

    for node in graph.nodes:
        if node in fixed:
            values[node] = builder.constant(fixed[node].reshape(1, -1))
            continue
        if node is start:
            continue
        match node:
            case MatMul(operands=(a, b)):
                (count, m, depth), n = a.shape, b.shape[1]
                if b in fixed and count * m == 1:
                    weight = builder.constant(fixed[b][0].T)
                    values[node] = builder.node("MatMul", values[a], weight)
                    continue
                first = _shaped(builder, values[a], a in fixed, (count, m, depth))
                second = _shaped(builder, values[b], b in fixed, (count, n, depth))
                turned = builder.node("Transpose", second, perm=[0, 1, 3, 2])
                product = builder.node("MatMul", first, turned)
                values[node] = _shaped(builder, product, False, (node.size,))
            case Elementwise():
                entries = [[values[x]] for x in node.operands]
                [(values[node], _)] = print_scalars(builder, scalar_function(node), entries)
            case Take(operands=(x,), index=index):
                places = builder.integers(index.ravel())
                values[node] = (
                    values[x] if node.is_view else builder.node("Gather", values[x], places, axis=1)
                )
            case Concatenate():
                values[node] = builder.node("Concat", *(wide(x) for x in node.operands), axis=1)
            case Sum(operands=(x,)):
                rows = _shaped(builder, values[x], False, (node.size, x.shape[-1]))
                axes = builder.integers([2])
                values[node] = builder.node("ReduceSum", rows, axes, keepdims=0)
            case _:
                raise ValueError(
                    f"residual: a {type(node).__name__} node of its network has no form in ONNX"
                )
    return wide(end)


def _shaped(builder: Builder, x: str, fixed: bool, shape: tuple[int, ...]) -> str:
    """(batch, …) with each row in another shape; a constant has 1 in place of the batch."""
    return builder.node("Reshape", x, builder.integers([1 if fixed else 0, *shape]))


def _check(model: HybridModel, path: Path, dtype: DType) -> RoundTrip:
    """Run the file against torch, for the whole batch and for one row of it.

    onnxruntime runs it; where that has no kernel for an operation (as for Erf in float64) or is
    not there, the reference implementation of onnx does.
    """
    points, tolerance = evaluate(model, dtype), TOLERANCE[dtype]
    run, how = _runner(path, dtype)
    given = {n: getattr(points, n).astype(dtype) for n in "xupd" if getattr(points, n).shape[1]}
    found = {
        "step": difference(run(given), points.x_next),
        "one row": difference(run({n: v[:1] for n, v in given.items()}), points.x_next[:1]),
    }
    return RoundTrip(found, tolerance, len(points), how, points.finite)


def _runner(path: Path, dtype: DType) -> tuple[Callable[[dict[str, np.ndarray]], np.ndarray], str]:
    """What runs a file, inputs by name ↦ x_next, and what it is called."""
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except ImportError:
        reason = "onnxruntime is not installed: pip install hybridmodel[onnx]"
    except Exception as error:  # the exceptions of onnxruntime share no other base
        narrow = " (it has more operations in dtype='float32')" if dtype == "float64" else ""
        reason = f"onnxruntime does not run it{narrow}: {str(error).splitlines()[0]}"
    else:
        told = f"run by onnxruntime {onnxruntime.__version__}"
        return lambda given: np.asarray(session.run(None, given)[0]), told
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class Erf(OpRun):  # onnx's own rounds to single precision
        def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
            return (erf(x),)

    evaluator: Any = ReferenceEvaluator(str(path), new_ops=[Erf])

    def run(given: dict[str, np.ndarray]) -> np.ndarray:
        return np.asarray(evaluator.run(None, given)[0])

    return run, f"run by onnx.reference; {reason}"
