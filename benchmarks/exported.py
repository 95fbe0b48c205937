"""Time of exported C: step, and step with Jacobian, of a quadrotor with a learned residual.

The source is compiled with -O3 -march=native and without -ffast-math. The time is that of one
call on one core, over fresh states each call, the least of the rounds' medians.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

import hybridmodel as hm
from benchmarks.figures import Row
from hybridmodel.export import export
from physics import Quadrotor
from residuals import MLP

OPTIONS = ("-std=c99", "-O3", "-march=native")
TIMER = """\
#define _POSIX_C_SOURCE 199309L
#include "quadrotor.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CALLS 2000
#define ROUNDS 15

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

int main(void)
{
    static REAL A[QUADROTOR_NX * QUADROTOR_NX], B[QUADROTOR_NX * QUADROTOR_NU];
    const REAL p[] = QUADROTOR_P;
    double taken[2][ROUNDS], sum = 0;
    for (int kind = 0; kind < 2; kind++)
        for (int round = 0; round < ROUNDS; round++) {
            REAL x[QUADROTOR_NX] = {0}, u[QUADROTOR_NU], next[QUADROTOR_NX];
            const double start = now();
            for (int call = 0; call < CALLS; call++) {
                for (int i = 0; i < QUADROTOR_NX; i++)
                    x[i] = (REAL)(((call * 31 + i * 17) % 101) / 50.5 - 1);
                for (int i = 0; i < QUADROTOR_NU; i++)
                    u[i] = (REAL)(((call * 13 + i * 7) % 101) / 101.0 + 1);
                if (kind == 0) quadrotor_step(x, u, p, 0, next);
                else quadrotor_step_jacobian(x, u, p, 0, next, A, B);
                sum += next[call % QUADROTOR_NX] + A[call % QUADROTOR_NX];
            }
            taken[kind][round] = (now() - start) / CALLS;
        }
    for (int kind = 0; kind < 2; kind++) {
        qsort(taken[kind], ROUNDS, sizeof(double), ascending);
        printf("%.6f %.6f %.6f\\n", taken[kind][ROUNDS / 2], taken[kind][0],
               taken[kind][ROUNDS - 1]);
    }
    return sum == 0.125; /* the results must be wanted, or they are not computed */
}
"""


def quadrotor() -> hm.HybridModel:
    """nx 13, nu 4, nz 22, a 2 × 64 tanh network of 6 outputs in each of RK4's stages."""
    model = hm.HybridModel(Quadrotor(), MLP((64, 64)), dt=0.01, fit_parameters=("mass", "arm"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.residual.parameters() if model.residual is not None else ():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
    return model


def rows(quick: bool = False) -> list[Row]:
    """The figures; none without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return []
    model, found = quadrotor(), []
    for dtype, real in (("float64", "double"), ("float32", "float")):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "exported"
            check = export(model, folder, target="c", name="quadrotor", dtype=dtype).check
            timer, program = Path(scratch) / "timer.c", Path(scratch) / "timer"
            timer.write_text(TIMER, encoding="utf-8")
            sources = [str(folder / "quadrotor.c"), str(timer), f"-I{folder}", f"-DREAL={real}"]
            command = [compiler, *OPTIONS, *sources, "-o", str(program), "-lm"]
            subprocess.run(command, check=True, timeout=300)
            lines = [
                [float(v) for v in line.split()]
                for _ in range(3)
                for line in subprocess.check_output([program], text=True).splitlines()
            ]
        for kind, what in enumerate(("step", "step with Jacobian")):
            middle = sorted(lines[kind::2])[1]
            bar = "< 50" if (kind, dtype) == (1, "float64") else ""
            spread = (min(t[1] for t in lines[kind::2]), max(t[2] for t in lines[kind::2]))
            name = f"exported C, quadrotor with 2 × 64 network, {what}, {dtype}"
            found.append(Row(name, middle[0], "µs", bar, spread=spread))
        bar = "≤ 1e-12" if dtype == "float64" else "≤ 1e-5"
        name = f"exported C against Python, quadrotor, {dtype}"
        found.append(Row(name, max(check.differences.values()), "", bar))
    return found
