"""Laws of residuals with memory: (r, m⁺) = r_θ(z, m), with m from the features of the past."""

from __future__ import annotations

import copy

import torch

from hybridmodel.bridges.torch_to_casadi import to_casadi
from hybridmodel.laws.report import Law, UncheckedError
from hybridmodel.laws.residual.subject import Subject
from residuals import Recurrent


def _recurrent(s: Subject) -> Recurrent:
    if not isinstance(s.awake, Recurrent):
        raise UncheckedError(f"sized() gives a {type(s.awake).__name__}, no Recurrent")
    return s.awake


def _past(s: Subject, *leading: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(s.seed + 3)
    shape = (*leading, _recurrent(s).memory_steps, s.nz)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _memory(s: Subject) -> str:
    residual = _recurrent(s)
    for name, number in {"nm": residual.nm, "memory_steps": residual.memory_steps}.items():
        if number < 1:
            return f"{name} must be at least 1, got {number}"
    for leading in ((), (1,), (5,), (2, 3), (0,)):
        wanted, past = (*leading, residual.nm), _past(s, *leading)
        m = residual.initial_memory(past)
        if tuple(m.shape) != wanted:
            return f"past_z {tuple(past.shape)} gives m {tuple(m.shape)}, wanted {wanted}"
        after = residual(past[..., -1, :], m)[1]
        if tuple(after.shape) != wanted:
            return f"z (…, {s.nz}) and m {wanted} give m⁺ {tuple(after.shape)}, wanted {wanted}"
    return ""


def _remembers(s: Subject) -> str:
    residual, past = _recurrent(s), _past(s, s.points)
    for row in range(s.points):
        if not torch.allclose(
            residual.initial_memory(past[row]), residual.initial_memory(past)[row], rtol=1e-13
        ):
            return "the memory of one row of a batch changes with the other rows"
    first, second = (residual(s.z, m)[0] for m in (s.v[:, s.nz :], residual.initial_memory(past)))
    if torch.equal(first, second):
        return "r is the same whatever the memory holds"
    return ""


def _constant(s: Subject) -> str:
    """What a model does without a history: the present features have held all along."""
    residual = _recurrent(s)
    past = s.z[:, None].expand(-1, residual.memory_steps, -1)
    with torch.no_grad():
        m = residual.initial_memory(past)
        again = copy.deepcopy(residual).train().initial_memory(past.contiguous())
        single = copy.deepcopy(residual).float().initial_memory(past.float())
    if not torch.isfinite(m).all():
        return "the memory of features that have held all along is not finite"
    if not torch.equal(m, again):
        return "the same past gives two memories, in train() and in eval()"
    if single.dtype != torch.float32:
        return f"weights and past_z in torch.float32 give m in {single.dtype}"
    return ""


def _advances(s: Subject) -> str:
    """A long run of finite features leaves a finite memory."""
    residual = _recurrent(s)
    with torch.no_grad():
        m = residual.initial_memory(_past(s, s.points))
        for k in range(100):
            m = residual(s.z.roll(k, 0), m)[1]
    return "" if torch.isfinite(m).all() else "100 steps leave a memory that is not finite"


def _names(s: Subject) -> str:
    s.function("baked")  # or the law 'bridge' says why there is none
    function = to_casadi(_recurrent(s), nz=s.sizes)
    found = (function.name_in(), function.name_out())
    wanted = (["z", "m"], ["r", "m_next"])
    return "" if found == wanted else f"its CasADi form has names {found}, wanted {wanted}"


LAWS = (
    Law("memory", "m (…, nm) from past_z (…, memory_steps, nz), and m⁺ likewise", _memory),
    Law("remembers", "r depends on the memory, each row on its own", _remembers),
    Law("constant past", "features that held all along give one memory", _constant),
    Law("advances", "memory stays finite", _advances),
    Law("names", "its CasADi form is (z, m) ↦ (r, m_next)", _names),
)
