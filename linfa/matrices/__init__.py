"""Matrices that are applied without being made: given by a seed or by factors, and sums of these."""

from linfa.matrices.algebra import AbstractMatrix, Combination, Transposed
from linfa.matrices.factored import Factored, outer
from linfa.matrices.products import gram, inner
from linfa.matrices.seeded import Seeded

__all__ = ["AbstractMatrix", "Combination", "Factored", "Seeded", "Transposed", "gram", "inner", "outer"]
