"""Where a model uses each of its parameters: a law is true only where every use of what its terms move is counted.

A parameter's gradient is the sum over all its uses. What a term takes from it is

    ⟨w, ẇ⟩ = Σ_uses (flow through that use)

so that a use that no writer and no reader stands for (an embedding tied to the read-out, the slope of a PReLU) makes a
law false that would be true without it.
"""

from __future__ import annotations

from collections import Counter

from torch import Tensor, nn


class Uses:
    """How often the calls of a model's graph use each parameter, and which uses no term of a law stands for.

    >>> table, uses = nn.Embedding(3, 2), Uses()
    >>> uses.called("table", table, counted=False)
    >>> uses.elsewhere(table.weight)
    'table (Embedding)'
    """

    def __init__(self) -> None:
        self._places: Counter[int] = Counter()
        self._elsewhere: dict[int, str] = {}
        # Parameters are told apart by identity, which must not be given to another while this one looks.
        self._held: list[Tensor] = []

    def called(self, name: str, module: nn.Module, counted: bool) -> None:
        """Note one call of a module.

        Args:
            name: of the module in the model.
            module: that is called.
            counted: whether its own weight and bias are writers and readers; all its other parameters are not.
        """
        own = {id(p) for p in (module._parameters.get(n) for n in ("weight", "bias")) if counted and p is not None}
        for _, parameter in module.named_parameters(remove_duplicate=False):
            self._places[id(parameter)] += 1
            self._held.append(parameter)
            if id(parameter) not in own:
                self._elsewhere.setdefault(id(parameter), f"{name} ({type(module).__name__})")

    def alone(self, parameter: Tensor) -> None:
        """Note that a parameter is used as a number of its own."""
        self._held.append(parameter)
        self._elsewhere.setdefault(id(parameter), "as a number of its own")

    def elsewhere(self, parameter: object) -> str | None:
        """Return where a parameter is used by what no term stands for, if it is."""
        return self._elsewhere.get(id(parameter))

    def places(self, parameter: object) -> int:
        """Return how many times modules use a parameter."""
        return self._places[id(parameter)]


def dotted(name: str, parameter: str) -> str:
    """Return a parameter's name in the model."""
    return f"{name}.{parameter}" if name else parameter


def unfit(name: str, layer: nn.Module) -> str | None:
    """Return why a layer's parameters cannot stand in a law, if they cannot."""
    # A weight that is the bias as well is one parameter under two names.
    own = dict(layer.named_parameters(recurse=False, remove_duplicate=False))
    for parameter in ("weight", "bias"):
        found = getattr(layer, parameter, None)
        if found is not None and parameter not in own:
            return f"{dotted(name, parameter)} is made from other parameters (a parametrisation)"
        if found is not None and not found.requires_grad:
            return f"{dotted(name, parameter)} is frozen: what flows into it is stored nowhere"
    return None
