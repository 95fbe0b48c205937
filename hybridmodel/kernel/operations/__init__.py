"""The operations of a network on rows of memory, each with its reverse, tangent and gradient.

Dense    y = φ(W x + b)          W, b the same for all candidates
Product  yₑᵢⱼ = Σₖ aₑᵢₖ bₑⱼₖ     what is multiplied differs from candidate to candidate
Map      yᵢ = φ(x¹ᵢ, x²ᵢ, …)     an operand of one element meets all i
Gather   yᵢ = x[index i]
Join     y = (x¹, x², …)
Total    y… = Σₖ x…ₖ
"""

from hybridmodel.kernel.operations.dense import Dense
from hybridmodel.kernel.operations.map import Map
from hybridmodel.kernel.operations.moves import Gather, Join, Total
from hybridmodel.kernel.operations.operation import Array, Operation, Tape
from hybridmodel.kernel.operations.product import Product

__all__ = ["Array", "Dense", "Gather", "Join", "Map", "Operation", "Product", "Tape", "Total"]
