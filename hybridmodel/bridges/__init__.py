"""The two bridges: physics written in CasADi becomes torch, a network written in torch CasADi.

casadi_to_torch   casadi.Function ↦ batched, differentiable torch module
    operations      the scalar operations, one table
    forms           which form a Function takes
    scalar_form     SX graphs
    matrix_form     MX graphs; matrix_nodes is the table of their nodes, nonzeros moves numbers
    lookup_tables   interpolants
    call_through    what has no graph
torch_to_casadi   nn.Module ↦ exact, symbolic casadi.Function
    graph           the few kinds of nodes that a network is made of, for all who print it
    network         the table of module classes; layers and expressions write their rules
    traced, aten…   modules of other classes, through torch.export
    onnx_to_casadi  what has no rule there, and files of others
"""
