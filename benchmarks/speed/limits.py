"""What the machine can do at most: products and sums, and the kernel's functions in L1.

    least time = (2 Σ n m + arithmetic)/rate + Σ_f n_f t_f / threads

n m are the sizes of the network's layers, arithmetic counts the instructions of physics and cost
that are no functions, n_f how often tanh and sine with cosine are called and t_f what one takes.
rate is that of torch's matrix products, or of fused multiply-adds in registers where that is more:
not every library uses the widest vectors of every processor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import casadi as ca
import numpy as np
import torch
from llvmlite import ir

from benchmarks.speed import cart_pole
from hybridmodel import HybridModel
from hybridmodel.kernel import engine
from hybridmodel.kernel.functions import FUNCTIONS, sincos
from hybridmodel.kernel.kernel import DTYPES
from hybridmodel.kernel.lanes import POINTER, Lanes, Shape, Value

Name = Literal["tanh", "sincos"]
SIZE = 1536  # of the matrices
_BYTES = 16384  # of an array at most, two of which stay in L1
_REPEATS = 100
_STEPS = 20000


def matrix_product(*, dtype: str) -> Callable[[], object]:
    """A B of square matrices, by torch on all threads."""
    a, b = (torch.randn(SIZE, SIZE, dtype=cart_pole.DTYPES[dtype]) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def function(*, name: Name, dtype: str) -> Callable[[], object]:
    """A function of the kernel over an array in L1, on one thread; `calls` tells how often."""
    shape = engine.shape(DTYPES[cart_pole.DTYPES[dtype]])
    rows = _rows(shape)
    module = ir.Module("limit")
    made = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, POINTER]), name)
    builder = ir.IRBuilder(made.append_basic_block())
    lanes = Lanes(module, builder, shape)
    source, target = made.args
    with lanes.loop(_REPEATS), lanes.loop(rows) as (i, _, _):
        for part in range(shape.span):
            lanes.store(_value(lanes, name, lanes.load(source, i, part)), target, i, part)
    builder.ret_void()
    compiled = engine.compiled(module, [name])
    given = _aligned(rows * shape.lanes, dtype)

    def call() -> torch.Tensor:
        compiled.run(name, given.data_ptr(), given.nbytes, threads=1)
        return given

    return call


def multiply_adds(*, dtype: str) -> Callable[[], object]:
    """a ← a x + y in registers, on one thread; `operations` tells how many that are."""
    shape = engine.shape(DTYPES[cart_pole.DTYPES[dtype]])
    module = ir.Module("limit")
    made = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, POINTER]), "sums")
    builder = ir.IRBuilder(made.append_basic_block())
    lanes = Lanes(module, builder, shape)
    source, target = made.args
    x, y = (lanes.constant(c) for c in (0.999, 1e-4))
    count = _chains(shape)
    begun = [lanes.read(lanes.vector_at(source, i)) for i in range(count)]
    with lanes.loop(_STEPS, begun) as (_, sums, following):
        following += [lanes.fma(a, x, y) for a in sums]
    for i, value in enumerate(following):
        lanes.write(value, lanes.vector_at(target, i))
    builder.ret_void()
    compiled = engine.compiled(module, ["sums"])
    given = _aligned(count * shape.width, dtype)

    def call() -> torch.Tensor:
        compiled.run("sums", given.data_ptr(), given.nbytes, threads=1)
        return given

    return call


def operations(dtype: str) -> int:
    """How many floating-point operations a run of `multiply_adds` has."""
    shape = engine.shape(DTYPES[cart_pole.DTYPES[dtype]])
    return 2 * _STEPS * _chains(shape) * shape.width


def _chains(shape: Shape) -> int:
    """Sums that are under way at once: enough for the latency, few enough for the registers."""
    return 24 if shape.tile == 8 else 12


def _aligned(count: int, dtype: str) -> torch.Tensor:
    """Numbers that begin where vectors may."""
    room = 2 * torch.randn(count + 64, dtype=cart_pole.DTYPES[dtype])
    start = -room.data_ptr() % 64 // room.element_size()
    return room[start : start + count]


def _value(lanes: Lanes, name: Name, x: Value) -> Value:
    if name == "tanh":
        return FUNCTIONS["TANH"](lanes, x)
    return lanes.add(*sincos(lanes, x))


def _rows(shape: Shape) -> int:
    return _BYTES // (shape.lanes * shape.bytes)


def calls(dtype: str) -> int:
    """How often a run of `function` calls it."""
    shape = engine.shape(DTYPES[cart_pole.DTYPES[dtype]])
    return _rows(shape) * shape.lanes * _REPEATS


@dataclass(frozen=True)
class Work:
    """Of one step: floating-point operations, and calls of functions."""

    operations: int
    tanh: int
    sincos: int

    def least(self, steps: int, rate: np.ndarray, tanh: np.ndarray, sincos: np.ndarray):
        """Seconds from operations a second, and from seconds a call on all threads."""
        return steps * (self.operations / rate + self.tanh * tanh + self.sincos * sincos)


def work(model: HybridModel) -> Work:
    """Counted in a model of the cart-pole: its network, and its physics and cost in SX."""
    bare = HybridModel(model.system, dt=model.dt)
    step = bare.step_function().expand()
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    evaluations = 1 if model.hold else 4
    network = evaluations * 2 * sum(layer.in_features * layer.out_features for layer in layers)
    tanh = evaluations * sum(layer.out_features for layer in layers[:-1])
    stage = cart_pole.problem(bare, 1).stage
    codes = [f.instruction_id(k) for f in (step, stage) for k in range(f.n_instructions())]
    sine, cosine = codes.count(ca.OP_SIN), codes.count(ca.OP_COS)
    other = (ca.OP_INPUT, ca.OP_OUTPUT, ca.OP_CONST, ca.OP_SIN, ca.OP_COS, ca.OP_TANH)
    arithmetic = sum(code not in other for code in codes)
    return Work(network + arithmetic, tanh + codes.count(ca.OP_TANH), max(sine, cosine))
