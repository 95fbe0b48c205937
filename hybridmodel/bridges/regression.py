"""Residuals that are solved for, and what they say of their spread, as nodes of a graph.

Rules are as in `layers`.
"""

from __future__ import annotations

import torch

import residuals
from hybridmodel.bridges.expressions import (
    concatenate,
    constant,
    elementwise,
    linear,
    matmul,
    rearrange,
    reshape,
    total,
    weight,
)
from hybridmodel.bridges.graph import Node, Nodes
from hybridmodel.bridges.layers import Read
from residuals.gaussian_process import LEAST
from residuals.marginal_likelihood import NEAR


def linear_residual(read: Read, m: residuals.Linear, z: Node) -> Nodes:
    (psi,) = read(m.basis, *read(m.input, z))
    return read(m.output, linear(psi, weight(m.weight)))


def monomials(_: Read, m: residuals.Monomials, x: Node) -> Node:
    levels: list[Node] = [constant(torch.ones(1))]
    for below, last in m.steps:
        factors = [
            rearrange(lambda i, chosen=chosen: i[..., chosen], node)
            for chosen, node in ((below, levels[-1]), (last, x))
        ]
        levels.append(elementwise("mul", *factors))
    return concatenate(*levels)


def fourier(_: Read, m: residuals.Fourier, x: Node) -> Node:
    phase = linear(x, weight(m.frequencies))
    both = concatenate(elementwise("cos", phase), elementwise("sin", phase))
    return elementwise("mul", both, constant(m.gain))


def hidden_layers(read: Read, m: residuals.HiddenLayers, x: Node) -> Node:
    return concatenate(*read(m.chain, x), constant(torch.ones(1)))


def gaussian_process(read: Read, m: residuals.GaussianProcess, z: Node) -> Nodes:
    if m.points == 0:
        return (constant(torch.zeros(m.output.scale.numel())),)
    products = elementwise("mul", _correlation(read, m, z), weight(m.weights))
    return read(m.output, total(products))


def _correlation(read: Read, m: residuals.GaussianProcess, z: Node) -> Node:
    """k (nr, N)."""
    (x,) = read(m.input, z)
    differences = elementwise("square", elementwise("sub", x, weight(m.inputs)))  # (N, nz)
    squares = matmul(weight(m.precision), differences)  # d² (nr, N)
    if m.kernel == "squared_exponential":
        return elementwise("exp", elementwise("div", squares, constant(-2.0)))
    squares = elementwise("mul", constant(5.0), elementwise("add", squares, constant(NEAR)))
    d = elementwise("sqrt", squares)
    third = elementwise("div", elementwise("square", d), constant(3.0))
    polynomial = elementwise("add", elementwise("add", constant(1.0), d), third)
    return elementwise("mul", polynomial, elementwise("exp", elementwise("neg", d)))


Solved = residuals.Linear | residuals.GaussianProcess


def distribution(read: Read, m: Solved, z: Node) -> Nodes:
    """Mean and log-variance."""
    variance = weight(m.variance)
    if isinstance(m, residuals.GaussianProcess):
        below = elementwise("lt", variance, constant(LEAST))
        variance = elementwise("where", below, constant(LEAST), variance)
    return *read(m, z), elementwise("log", _rescaled(m, variance))


def epistemic(read: Read, m: Solved, z: Node) -> Node:
    """The variance of the posterior."""
    if isinstance(m, residuals.Linear):
        (psi,) = read(m.basis, *read(m.input, z))
        f = linear(psi, rearrange(lambda i: i.mT, weight(m.factor)))
        return elementwise("mul", total(elementwise("square", f)), _rescaled(m, weight(m.variance)))
    amplitude = weight(m.amplitude)
    if m.points == 0:
        return _rescaled(m, amplitude)
    k = elementwise("mul", reshape(amplitude, -1, 1), _correlation(read, m, z))
    v = matmul(reshape(k, -1, 1, m.points), weight(m.inverse_factor))  # (nr, 1, N)
    left = elementwise("sub", amplitude, total(reshape(elementwise("square", v), -1, m.points)))
    below = elementwise("lt", left, constant(0.0))
    return _rescaled(m, elementwise("where", below, constant(0.0), left))


def _rescaled(m: Solved, variance: Node) -> Node:
    """s² ∘ variance, (nr,)."""
    return elementwise("mul", variance, elementwise("square", weight(m.output.scale)))
