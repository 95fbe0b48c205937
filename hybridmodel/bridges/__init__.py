"""The two bridges: physics written in CasADi becomes torch, a network written in torch CasADi.

casadi_to_torch   casadi.Function ↦ batched, differentiable torch module
torch_to_casadi   nn.Module ↦ exact, symbolic casadi.Function
network           the short list of layers between the two, which other paths read too
"""
