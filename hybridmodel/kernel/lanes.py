"""Vectors of candidates: what the kernel computes with, and the few operations on them.

A vector holds one number of `width` candidates side by side, and a row of memory is `span` of
them: `lanes` = span × width candidates, a tile. All code of a kernel is made of these vectors,
whole numbers for loops, and pointers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from llvmlite import ir

Precision = Literal["float32", "float64"]
Value = Any  # of llvmlite.ir; it has no types of its own worth naming
INDEX = ir.IntType(64)
POINTER = ir.PointerType()


@dataclass(frozen=True)
class Shape:
    """How a kernel is laid out on a machine: numbers a vector, vectors a row, rows a product."""

    precision: Precision
    width: int
    span: int
    tile: int  # rows of a matrix product that are held in registers at once

    @property
    def bytes(self) -> int:
        """Size of one number."""
        return 4 if self.precision == "float32" else 8

    @property
    def lanes(self) -> int:
        """Candidates of a tile."""
        return self.width * self.span


class Lanes:
    """Emits operations on vectors into one LLVM function.

    Comparisons give masks (vectors of one bit); every other operation takes and gives vectors of
    real numbers. Arithmetic follows IEEE 754; only `fma` rounds a product and a sum once.
    """

    def __init__(self, module: ir.Module, builder: ir.IRBuilder, shape: Shape) -> None:
        self.module, self.builder, self.shape = module, builder, shape
        double = shape.precision == "float64"
        self.double = double
        self.real = ir.DoubleType() if double else ir.FloatType()
        self.integer = ir.IntType(64 if double else 32)
        self.vector = ir.VectorType(self.real, shape.width)
        self.integers = ir.VectorType(self.integer, shape.width)
        self.mask = ir.VectorType(ir.IntType(1), shape.width)
        self._constants: dict[str, Value] = {}

    # -- real numbers ---------------------------------------------------------------------------

    def constant(self, value: float) -> Value:
        """The same number in all lanes, rounded to the precision."""
        key = repr(float(value))
        if key not in self._constants:
            self._constants[key] = ir.Constant(self.vector, [float(value)] * self.shape.width)
        return self._constants[key]

    def add(self, a: Value, b: Value) -> Value:
        return self.builder.fadd(a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.builder.fsub(a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.builder.fmul(a, b)

    def div(self, a: Value, b: Value) -> Value:
        return self.builder.fdiv(a, b)

    def neg(self, a: Value) -> Value:
        return self.builder.fneg(a)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a b + c, rounded once."""
        return self.intrinsic("fma", a, b, c)

    def horner(self, x: Value, coefficients: Sequence[float]) -> Value:
        """Σ cᵢ xⁱ, the highest power first in `coefficients`."""
        total = self.constant(coefficients[0])
        for c in coefficients[1:]:
            total = self.fma(total, x, self.constant(c))
        return total

    def sqrt(self, a: Value) -> Value:
        return self.intrinsic("sqrt", a)

    def abs(self, a: Value) -> Value:
        return self.intrinsic("fabs", a)

    def floor(self, a: Value) -> Value:
        return self.intrinsic("floor", a)

    def ceil(self, a: Value) -> Value:
        return self.intrinsic("ceil", a)

    def copysign(self, a: Value, sign: Value) -> Value:
        return self.intrinsic("copysign", a, sign)

    # -- masks ----------------------------------------------------------------------------------

    def compare(self, relation: Literal["<", "<=", "==", ">", ">="], a: Value, b: Value) -> Value:
        """Mask of a relation that is false where a or b is NaN."""
        return self.builder.fcmp_ordered(relation, a, b)

    def differs(self, a: Value, b: Value) -> Value:
        """Mask of a ≠ b, true where one is NaN, as in C."""
        return self.builder.fcmp_unordered("!=", a, b)

    def is_nan(self, a: Value) -> Value:
        return self.builder.fcmp_unordered("uno", a, a)

    def select(self, mask: Value, a: Value, b: Value) -> Value:
        return self.builder.select(mask, a, b)

    def truth(self, mask: Value) -> Value:
        """1 where the mask holds, 0 elsewhere."""
        return self.builder.uitofp(mask, self.vector)

    def any(self, mask: Value) -> Value:
        """One bit: whether the mask holds in some lane."""
        whole = self.builder.bitcast(mask, ir.IntType(self.shape.width))
        return self.builder.icmp_unsigned("!=", whole, ir.Constant(whole.type, 0))

    # -- bits -----------------------------------------------------------------------------------

    def bits(self, a: Value) -> Value:
        """The bits of real numbers as whole numbers of the same size."""
        return self.builder.bitcast(a, self.integers)

    def from_bits(self, a: Value) -> Value:
        return self.builder.bitcast(a, self.vector)

    def whole(self, value: int) -> Value:
        """The same whole number in all lanes."""
        size = self.integer.width
        value &= (1 << size) - 1
        return ir.Constant(
            self.integers, [value - (value >> (size - 1) << size)] * self.shape.width
        )

    # -- calls ----------------------------------------------------------------------------------

    def intrinsic(self, name: str, *arguments: Value) -> Value:
        """An LLVM intrinsic over vectors."""
        full = f"llvm.{name}.v{self.shape.width}f{64 if self.double else 32}"
        kind = ir.FunctionType(self.vector, [self.vector] * len(arguments))
        return self.builder.call(self.declared(full, kind), arguments)

    def declared(self, name: str, kind: ir.FunctionType) -> ir.Function:
        """A function of this module by name, declared where it is not there yet."""
        known = self.module.globals.get(name)
        return known if known is not None else ir.Function(self.module, kind, name)

    def library(self, name: str, *arguments: Value) -> Value:
        """The C library's float64 function, one lane after the other: slow, and always right."""
        double = ir.DoubleType()
        function = self.declared(name, ir.FunctionType(double, [double] * len(arguments)))
        result: Value = ir.Constant(self.vector, ir.Undefined)
        for lane in range(self.shape.width):
            at = ir.Constant(ir.IntType(32), lane)
            given = [self.builder.extract_element(a, at) for a in arguments]
            if not self.double:
                given = [self.builder.fpext(g, double) for g in given]
            found = self.builder.call(function, given)
            if not self.double:
                found = self.builder.fptrunc(found, self.real)
            result = self.builder.insert_element(result, found, at)
        return result

    def unless(self, rare: Value, usual: Value, otherwise: Callable[[], Value]) -> Value:
        """`usual`, but in lanes of the mask `rare` the result of code that runs only for them."""
        before = self.builder.block
        seldom, after = (self.builder.append_basic_block(n) for n in ("seldom", "after"))
        weights = self.module.add_metadata(
            [ir.MetaDataString(self.module, "branch_weights"), _i32(1), _i32(1 << 20)]
        )
        self.builder.cbranch(self.any(rare), seldom, after).set_metadata("prof", weights)
        self.builder.position_at_end(seldom)
        mended = self.select(rare, otherwise(), usual)
        seldom = self.builder.block
        self.builder.branch(after)
        self.builder.position_at_end(after)
        result = self.builder.phi(self.vector)
        result.add_incoming(usual, before)
        result.add_incoming(mended, seldom)
        return result

    # -- memory and loops -----------------------------------------------------------------------

    def index(self, value: int) -> Value:
        return ir.Constant(INDEX, value)

    def at(self, pointer: Value, row: Value | int, part: int = 0) -> Value:
        """Address of vector `part` of a row."""
        if isinstance(row, int):
            place = self.index(row * self.shape.span + part)
        else:
            place = self.builder.mul(row, self.index(self.shape.span))
            place = self.builder.add(place, self.index(part)) if part else place
        return self.builder.gep(pointer, [place], source_etype=self.vector)

    def times(self, i: Value, count: int) -> Value:
        """i · count, a whole number."""
        return self.builder.mul(i, self.index(count))

    def place(self, pointer: Value, offset: Value | int) -> Value:
        """Address of a real number."""
        offset = self.index(offset) if isinstance(offset, int) else offset
        return self.builder.gep(pointer, [offset], source_etype=self.real)

    def vector_at(self, pointer: Value, offset: Value | int) -> Value:
        """Address of a vector, of vectors that follow each other."""
        offset = self.index(offset) if isinstance(offset, int) else offset
        return self.builder.gep(pointer, [offset], source_etype=self.vector)

    def read(self, pointer: Value) -> Value:
        """The vector at an address."""
        return self.builder.load(pointer, typ=self.vector)

    def write(self, value: Value, pointer: Value) -> None:
        self.builder.store(value, pointer)

    def load(self, pointer: Value, row: Value | int, part: int = 0) -> Value:
        return self.builder.load(self.at(pointer, row, part), typ=self.vector)

    def store(self, value: Value, pointer: Value, row: Value | int, part: int = 0) -> None:
        self.builder.store(value, self.at(pointer, row, part))

    def number(self, pointer: Value, place: Value | int) -> Value:
        """One real number from memory in all lanes."""
        return self.everywhere(self.builder.load(self.place(pointer, place), typ=self.real))

    def everywhere(self, scalar: Value) -> Value:
        """One real number in all lanes."""
        zero = ir.Constant(ir.IntType(32), 0)
        one = self.builder.insert_element(ir.Constant(self.vector, ir.Undefined), scalar, zero)
        spread = ir.Constant(ir.VectorType(ir.IntType(32), self.shape.width), None)
        return self.builder.shuffle_vector(one, ir.Constant(self.vector, ir.Undefined), spread)

    def scratch(self, rows: int) -> Value:
        """Rows of memory on the stack, made in the entry block of the function."""
        with self.builder.goto_entry_block():
            size = ir.Constant(INDEX, max(1, rows) * self.shape.span)
            memory = self.builder.alloca(self.vector, size)
        memory.align = self.shape.width * self.shape.bytes
        return memory

    @contextmanager
    def loop(
        self, count: Value | int, carried: Sequence[Value] = (), *, down: bool = False
    ) -> Iterator[tuple[Value, list[Value], list[Value]]]:
        """for i in 0 … count − 1 (or back): gives (i, values carried in, a list of those out).

        The body fills the last list, one value for each carried; after the loop it holds what
        came out of the last pass. count is at least 1.
        """
        b = self.builder
        count = self.index(count) if isinstance(count, int) else count
        before, body = b.block, b.append_basic_block("loop")
        b.branch(body)
        b.position_at_end(body)
        step = b.phi(INDEX)
        step.add_incoming(self.index(0), before)
        phis = []
        for value in carried:
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            phis.append(phi)
        i = b.sub(b.sub(count, self.index(1)), step) if down else step
        results: list[Value] = []
        yield i, phis, results
        following = b.add(step, self.index(1))
        step.add_incoming(following, b.block)
        for phi, value in zip(phis, results, strict=True):
            phi.add_incoming(value, b.block)
        end = b.append_basic_block("end")
        b.cbranch(b.icmp_signed("<", following, count), body, end)
        b.position_at_end(end)


def _i32(value: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), value)
