"""The header of exported C: what the functions take, what they cost, constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hybridmodel.export.c.monitor import Monitor
from hybridmodel.export.c.pieces import REAL, DType, Routine, literal
from hybridmodel.model import HybridModel
from physics import Signal

FRAMES = 768  # bytes for saved registers and return addresses of three routines


@dataclass(frozen=True)
class Source:
    """A printed source: its text, its public routines, and the bytes of its constant arrays."""

    text: str
    routines: tuple[Routine, ...]
    constants: int


def stack_bytes(routine: Routine) -> int:
    """Arrays and variables of the deepest chain of calls, a quarter more for what compilers spill
    where they unroll and vectorise, and the frames.

    Compared with -fstack-usage of gcc 12 on x86-64 at -O0, -O1, -O2, -O3, -Os and
    -O3 -march=native, where it was never less; another compiler may need more."""
    return -(-routine.stack * 5 // 32) * 8 + FRAMES


def print_header(
    model: HybridModel, monitor: Monitor, source: Source, name: str, digest: str, dtype: DType
) -> str:
    """The text of NAME.h."""
    system, NAME, kind = model.system, name.upper(), REAL[dtype]
    nr = 0 if model.residual is None else model.residual.nr or 0
    residual = (
        "none"
        if model.residual is None
        else f"{type(model.residual).__name__}, placed as {model.placement.name}"
        + (", held over a step" if model.hold else "")
    )
    parameters = system.parameters
    known = [Signal(n, parameters[n].unit) for n in model.fit_parameters]
    about = [
        f"{name}: one step of a hybrid model in C99, x_next = F(x, u, p, d) over {model.dt!r} s.",
        "",
        f"system     {type(system).__name__}, {model.integrator.name}, substeps {model.substeps}",
        f"residual   {residual}",
        f"model      {digest} (SHA-256)",
        "",
        *_signals("x", (*system.states, *system.memory)),
        *_signals("u", system.inputs),
        *_signals("p", known, model.physical().tolist()),
        *_signals("d", system.exogenous),
        *_signals("y", system.outputs),
        "",
        "A (nx, nx) and B (nx, nu) are the derivatives of x_next in x and u, by rows. x_next may",
        "be x itself; no other arguments may overlap. Nothing is allocated and nothing is written",
        "but the arguments, so calls from several threads do not meet.",
        "",
        "monitor    r is what the residual says at (x, u, d) and residual_size its largest entry",
        f"           relative to {monitor.of}; support is the largest",
        "           distance of a feature from its mean in the training data, in deviations.",
        "",
        "routine           flops   math.h calls   stack bytes",
        *(
            f"{r.name.removeprefix(name + '_'):<15} {r.cost.flops:>7} {r.cost.calls:>14}"
            f" {stack_bytes(r):>13}"
            for r in source.routines
        ),
        f"A flop is one + - * / or comparison. Constant arrays take {source.constants} bytes.",
        "Stack bytes are counted: arrays, a quarter more for spilled numbers, and frames. They",
        "were compared with gcc 12 on x86-64 up to -O3 -march=native; other compilers may differ.",
    ]
    sizes = {
        "NX": model.nx,
        "NU": system.nu,
        "NP": len(model.fit_parameters),
        "ND": system.nd,
        "NY": system.ny,
        "NR": nr,
        "NZ": model.equations.features.size1_out(0),
    }
    values = ", ".join(literal(v, dtype) for v in model.physical().tolist()) or "0"
    defined = [f"#define {NAME}_{key} {value}" for key, value in sizes.items()]
    defined += [
        f"#define {NAME}_DT {literal(model.dt, dtype)} /* s */",
        f"#define {NAME}_P {{{values}}} /* const {kind} p[] = {NAME}_P; */",
        f'#define {NAME}_HASH "{digest}"',
    ]
    for routine in source.routines:
        short = routine.name.removeprefix(name + "_").upper()
        defined.append(f"#define {NAME}_{short}_STACK {stack_bytes(routine)}")
    declared = [r.text.partition("\n{")[0] + ";" for r in source.routines]
    comment = (
        "\n".join(f"   {line}".rstrip() for line in about).replace("*/", "* /").replace("/*", "/ *")
    )
    return "\n".join(
        [
            f"/* {comment.lstrip()} */",
            f"#ifndef {NAME}_H",
            f"#define {NAME}_H",
            "",
            *defined,
            "",
            '#ifdef __cplusplus\nextern "C" {\n#endif',
            "",
            *declared,
            "",
            "#ifdef __cplusplus\n}\n#endif",
            "",
            "#endif",
            "",
        ]
    )


def _signals(symbol: str, signals: Sequence[Signal], values: Sequence[float] = ()) -> list[str]:
    """One line a signal: number, name, unit, bounds or value."""
    lines = []
    for k, signal in enumerate(signals):
        unit = f" [{signal.unit}]" if signal.unit else ""
        told = f" = {values[k]!r}" if values else ""
        if math.isfinite(signal.low) or math.isfinite(signal.high):
            told = f" in {signal.low:g} to {signal.high:g}"
        lines.append(f"{symbol}[{k}]       "[:11] + f"{signal.name}{unit}{told}")
    return lines or [f"{symbol}          nothing; a null pointer will do"]
