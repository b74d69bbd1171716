"""What the laws are made of: who writes into a stream, who reads from it, and what else takes from its flow.

    writers     Σ ½‖W[k,:]‖² + ½ b_k²           a layer's rows and its bias; the affine pair of a normalisation
    readers     Σ Φ(W[:,k])                     a layer's columns, in the potential of its feedback B = ∇Φ
    leaks       flow that no weight stores      a BatchNorm's eps, and taps of direct feedback: measured, step by step

All of them are sums over the entries of one tensor that belong to one channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from linfa.rules.potential import Potential


def entries(tensor: Tensor) -> Tensor:
    """Return a copy in double precision, with the entries of a vector below each other, as a potential takes them.

    >>> entries(torch.ones(2)).shape
    torch.Size([2, 1])
    """
    copy = tensor.detach().to(torch.double, copy=True)
    return copy if copy.ndim > 1 else copy[:, None]


@dataclass(frozen=True)
class Slots:
    """How the entries of a parameter belong to channels.

    Args:
        columns: whether channels are counted along the second axis (in blocks, where there are groups), or the first.
        groups: how many blocks the first axis falls into.
    """

    columns: bool = False
    groups: int = 1

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum over each channel's entries, in double precision.

        >>> W = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> Slots().sum(W).tolist(), Slots(columns=True).sum(W).tolist()
        ([3.0, 7.0], [4.0, 6.0])
        """
        if not self.columns:
            return x.flatten(1).sum(1, dtype=torch.double) if x.ndim > 1 else x.double()
        if self.groups == 1:
            return x.sum((0, *range(2, x.ndim)), dtype=torch.double)
        return self._blocks(x).sum((1, 3), dtype=torch.double).flatten()

    def scaled(self, x: Tensor, factor: Tensor) -> Tensor:
        """Return the entries of x, each multiplied by the factor of its channel.

        >>> Slots(columns=True).scaled(torch.ones(2, 2), torch.tensor([1.0, 5.0])).tolist()
        [[1.0, 5.0], [1.0, 5.0]]
        """
        if not self.columns:
            return x * factor.view(-1, *[1] * (x.ndim - 1))
        return (self._blocks(x) * factor.view(self.groups, 1, -1, 1)).view(x.shape)

    def _blocks(self, x: Tensor) -> Tensor:
        return x.reshape(self.groups, x.shape[0] // self.groups, x.shape[1], -1)


@dataclass(frozen=True, eq=False)
class Writer:
    """½ of the squared entries of one parameter, channel by channel.

    Args:
        name: of the parameter in the model.
        module: that holds it.
        parameter: its name there.
        slots: how its entries belong to channels.
        index: for every channel its place among all laws' channels; the number of these where it has no law.
    """

    name: str
    module: nn.Module
    parameter: str
    slots: Slots
    index: Tensor

    @property
    def moved(self) -> Tensor:
        """What the optimiser moves."""
        found = getattr(self.module, self.parameter)
        assert isinstance(found, Tensor)
        return found

    @property
    def words(self) -> str:
        """The term in a statement."""
        return f"½‖{self.name}[k]‖²"

    def potential(self) -> Potential:
        """Return φ(w) = ½w²."""
        return Potential(alpha=1.0)


@dataclass(frozen=True, eq=False)
class Reader:
    """Φ of one weight's columns, channel by channel; of the learnt feedback's, where that is what the rule conserves.

    Args:
        name: of the weight in the model.
        module: the layer.
        slots: how its entries belong to input channels.
        index: as in `Writer`.
    """

    name: str
    module: Any
    slots: Slots
    index: Tensor

    @property
    def moved(self) -> Tensor:
        """What an optimiser moves: W, or the feedback that learns."""
        W: Tensor = self.module.weight
        feedback: Any = getattr(self.module, "feedback", None)
        found: Tensor = feedback.reader(W) if hasattr(feedback, "reader") else W
        return found

    @property
    def words(self) -> str:
        """The term in a statement."""
        phi = self.potential()
        name = f"B({self.name})" if hasattr(getattr(self.module, "feedback", None), "reader") else self.name
        parts = [f"½‖{name}[:,k]‖²" if phi.alpha == 1 else f"{phi.alpha:g}·½‖{name}[:,k]‖²"] if phi.alpha else []
        parts += [f"⟨B, {name}⟩[:,k]"] if phi.linear is not None else []
        parts += [f"Σ M|{name}[:,k]|"] if phi.magnitude is not None else []
        return " + ".join(parts)

    def potential(self) -> Potential:
        """Return Φ with B = ∇Φ; of a plain torch layer ½‖W‖².

        Raises:
            NoLawError: where the feedback is no gradient.
        """
        feedback = getattr(self.module, "feedback", None)
        if feedback is None:
            return Potential(alpha=1.0)
        found = feedback.potential(self.module.weight.detach())
        assert isinstance(found, Potential)
        return found


@dataclass(frozen=True, eq=False)
class EpsLeak:
    """What a BatchNorm's eps keeps of the flow: Σ t ṫ = ε/(v_k + ε) · γ_k ⟨ẏ, x̂⟩_k, v the variance of the batch.

    Args:
        name: of the BatchNorm in the model.
        module: the BatchNorm.
        index: as in `Writer`, of its input channels.
    """

    name: str
    module: nn.Module
    index: Tensor

    @property
    def words(self) -> str:
        """The term in a statement."""
        return f"what the eps of {self.name} keeps"


@dataclass(frozen=True, eq=False)
class TapLeak:
    """What direct feedback sends to a tap h: Σ h·(Fᵀė), the growth of ⟨V[:,k], F[:,k]⟩ with V̇ = ė hᵀ.

    Args:
        name: of the layer in the model.
        module: the layer.
        axis: where the channels are in h, counted from behind.
        index: as in `Writer`, of its input channels.
    """

    name: str
    module: nn.Module
    axis: int
    index: Tensor

    @property
    def words(self) -> str:
        """The term in a statement."""
        return f"⟨V, F({self.name})⟩[:,k]"


Leak = EpsLeak | TapLeak
