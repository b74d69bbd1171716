"""convert(model, rule): the same model, whose error comes back as a rule says."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.direct import Taps
from linfa.nn.draws import seed_of
from linfa.nn.layers import FED, PLAIN, Fed, feed, unfeed
from linfa.nn.rules import AbstractRule, Place, make

UNTRANSPORTED: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.PReLU,
)
"""Parametrised modules without a weight matrix: they act number by number, so no weight is transported through them."""


def convert(
    model: nn.Module,
    rule: AbstractRule | str,
    *,
    example: Tensor | None = None,
    layers: Mapping[str, AbstractRule | str] | None = None,
    backprop: Iterable[str] = (),
    seed: int = 0,
) -> nn.Module:
    """Return a copy of a model in which every linear and convolutional layer sends its error back by a rule.

    Args:
        model: any module graph; tied modules stay tied; dtype, device, mode and hooks are kept.
        rule: an object such as `linfa.nn.rules.FeedbackAlignment(...)`, or a registry name such as "fa".
        example: a batch of inputs, for rules that need to know sizes (direct and dense feedback); run once, in
            evaluation mode.
        layers: other rules for the layers whose names match a pattern ("*.conv1"); the first pattern that fits counts.
        backprop: patterns of names of modules that are left as they are (the last layer, say, or an attention).
        seed: of everything that is drawn; each layer's draw depends on the seed and its name alone.

    Returns:
        The new model; the old one is untouched.

    Raises:
        InputError: where nothing can be converted, a pattern fits nothing, a parametrised module cannot be served and
            is not listed in `backprop`, or the model has feedback already.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [type(m).__module__ for m in convert(net, "fa")]
    ['linfa.nn.layers', 'torch.nn.modules.activation', 'linfa.nn.layers']
    """
    chosen = {pattern: make(r) for pattern, r in (layers or {}).items()}
    left = (backprop,) if isinstance(backprop, str) else tuple(backprop)
    rules = _plan(model, make(rule), chosen, left)
    new = copy.deepcopy(model)
    shapes = _shapes(new, rules, example) if example is not None else {}
    modules = dict(new.named_modules())
    for name, how in rules.items():
        inputs, outputs = shapes.get(name, (None, None))
        place = Place(name, seed_of(seed, name), inputs, outputs, shapes.get(_WHOLE, (None, None))[1])
        feedback = how.feedback(modules[name], place)
        feedback.rule = how.name
        feedback.train(modules[name].training)
        feed(modules[name], feedback)
    if any(how.direct for how in rules.values()):
        Taps().watch(new)
    return new


def fed_layers(model: nn.Module) -> dict[str, Any]:
    """Return the layers with feedback, by name.

    >>> list(fed_layers(convert(nn.Sequential(nn.Linear(2, 2)), "fa")))
    ['0']
    """
    return {name: module for name, module in model.named_modules() if isinstance(module, Fed)}


def restore(model: nn.Module) -> nn.Module:
    """Return a copy of a converted model as it was before: backprop, same weights.

    >>> type(restore(convert(nn.Linear(2, 2), "fa"))).__module__
    'torch.nn.modules.linear'
    """
    new = copy.deepcopy(model)
    for layer in fed_layers(new).values():
        unfeed(layer)
    for hooks in (new._forward_pre_hooks, new._forward_hooks):
        for key in [k for k, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), Taps)]:
            del hooks[key]
            new._forward_hooks_always_called.pop(key, None)
    return new


@contextmanager
def truth(model: nn.Module) -> Iterator[nn.Module]:
    """Let a model send its error back by backprop, for as long as the block lasts: for true gradients.

    >>> net = convert(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), "fa")
    >>> with truth(net):
    ...     net(torch.ones(1, 2)).sum().backward()
    >>> bool(torch.allclose(net[0].bias.grad, net[1].weight[0]))
    True
    """
    layers = list(fed_layers(model).values())
    before = [layer.true for layer in layers]
    try:
        for layer in layers:
            layer.true = True
        yield model
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer.true = was


_WHOLE = "the whole model"


def _plan(
    model: nn.Module, rule: AbstractRule, chosen: Mapping[str, AbstractRule], left: tuple[str, ...]
) -> dict[str, AbstractRule]:
    """Return which rule serves which layer, by name; every parametrised module is accounted for."""
    rules: dict[str, AbstractRule] = {}
    used: set[str] = set()
    untouched: list[str] = []
    names = _all_names(model)
    for name, module in model.named_modules():
        if type(module) in PLAIN:
            raise InputError(f"{name or 'the model'} has feedback already: convert linfa.nn.restore(model) instead")
        if pattern := _fitting(names[module], left):
            used.add(pattern)
            untouched.append(name)
        elif any(name.startswith(f"{above}.") or not above for above in untouched):
            continue
        elif _unmade(module):
            raise InputError(f"{name or 'the model'} has no weights yet: run the model once before it is converted")
        elif type(module) in FED:
            pattern = _fitting(names[module], chosen)
            rules[name] = chosen[pattern] if pattern else rule
            used |= {pattern} if pattern else set()
        elif _own_parameters(module) and not isinstance(module, UNTRANSPORTED):
            raise InputError(
                f"{name or 'the model'} ({type(module).__name__}) has parameters that no rule can serve (served are "
                f"{', '.join(k.__name__ for k in FED)}): name it in backprop=[…] to leave it to backprop"
            )
    if unused := sorted({*chosen, *left} - used):
        raise InputError(f"no layer fits {', '.join(map(repr, unused))}; the layers are {', '.join(rules) or 'none'}")
    if not rules:
        raise InputError(
            f"the model has no layer that feedback can serve ({', '.join(k.__name__ for k in FED)}): nothing to convert"
        )
    return rules


def _all_names(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Return every name of every module: a tied module has several."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    return names


def _fitting(names: Iterable[str], patterns: Iterable[str]) -> str | None:
    return next((p for p in patterns for name in names if fnmatchcase(name, p)), None)


def _own_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def _unmade(module: nn.Module) -> bool:
    return any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters(recurse=False))


Shape = tuple[int, ...]


def _shapes(
    model: nn.Module, rules: Mapping[str, AbstractRule], example: Tensor
) -> dict[str, tuple[Shape | None, Shape | None]]:
    """Return the shapes of one sample's input and output for every layer that is called, and for the whole model."""
    shapes: dict[str, tuple[Shape | None, Shape | None]] = {}
    modules = dict(model.named_modules())

    def note(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor):
                seen = (tuple(inputs[0].shape[1:]), tuple(output.shape[1:]))
                if shapes.setdefault(name, seen) != seen and name in rules and rules[name].sized(layer):
                    raise InputError(
                        f"{name!r} is called on inputs of different sizes, {shapes[name][0]} and {seen[0]}, and "
                        f"{rules[name].name} has one feedback matrix, for one size: give it another rule, "
                        f"layers={{{name!r}: …}}, or backprop=[{name!r}]"
                    )

        return hook

    modes = {module: module.training for module in model.modules()}
    hooks = [modules[name].register_forward_hook(note(name)) for name in rules]
    hooks.append(model.register_forward_hook(note(_WHOLE)))
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return shapes
