"""ONNX → CasADi: what no table and no trace covers, and networks that come as a file.

CasADi reads the operations symbolically, in float64, the file's numbers taken as they are. Its
reader is made for matrices and does not refuse everything else, so no result is given out before
it is compared: with torch for a module, with ONNX's own reference evaluator for a file.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import casadi as ca
import numpy as np
import torch
from torch import nn

from hybridmodel.bridges.graph import Shape
from hybridmodel.bridges.network_check import check_network
from hybridmodel.bridges.traced import copied, first_line, is_batched, quiet, takes


def from_onnx(path: str | Path) -> ca.Function:
    """The casadi.Function r = network(z) of an ONNX file: vectors to vectors, weights baked in.

    z (nz,), r (nr,); (z0, z1, …) and (r0, r1, …) where there are several. A dimension without a
    size, as that of a batch, is 1. Needs the extra `onnx`.

    Raises ImportError without the extra, FileNotFoundError, and ValueError where the file is no
    ONNX, CasADi cannot read an operation, an argument has more than one long dimension, or the
    result differs from ONNX's reference evaluator in value (1e-9) or Jacobian (1e-5, by
    differences).
    """
    onnx = _onnx()
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"path: there is no file {str(file)!r}")
    from google.protobuf.message import DecodeError

    try:
        model = _widened(onnx.load(file), onnx)
    except DecodeError as error:
        raise ValueError(f"{file}: is no ONNX file: {first_line(error)}") from error
    function = _imported(model, str(file))
    _check_file(function, model, onnx, str(file))
    return function


def module_through_onnx(module: nn.Module, sizes: Shape) -> ca.Function:
    """The casadi.Function of a module by way of torch's ONNX exporter, compared with torch.

    Raises ImportError without the extra `onnx`, and ValueError where exporter or reader know no
    form, or where value or Jacobian differ from torch.
    """
    onnx = _onnx()
    name = type(module).__name__
    twin = copied(module)  # it is compared in its own mode; the exporter warns of any but eval
    shapes = tuple((size,) for size in sizes)
    batched = is_batched(twin, shapes)
    points = tuple(torch.zeros(shape, dtype=torch.float64) for shape in shapes)
    if batched and not takes(twin, points):  # CasADi reads arrays of two dimensions at most
        points = tuple(z[None] for z in points)
    # torch and onnxscript warn about their own interfaces
    with warnings.catch_warnings(), quiet("torch", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            program: Any = torch.onnx.export(twin.eval(), points, dynamo=True, verbose=False)
        except Exception as error:  # the exporter raises whatever the module's code led to
            raise ValueError(
                f"{name}: no ONNX form: {first_line(error.__cause__ or error)}"
            ) from error
    function = _imported(_widened(program.model_proto, onnx), name)
    check_network(function, module)
    return function


def _onnx() -> ModuleType:
    try:
        import onnx
        import onnx.reference
        import onnxscript  # noqa: F401  torch's exporter writes with it
    except ImportError as error:
        raise ImportError(
            f"ONNX networks need the package {error.name}: pip install hybridmodel[onnx]"
        ) from error
    return onnx


def _imported(model: Any, name: str) -> ca.Function:
    """CasADi's reading of a model, as a Function of vectors."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.onnx")
        file.write_bytes(model.SerializeToString())
        try:
            builder = ca.GraphBuilder(str(file), {})
            for dimension in builder.dynamic_params():
                builder.bind_dim(dimension, 1)
            read = builder.create("network", {"symbolic": True})
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].rpartition("/")[2]
            raise ValueError(f"{name}: CasADi cannot read its ONNX form: {reason}") from error
    sizes = {read.name_in(i): read.size_in(i) for i in range(read.n_in())}
    sizes |= {read.name_out(i): read.size_out(i) for i in range(read.n_out())}
    for array, size in sizes.items():
        if 1 not in size:
            raise ValueError(
                f"{name}: {array!r} has shape {size}; a network must map vectors to vectors"
            )
    names_in, names_out = _numbered("z", read.n_in()), _numbered("r", read.n_out())
    arguments = [ca.MX.sym(z, read.numel_in(i)) for i, z in enumerate(names_in)]
    shaped = [ca.reshape(z, *read.size_in(i)) for i, z in enumerate(arguments)]
    outputs = [ca.densify(ca.vec(r)) for r in read.call(shaped)]
    return ca.Function("network", arguments, outputs, names_in, names_out)


def _numbered(letter: str, count: int) -> list[str]:
    return [letter] if count == 1 else [f"{letter}{i}" for i in range(count)]


def _widened(model: Any, onnx: ModuleType) -> Any:
    """A copy of a model that computes in float64; its single-precision numbers stay as they are."""
    single, double = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
    wide = onnx.ModelProto()
    wide.CopyFrom(model)

    def tensor(t: Any) -> None:
        if t.data_type == single:
            numbers = onnx.numpy_helper.to_array(t).astype(np.float64)
            t.CopyFrom(onnx.numpy_helper.from_array(numbers, t.name))

    def graph(g: Any) -> None:
        for t in g.initializer:
            tensor(t)
        for value in (*g.input, *g.output, *g.value_info):
            if value.type.tensor_type.elem_type == single:
                value.type.tensor_type.elem_type = double
        nodes(g.node)

    def nodes(items: Any) -> None:
        for node in items:
            for attribute in node.attribute:
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                    attribute.i = double
                if attribute.HasField("t"):
                    tensor(attribute.t)
                if attribute.HasField("g"):
                    graph(attribute.g)

    graph(wide.graph)
    for function in wide.functions:
        nodes(function.node)
    return wide


def _double_operations(onnx: ModuleType) -> list[type]:
    """Operations in float64 for which the reference evaluator has single precision."""

    def erf(x: np.ndarray) -> np.ndarray:
        return np.vectorize(math.erf, otypes=[x.dtype])(x)

    class Erf(onnx.reference.op_run.OpRun):
        op_domain = ""

        def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
            return (erf(x),)

    class Gelu(onnx.reference.op_run.OpRun):
        op_domain = ""

        def _run(self, x: np.ndarray, approximate: str = "none") -> tuple[np.ndarray]:
            if approximate == "tanh":
                return (x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,)
            return (x * (1 + erf(x / np.sqrt(2))) / 2,)

    return [Erf, Gelu]


def _check_file(function: ca.Function, model: Any, onnx: ModuleType, name: str) -> None:
    """Value and Jacobian against ONNX's reference evaluator at three random points."""
    stored = {t.name for t in model.graph.initializer}
    arguments = [v for v in model.graph.input if v.name not in stored]
    shapes = [[d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in arguments]
    sizes = [int(np.prod(shape)) for shape in shapes]
    evaluator = onnx.reference.ReferenceEvaluator(model, new_ops=_double_operations(onnx))

    def reference(z: np.ndarray) -> np.ndarray:
        parts = np.split(z, np.cumsum(sizes)[:-1])
        named = {v.name: p.reshape(s) for v, p, s in zip(arguments, parts, shapes, strict=True)}
        try:
            return np.concatenate([np.ravel(y) for y in evaluator.run(None, named)])
        except Exception as error:  # the evaluator raises whatever an operation led to
            raise ValueError(
                f"{name}: ONNX's evaluator cannot check it: {first_line(error)}"
            ) from error

    flat = ca.MX.sym("z", sum(sizes))
    parts = ca.vertsplit(flat, np.cumsum([0, *sizes]).tolist())
    value = ca.vertcat(*function.call(parts))
    ours = ca.Function("ours", [flat], [value, ca.jacobian(value, flat)])
    random, h = np.random.default_rng(1), 1e-5
    for _ in range(3):
        z = random.standard_normal(sum(sizes))
        steps = h * np.eye(len(z))
        columns = [(reference(z + step) - reference(z - step)) / (2 * h) for step in steps]
        wanted = (reference(z), np.stack(columns, -1))
        for what, bar, a, b in zip(
            ("value", "Jacobian"), (1e-9, 1e-5), ours(z), wanted, strict=True
        ):
            gap = np.inf
            if a.numel() == b.size:
                gap = np.abs(a.full() - b.reshape(a.shape)).max() / np.abs(b).max(initial=1.0)
            if not gap <= bar:
                raise ValueError(
                    f"{name}: the {what} of its CasADi form and of ONNX's evaluator differ by "
                    f"{gap:.1e}, allowed are {bar:.0e}"
                )
