"""What one pass sees of a task: some of its samples, or all of them at once through their second moments."""

from __future__ import annotations

from dataclasses import dataclass

from array_api_compat import array_namespace, device

from linfa.arrays import Array, inner
from linfa.losses import AbstractLoss


@dataclass(frozen=True, eq=False)
class Batch:
    """What one pass over a network needs: inputs in, loss and signal out.

    Args:
        inputs: h_0, shape (N, n_0).
        targets: y, shape (N, p).
        loss: ℓ.
    """

    inputs: Array
    targets: Array
    loss: AbstractLoss

    def signal(self, outputs: Array) -> Array:
        """Return δ_L = −∂ℓ/∂f / N: each sample's share of the mean."""
        return self.loss.signal(outputs, self.targets) / self.inputs.shape[-2]

    def value(self, outputs: Array) -> Array:
        """Return the mean loss."""
        return array_namespace(outputs).mean(self.loss.value(outputs, self.targets), axis=-1)

    def take(self, rows: Array) -> Batch:
        """Return some samples as a batch of their own."""
        xp = array_namespace(self.inputs)
        index = xp.asarray(rows, device=device(self.inputs))
        return Batch(xp.take(self.inputs, index, axis=0), xp.take(self.targets, index, axis=0), self.loss)


@dataclass(frozen=True, eq=False)
class MomentBatch:
    """The squared loss of all samples at once, by their moments: the identity is fed through the network.

    With h_0 = I the output is f = X_Lᵀ, and δ_L = (Σ_yx − X_L Σ_xx)ᵀ = Eᵀ. The loss is split at the optimum
    X* = Σ_yx Σ_xx⁺, ℓ = ℓ* + ½ tr (X_L − X*) Σ_xx (X_L − X*)ᵀ, so that it is exact near zero.
    """

    inputs: Array
    xx: Array
    xy: Array
    optimum: Array
    floor: float

    def signal(self, outputs: Array) -> Array:
        """Return Eᵀ = Σ_xy − Σ_xx X_Lᵀ."""
        return self.xy - self.xx @ outputs

    def value(self, outputs: Array) -> Array:
        """Return ½ E‖y − f‖²."""
        gap = outputs - self.optimum
        return self.floor + inner(self.xx @ gap, gap) / 2
