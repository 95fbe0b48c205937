"""The test of exported C: points with expected results, and a compiler to run it with."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from hybridmodel.export.c.pieces import REAL, DType, literal
from hybridmodel.export.round_trip import TOLERANCE, Points, RoundTrip

COMPILERS = ("cc", "gcc", "clang")
OPTIONS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-pedantic")
MAIN = """\
/* {name}: the points and results of the model in Python; 0 is returned where all agree */
#include "{name}.h"

#include <math.h>
#include <stdio.h>

#define POINTS {count}
#define TOLERANCE {tolerance}
#define FINITE {finite} /* whether the model is finite at the points */

{tables}
/* the largest difference relative to the largest expected entry, or to 1; NaN meets NaN */
static double gap(const {real} *found, const double *expected, int size)
{{
    double largest = 1, difference = 0;
    for (int i = 0; i < size; i++) {{
        if (!isfinite(expected[i])) {{
            const int same = isnan(expected[i]) ? isnan(found[i]) : found[i] == expected[i];
            if (!same) return INFINITY;
            continue;
        }}
        const double off = fabs(found[i] - expected[i]), size_of = fabs(expected[i]);
        if (!isfinite(off)) return INFINITY;
        if (off > difference) difference = off;
        if (size_of > largest) largest = size_of;
    }}
    return difference / largest;
}}

static int failures = 0;

static void tell(const char *name, double difference)
{{
    printf("%s %.17g\\n", name, difference);
    if (!(difference <= TOLERANCE)) failures++;
}}

int main(void)
{{
    double worst[{kinds}] = {{0}};
    for (int k = 0; k < POINTS; k++) {{
        {real} x_next[{nx}], again[{nx}], A[{nA}], B[{nB}], y[{ny}], r[{nr}], m[2];
        {name}_step(x[k], u[k], p[k], d[k], x_next);
        {name}_step_jacobian(x[k], u[k], p[k], d[k], again, A, B);
        {name}_output(x[k], u[k], p[k], d[k], y);
        {name}_monitor(x[k], u[k], p[k], d[k], r, &m[0], &m[1]);
        const double gaps[{kinds}] = {{
            gap(x_next, x_next_expected[k], {nx}), gap(again, x_next_expected[k], {nx}),
            gap(A, A_expected[k], {sA}), gap(B, B_expected[k], {sB}),
            gap(y, y_expected[k], {sy}), gap(r, r_expected[k], {sr}), gap(m, m_expected[k], 2)
        }};
        for (int i = 0; i < {kinds}; i++)
            if (!(gaps[i] <= worst[i])) worst[i] = gaps[i];
    }}
    tell("step", worst[0] > worst[1] ? worst[0] : worst[1]);
    tell("A", worst[2]);
    tell("B", worst[3]);
    tell("output", worst[4]);
    tell("residual", worst[5]);
    tell("monitor", worst[6]);
    if (!FINITE) {{
        fputs("the model was finite at no point, so this shows nothing\\n", stderr);
        return 1;
    }}
    return failures;
}}
"""


def print_test(points: Points, monitor: np.ndarray, name: str, dtype: DType) -> str:
    """The text of NAME_test.c."""
    count = len(points)
    given = {"x": points.x, "u": points.u, "p": points.p, "d": points.d}
    expected = {
        "x_next_expected": points.x_next,
        "A_expected": points.A,
        "B_expected": points.B,
        "y_expected": points.y,
        "r_expected": points.r,
        "m_expected": monitor,
    }
    tables = [_table(n, v.reshape(count, -1), REAL[dtype], dtype) for n, v in given.items()]
    tables += [_table(n, v.reshape(count, -1), "double", "float64") for n, v in expected.items()]
    nx, nu, ny, nr = (v.shape[1] for v in (points.x, points.u, points.y, points.r))
    return MAIN.format(
        name=name,
        count=count,
        finite=int(points.finite > 0),
        tolerance=repr(TOLERANCE[dtype]),
        tables="\n".join(tables),
        real=REAL[dtype],
        kinds=7,
        nx=nx,
        nA=nx * nx,
        sA=nx * nx,
        nB=max(nx * nu, 1),
        sB=nx * nu,
        ny=max(ny, 1),
        sy=ny,
        nr=max(nr, 1),
        sr=nr,
    )


def compile_and_run(folder: Path, name: str, dtype: DType, points: Points) -> RoundTrip:
    """Compile the source with its test and run it; the folder stays as it is.

    Where no compiler is found nothing was checked; a compiler that refuses the source, or a test
    that ends without its figures, is a check that failed.
    """
    compiler = next((found for c in COMPILERS if (found := shutil.which(c))), None)
    tolerance, count, share = TOLERANCE[dtype], len(points), points.finite
    if compiler is None:
        how = f"no C compiler found (looked for {', '.join(COMPILERS)}); run {name}_test.c yourself"
        return RoundTrip({}, tolerance, count, how, share)
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / "test"
        sources = [str(folder / f"{name}.c"), str(folder / f"{name}_test.c")]
        built = _run([compiler, *OPTIONS, *sources, "-o", str(program), "-lm"])
        if built.returncode:
            how = f"{compiler} does not compile it: {_first_line(built.stderr)}"
            return RoundTrip({"compiled": math.inf}, tolerance, 0, how, share)
        ran = _run([str(program)])
    rows = (line.split() for line in ran.stdout.splitlines())
    differences = {quantity: float(gap) for quantity, gap in rows}
    if not differences:
        how = f"its test ended with code {ran.returncode}"
        return RoundTrip({"run": math.inf}, tolerance, 0, how, share)
    warned = f", warnings: {_first_line(built.stderr)}" if built.stderr else ""
    how = f"compiled by {Path(compiler).name} {' '.join(OPTIONS)}{warned}"
    return RoundTrip(differences, tolerance, count, how, share)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")


def _table(name: str, values: np.ndarray, kind: str, dtype: DType) -> str:
    width = max(values.shape[1], 1)
    rows = []
    for row in values:
        numbers = [literal(v, dtype) for v in row.tolist()] or ["0"]
        lines = [", ".join(numbers[i : i + 4]) for i in range(0, len(numbers), 4)]
        rows.append("    {" + ",\n     ".join(lines) + "}")
    return (
        f"static const {kind} {name}[{len(values)}][{width}] = {{\n" + ",\n".join(rows) + "\n};\n"
    )
