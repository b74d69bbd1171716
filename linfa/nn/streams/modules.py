"""What layers and normalisations read from a stream and write into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from linfa.errors import NoLawError
from linfa.nn.direct import AbstractDirect
from linfa.nn.layers import FED, Fed
from linfa.nn.streams.channels import Channels
from linfa.nn.streams.operations import Call
from linfa.nn.streams.terms import Slots
from linfa.nn.streams.uses import Uses, dotted, unfit

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
        self.uses = Uses()
        self.alone = alone
        # The graph is run in evaluation mode; a model in that mode is looked at as it will train.
        self._modes = {m: m.training or not model.training for m in model.modules()}

    def knows(self, module: nn.Module) -> bool:
        """Return whether a module has a weight or an affine pair of its own to account for."""
        return isinstance(module, (*LAYERS, *NORMS))

    def called(self, name: str, module: nn.Module) -> None:
        """Note that a module is called, and which of its parameters the parts stand for."""
        entered = self.knows(module) and not _spread(module) and unfit(name, module) is None
        self.uses.called(name, module, counted=entered)

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
        """Return the parts, less those whose parameter has uses that no part stands for: their channels are refused."""
        for part in self.parts.values():
            if (reason := self._miscounted(part)) is not None:
                self.channels.refuse(part.ids, reason)
        return list(self.parts.values())

    def _miscounted(self, part: Part) -> str | None:
        """Return why the gradient of a part's parameter holds more than the part's own flow, if it does."""
        parameter = getattr(part.module, part.parameter, None)
        if (where := self.uses.elsewhere(parameter)) is not None:
            return f"{part.name} is used outside of its layer as well: {where}"
        if part.kind == "eps" and self.uses.places(parameter) > 1:
            return (
                f"{dotted(part.name, 'weight')} is shared: the account of the eps of {part.name} is read on its "
                "gradient, which holds its other uses too"
            )
        taps = (p.module.weight for p in self.parts.values() if p.kind == "tap")
        if part.kind == "reader" and any(parameter is weight for weight in taps):
            return f"{part.name} is one weight under direct feedback and under another"
        return None

    def _layer(self, name: str, layer: Any, ids: Tensor, out: Tensor) -> Tensor:
        """Enter a linear or convolutional layer: it reads by columns and writes by rows (transposed: the reverse)."""
        axis = -1 if isinstance(layer, nn.Linear) else 1 - layer.weight.ndim
        rows, columns = Slots(), Slots(columns=True, groups=getattr(layer, "groups", 1))
        if getattr(layer, "transposed", False):
            rows, columns = columns, rows
        h = _along(self.channels, ids, axis)
        z = self.channels.open(out.shape[axis])
        if (reason := unfit(name, layer)) is not None:
            self.channels.refuse(h, reason)
            self.channels.refuse(z, reason)
            return _laid(z, out, axis)
        self._read(name, layer, columns, h, axis)
        z = self._enter(Part("writer", dotted(name, "weight"), layer, "weight", rows, z), id(layer.weight))
        if layer.bias is not None:
            self._bias(Part("writer", dotted(name, "bias"), layer, "bias", Slots(), z))
        return _laid(z, out, axis)

    def _read(self, name: str, layer: Any, columns: Slots, h: Tensor, axis: int) -> None:
        feedback = layer.feedback if isinstance(layer, Fed) else None
        if isinstance(feedback, AbstractDirect):
            self._enter(Part("tap", name, layer, "weight", columns, h, axis), id(layer))
            return
        kept = self._enter(Part("reader", dotted(name, "weight"), layer, "weight", columns, h), id(layer.weight))
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
        if _spread(norm):
            return None
        axis = -1 if isinstance(norm, nn.LayerNorm | nn.RMSNorm) else 1
        γ, β = getattr(norm, "weight", None), getattr(norm, "bias", None)
        h, z = _along(self.channels, ids, axis), self.channels.open(out.shape[axis])
        reason = self._unread(name, norm)
        if reason is None:
            self._enter(Part("eps", name, norm, "weight", Slots(), h), id(norm))
        else:
            self.channels.refuse(h, reason)
        if γ is None or unfit(name, norm) is not None:
            self.channels.refuse(z, f"{name} ({type(norm).__name__}) has no affine pair of its own that writes")
            return _laid(z, out, axis)
        z = self._enter(Part("writer", dotted(name, "weight"), norm, "weight", Slots(), z), id(γ))
        if β is not None:
            self._bias(Part("writer", dotted(name, "bias"), norm, "bias", Slots(), z))
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
        return unfit(name, norm)

    def _enter(self, part: Part, identity: int) -> Tensor:
        """Enter a part, or join it to the one that is there when the same parameter is used again."""
        first = self.parts.setdefault((part.kind, identity), part)
        if first.slots != part.slots:
            # A gradient that is summed over both cannot be told apart by either's channels.
            for ids in (first.ids, part.ids):
                self.channels.refuse(
                    ids, f"{first.name} is shared with {part.name}, whose channels lie otherwise in it"
                )
        elif first is not part:
            part.ids = first.ids = self.channels.join(first.ids, part.ids)
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


def _spread(norm: nn.Module) -> bool:
    """Return whether a normalisation has an affine pair per place, not per channel."""
    return isinstance(norm, nn.LayerNorm | nn.RMSNorm) and len(norm.normalized_shape) > 1
