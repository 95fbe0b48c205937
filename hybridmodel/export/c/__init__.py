"""Target "c": one C99 source and header, and a test of them.

    NAME_step(x, u, p, d, x_next)
    NAME_step_jacobian(x, u, p, d, x_next, A, B)         A = ∂x⁺/∂x, B = ∂x⁺/∂u, by rows
    NAME_output(x, u, p, d, y)
    NAME_monitor(x, u, p, d, r, residual_size, support)

No memory is allocated, nothing is written but the arguments, only math.h is called. Physics are
the instructions of the SX pieces, the network is loops over constant arrays, and the scheme is
recorded from `hybridmodel.equations.step`.
"""

from __future__ import annotations

from pathlib import Path

from hybridmodel.bridges.network import lower
from hybridmodel.export.c.arrays import Arrays
from hybridmodel.export.c.header import Source, print_header
from hybridmodel.export.c.kernels import print_kernels
from hybridmodel.export.c.monitor import Monitor, monitor_of
from hybridmodel.export.c.network import NetworkPrinter
from hybridmodel.export.c.pieces import DType, at, element
from hybridmodel.export.c.routines import SourcePrinter
from hybridmodel.export.c.vectors import compile_and_run, print_test
from hybridmodel.export.program import record_output, record_residual, record_step
from hybridmodel.export.round_trip import RoundTrip, evaluate, in_float64
from hybridmodel.model import HybridModel

STANDARD_HEADERS = (
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal "
    "stdalign stdarg stdatomic stdbit stdbool stdckdint stddef stdint stdio stdlib stdnoreturn "
    "string tgmath threads time uchar wchar wctype"
)


def write(model: HybridModel, folder: Path, name: str, digest: str, dtype: DType) -> RoundTrip:
    """Write NAME.c, NAME.h, NAME_test.c, then compile and run the test where a compiler is found.

    Raises ValueError for an operation without a form in C99, and for a piece in MX that has no
    scalar form, or a name that would make NAME.h hide a header of C.
    """
    if (
        name.lower() in STANDARD_HEADERS.split()
    ):  # files of a name in other case are the same to some
        raise ValueError(
            f"name: {name!r} would make {name}.h, which hides the header <{name.lower()}.h> of C; "
            f"give another, such as name={name + '_model'!r}"
        )
    model = in_float64(model)
    monitor = monitor_of(model)
    source = print_source(model, monitor, name, digest, dtype)
    points = evaluate(model, dtype)
    files = {
        f"{name}.c": source.text,
        f"{name}.h": print_header(model, monitor, source, name, digest, dtype),
        f"{name}_test.c": print_test(points, monitor(points.z, points.r), name, dtype),
    }
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    return compile_and_run(folder, name, dtype, points)


def print_source(
    model: HybridModel, monitor: Monitor, name: str, digest: str, dtype: DType
) -> Source:
    """The C source of a float64 model."""
    arrays, nz = Arrays(name, dtype), model.equations.features.size1_out(0)
    network = None
    if model.residual is not None:
        network = NetworkPrinter(lower(model.residual, nz), arrays)
    printer = SourcePrinter(network, arrays)
    nx, nu, ny = model.nx, model.system.nu, model.system.ny
    step, residual = record_step(model), record_residual(model)

    def finish_monitor(places: list[str], _: object) -> list[str]:
        if model.residual is None:
            return ["*residual_size = 0;", "*support = 0;"]
        z, r = places
        return [_copy("r", r, model.residual.nr or 0), *monitor.statements(z, r, arrays)]

    public = (
        printer.print("step", step, ["x_next"], lambda y, _: [_copy("x_next", y[0], nx)]),
        printer.print(
            "step_jacobian",
            step,
            ["x_next", "A", "B"],
            lambda y, t: [_copy("x_next", y[0], nx), *_split(t[0], nx, nu)],
            tangents=True,
        ),
        printer.print("output", record_output(model), ["y"], lambda y, _: [_copy("y", y[0], ny)]),
        printer.print("monitor", residual, ["r", "residual_size", "support"], finish_monitor),
    )
    routines = [*(network.parts if network else ()), *(r.text for r in printer.routines.values())]
    body = "\n".join(routines)
    head = f'/* {name}: see {name}.h. Model {digest} */\n#include "{name}.h"\n\n#include <math.h>\n'
    text = "\n".join(
        part for part in (head, arrays.text, print_kernels(name, body, dtype), body) if part
    )
    return Source(text, public, arrays.bytes)


def _copy(output: str, place: str, size: int) -> str:
    return f"for (int i = 0; i < {size}; i++) {output}[i] = {element(place, 'i')};"


def _split(tangent: str | None, nx: int, nu: int) -> list[str]:
    """A and B from the tangent (nx, nx + nu)."""
    if tangent is None:
        return [
            f"for (int i = 0; i < {nx * nx}; i++) A[i] = 0;",
            f"for (int i = 0; i < {nx * nu}; i++) B[i] = 0;",
        ]
    lines = [f"for (int i = 0; i < {nx}; i++) {{"]
    for matrix, width, start in (("A", nx, 0), ("B", nu, nx)):
        if width:
            place = element(at(tangent, start), f"i * {nx + nu} + j")
            lines.append(
                f"    for (int j = 0; j < {width}; j++) {matrix}[i * {width} + j] = {place};"
            )
    return [*lines, "}"]
