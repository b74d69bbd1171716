"""What layers and normalisations read from a stream and write into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from linfa.errors import NoLawError
from linfa.nn.direct import Direct
from linfa.nn.layers import FED, Fed
from linfa.nn.streams.channels import Channels
from linfa.nn.streams.operations import Call
from linfa.nn.streams.terms import Slots

LAYERS = tuple(FED)
BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


@dataclass
class Part:
    """A parameter's share in the streams: the names of its channels, and how its entries belong to them."""

    kind: str
    """"writer", "reader", "eps" or "tap"."""
    name: str
    module: nn.Module
    parameter: str
    slots: Slots
    ids: Tensor
    axis: int = 1


class Modules:
    """The writers and readers found so far.

    Args:
        model: the model that is followed.
        alone: whether it had to be wrapped, being one layer itself.
    """

    def __init__(self, model: nn.Module, alone: bool = False) -> None:
        self.channels = Channels()
        self.parts: dict[tuple[str, int], Part] = {}
        self.elsewhere: set[int] = set()
        """Parameters (by identity) that are used outside of a layer as well."""
        self.alone = alone
        # The graph is run in evaluation mode; a model in that mode is looked at as it will train.
        self._modes = {m: m.training or not model.training for m in model.modules()}

    def knows(self, module: nn.Module) -> bool:
        """Return whether a module has a weight or an affine pair of its own to account for."""
        return isinstance(module, (*LAYERS, *NORMS))

    def follow(self, name: str, module: Any, call: Call) -> Tensor | None:
        """Return the names of a module's output; None where nothing is known of it."""
        name = "" if self.alone else name
        ids = call.ids[0] if call.ids else next(iter(call.named.values()))
        return (
            self._layer(name, module, ids, call.out)
            if isinstance(module, LAYERS)
            else self._norm(name, module, ids, call.out)
        )

    def all(self) -> list[Part]:
        """Return the parts, less those whose parameter is used elsewhere, whose channels are refused."""
        for part in self.parts.values():
            parameter = getattr(part.module, part.parameter, None)
            if id(parameter) in self.elsewhere:
                self.channels.refuse(part.ids, f"{part.name} is used outside of its layer as well")
        return list(self.parts.values())

    def _layer(self, name: str, layer: Any, ids: Tensor, out: Tensor) -> Tensor:
        """Enter a linear or convolutional layer: it reads by columns and writes by rows (transposed: the reverse)."""
        axis = -1 if isinstance(layer, nn.Linear) else 1 - layer.weight.ndim
        rows, columns = Slots(), Slots(columns=True, groups=getattr(layer, "groups", 1))
        if getattr(layer, "transposed", False):
            rows, columns = columns, rows
        h = _along(self.channels, ids, axis)
        z = self.channels.open(out.shape[axis])
        if (reason := _unfit(name, layer)) is not None:
            self.channels.refuse(h, reason)
            self.channels.refuse(z, reason)
            return _laid(z, out, axis)
        self._read(name, layer, columns, h, axis)
        z = self._enter(Part("writer", _dotted(name, "weight"), layer, "weight", rows, z), id(layer.weight))
        if layer.bias is not None:
            self._bias(Part("writer", _dotted(name, "bias"), layer, "bias", Slots(), z))
        return _laid(z, out, axis)

    def _read(self, name: str, layer: Any, columns: Slots, h: Tensor, axis: int) -> None:
        feedback = layer.feedback if isinstance(layer, Fed) else None
        if isinstance(feedback, Direct):
            self._enter(Part("tap", name, layer, "weight", columns, h, axis), id(layer))
            return
        kept = self._enter(Part("reader", _dotted(name, "weight"), layer, "weight", columns, h), id(layer.weight))
        first = self.parts["reader", id(layer.weight)].module
        if first is not layer and (isinstance(first, Fed) or feedback is not None):
            self.channels.refuse(kept, f"{name}: one weight under two feedbacks")
        if feedback is None:
            return
        try:
            feedback.potential(layer.weight.detach())
        except NoLawError as error:
            self.channels.refuse(kept, f"{name}: {error}")

    def _norm(self, name: str, norm: Any, ids: Tensor, out: Tensor) -> Tensor | None:
        """Enter a normalisation: a reader of no account (BatchNorm on batches), and its affine pair as writers."""
        whole = isinstance(norm, nn.LayerNorm | nn.RMSNorm)
        if whole and len(norm.normalized_shape) > 1:
            return None
        axis = -1 if whole else 1
        γ, β = getattr(norm, "weight", None), getattr(norm, "bias", None)
        h, z = _along(self.channels, ids, axis), self.channels.open(out.shape[axis])
        reason = self._unread(name, norm)
        if reason is None:
            self._enter(Part("eps", name, norm, "weight", Slots(), h), id(norm))
        else:
            self.channels.refuse(h, reason)
        if γ is None or _unfit(name, norm) is not None:
            self.channels.refuse(z, f"{name} ({type(norm).__name__}) has no affine pair of its own that writes")
            return _laid(z, out, axis)
        z = self._enter(Part("writer", _dotted(name, "weight"), norm, "weight", Slots(), z), id(γ))
        if β is not None:
            self._bias(Part("writer", _dotted(name, "bias"), norm, "bias", Slots(), z))
        return _laid(z, out, axis)

    def _unread(self, name: str, norm: Any) -> str | None:
        """Return why the input of a normalisation has no law, if it has none."""
        kind = f"{name} ({type(norm).__name__})"
        if type(norm) not in BATCH:
            return f"{kind} divides by statistics that it does not take per channel over the batch of this process"
        if not self._modes[norm] and norm.track_running_stats:
            return f"{kind} is in evaluation mode: it subtracts a mean that is no activation"
        if norm.weight is None:
            return f"{kind} has no affine pair, on whose gradient the account of its eps is read"
        if (before := self.parts.get(("eps", id(norm)))) is not None:
            reason = f"{kind} is called more than once, with a variance of its own each time"
            self.channels.refuse(before.ids, reason)
            return reason
        return _unfit(name, norm)

    def _enter(self, part: Part, identity: int) -> Tensor:
        """Enter a part, or join it to the one that is there when the same parameter is used again."""
        key = (part.kind, identity)
        if key in self.parts:
            part.ids = self.channels.join(self.parts[key].ids, part.ids)
            self.parts[key].ids = part.ids
        else:
            self.parts[key] = part
        return part.ids

    def _bias(self, part: Part) -> None:
        self._enter(part, id(getattr(part.module, part.parameter)))


def _along(channels: Channels, ids: Tensor, axis: int) -> Tensor:
    """Return one name per channel."""
    others = [d for d in range(ids.ndim) if d != axis % ids.ndim]
    return channels.gather(ids, others).flatten()


def _laid(names: Tensor, out: Tensor, axis: int) -> Tensor:
    """Return one name per number of a map."""
    shape = [1] * out.ndim
    shape[axis] = -1
    return names.view(shape).expand(out.shape)


def _dotted(name: str, parameter: str) -> str:
    return f"{name}.{parameter}" if name else parameter


def _unfit(name: str, layer: nn.Module) -> str | None:
    """Return why a layer's parameters cannot stand in a law, if they cannot."""
    own = dict(layer.named_parameters(recurse=False))
    for parameter in ("weight", "bias"):
        found = getattr(layer, parameter, None)
        if found is not None and parameter not in own:
            return f"{_dotted(name, parameter)} is made from other parameters (a parametrisation)"
        if found is not None and not found.requires_grad:
            return f"{_dotted(name, parameter)} is frozen: what flows into it is stored nowhere"
    return None
