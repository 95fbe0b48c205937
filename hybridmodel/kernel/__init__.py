"""Rollouts as machine code: tracing a step, lowering it to LLVM, loops over tiles and steps."""
