"""ONNX → CasADi: what comes in is compared first, and what is read wrongly is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import casadi as ca
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from hybridmodel import to_casadi
from hybridmodel.bridges.onnx_to_casadi import from_onnx

W = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)


def saved(
    folder: Path,
    nodes: list,
    *,
    size: int | str = 3,
    batch: int | str = "batch",
    opset: int = 18,
) -> Path:
    """A file of nodes from x (batch, size) to y, with W (3, 2) in single precision."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(W, "W"), numpy_helper.from_array(np.array([3, 2, 1]), "shape"),
         numpy_helper.from_array(np.array([1, 6]), "flat")],
    )  # fmt: skip
    file = folder / "network.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), file)
    return file


def test_a_file_becomes_a_function_in_float64_with_its_numbers_as_they_are(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "W"], ["h"]), helper.make_node("Elu", ["h"], ["y"])]
    function = from_onnx(saved(tmp_path, nodes))
    assert (function.name_in(), function.size_in(0)) == (["z"], (3, 1))
    z = np.array([0.1, 0.2, -0.3])
    h = z @ W.astype(np.float64)
    wanted = np.where(h > 0, h, np.expm1(h))
    assert np.allclose(function(z).full()[:, 0], wanted, 1e-15, 1e-15)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_compared_in_float64(tmp_path: Path, approximate: str) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["h"]),
        helper.make_node("Gelu", ["h"], ["y"], approximate=approximate),
    ]
    function = from_onnx(saved(tmp_path, nodes, opset=20))
    z = torch.tensor([0.1, 0.9, -0.3], dtype=torch.float64)
    wanted = nn.GELU(approximate)(z @ torch.from_numpy(W).double())
    assert np.allclose(function(z.numpy()).full()[:, 0], wanted, 1e-14)


def test_a_file_that_is_no_onnx_is_named(tmp_path: Path) -> None:
    file = tmp_path / "network.onnx"
    file.write_text("layers: 3")
    with pytest.raises(ValueError, match=r"network\.onnx: is no ONNX file"):
        from_onnx(file)


def test_what_casadi_reads_wrongly_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["b", "flat"], ["y"]),
    ]
    with pytest.raises(ValueError, match=r"network\.onnx: (the value .* differ|CasADi cannot)"):
        from_onnx(saved(tmp_path, nodes, size=6, batch=1))


def test_what_casadi_cannot_read_is_named(tmp_path: Path) -> None:
    file = saved(tmp_path, [helper.make_node("TopK", ["x", "shape"], ["y", "i"])])
    with pytest.raises(ValueError, match=r"CasADi cannot read its ONNX form: .*'TopK'"):
        from_onnx(file)
    with pytest.raises(FileNotFoundError, match="path: there is no file"):
        from_onnx(tmp_path / "none.onnx")


class Branch(nn.Module):
    """Two layers, of which a condition on z chooses one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        above = x.sum(-1).reshape(()) > 0
        return torch.cond(above, lambda x: torch.tanh(self.a(x)), lambda x: self.b(x), (x,))


class Determinant(nn.Module):
    """det A(z), A linear in z."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.det(self.layer(x).unflatten(-1, (2, 2))).unsqueeze(-1)


# torch.cond itself, when it is called
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("kind", [Branch, Determinant])
def test_networks_that_only_onnx_covers_agree_with_torch(kind: type[nn.Module]) -> None:
    module = kind().double().eval()
    function = to_casadi(module, nz=3)
    z = ca.MX.sym("z", 3)
    ours = ca.Function("ours", [z], [function(z), ca.jacobian(function(z), z)])
    for sign in (1.0, -1.0):
        point = sign * torch.tensor([0.4, 0.9, -0.3], dtype=torch.float64)
        value, jacobian = (m.full() for m in ours(point.numpy()))
        assert np.allclose(value[:, 0], module(point).detach(), 1e-13, 1e-14)
        assert np.allclose(jacobian, torch.autograd.functional.jacobian(module, point), 1e-12)
    with pytest.raises(ValueError, match="through ONNX weights can only be 'baked'"):
        to_casadi(module, nz=3, weights="parameters")


def test_what_no_path_covers_says_so_of_each_path() -> None:
    class Gamma(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.lgamma(x)

    with pytest.raises(ValueError, match=r"lgamma has no graph form.*nor .* ONNX: .* no ONNX form"):
        to_casadi(Gamma(), nz=2)


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install hybridmodel\[onnx\]"):
        from_onnx(tmp_path / "network.onnx")
    with pytest.raises(ValueError, match=r"det has no graph form.*pip install hybridmodel\[onnx\]"):
        to_casadi(Determinant(), nz=3)
