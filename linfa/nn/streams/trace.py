"""From a model to its streams: the module graph is traced once, and names follow the activations through it."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from linfa.errors import InputError
from linfa.nn.layers import Fed
from linfa.nn.streams.channels import Channels
from linfa.nn.streams.modules import Modules
from linfa.nn.streams.operations import MODULES, SCALED, Call, follow, reason

Example = Tensor | tuple[Tensor, ...]


class Tracer(fx.Tracer):
    """torch.fx's tracer, for which torch's own modules and the layers with feedback are not looked into."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one step of the graph."""
        return isinstance(m, Fed) or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, example: Example) -> Modules:
    """Return what the modules of a model write into and read from, once the model has been followed on an example.

    Raises:
        InputError: where the graph depends on values, so that it cannot be traced.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    # Two samples say as much as many, and names of a flattened map are written out for each.
    inputs = tuple(x[:2] for x in inputs)
    leaf = isinstance(model, Fed) or (type(model).__module__.startswith("torch.nn") and not list(model.children()))
    whole = nn.Sequential(model) if leaf else model
    modules = Modules(whole, alone=leaf)
    before = set(whole.__dict__)
    try:
        # The graph is that of training, whatever mode the model is in; it is run in evaluation mode.
        with _mode(whole, True):
            graph = _graph(whole)
        with _mode(whole, False), torch.no_grad(), _same_numbers(whole):
            _Run(modules, whole, graph).all(inputs)
    finally:
        # The tracer hangs constant tensors on the model.
        for name in set(whole.__dict__) - before:
            delattr(whole, name)
    return modules


def _graph(model: nn.Module) -> fx.Graph:
    try:
        return Tracer().trace(model)
    except (fx.proxy.TraceError, TypeError, RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"torch.fx cannot trace {type(model).__name__}, whose forward takes a way that depends on values "
            f"({error}): put that part into a module of its own, outside of what the laws are asked of"
        ) from error


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Run in training or in evaluation mode for a while; in the latter nothing is counted, drawn or averaged."""
    modes = {module: module.training for module in model.modules()}
    try:
        if model.training != training:
            model.train(training)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _same_numbers(model: nn.Module) -> AbstractContextManager[None]:
    """Give torch its random numbers back afterwards."""
    return torch.random.fork_rng({p.device.index for p in model.parameters() if p.device.type == "cuda"})


class _Run:
    """One pass through a graph, with values and with names."""

    def __init__(self, modules: Modules, model: nn.Module, graph: fx.Graph) -> None:
        self.modules, self.model, self.graph = modules, model, graph
        self.channels: Channels = modules.channels
        self.values: dict[fx.Node, Any] = {}
        self.ids: dict[fx.Node, Any] = {}

    def all(self, inputs: tuple[Tensor, ...]) -> None:
        """Follow every node."""
        waiting = list(inputs)
        for node in self.graph.nodes:
            if node.op == "placeholder":
                self._input(node, waiting)
            elif node.op == "get_attr":
                self._constant(node, operator.attrgetter(node.target)(self.model))
            elif node.op == "output":
                self._refuse(node, "the model's output: its flow is the loss's, not a reader's")
            else:
                self._step(node)

    def _input(self, node: fx.Node, waiting: list[Tensor]) -> None:
        if not waiting:
            if not node.args:
                raise InputError(f"the model takes {node.target!r} as well: give an example of every input, as a tuple")
            self._constant(node, node.args[0])
            return
        self.values[node] = value = waiting.pop(0)
        self.ids[node] = self._new(value, "the model's input: nothing writes into it")

    def _constant(self, node: fx.Node, value: Any) -> None:
        """Take in a value that is no activation: zeros have no flow, other tensors end every law that they meet."""
        self.values[node] = value
        if isinstance(value, nn.Parameter):
            self.modules.uses.alone(value)
            self.ids[node] = self._new(value, f"{node.target} is used as a number of its own, outside of a layer")
        elif isinstance(value, Tensor) and value.is_floating_point():
            zero = not bool(value.any())
            self.ids[node] = self.channels.zeros(value) if zero else self._new(value, "a constant is added to it")
        else:
            self.ids[node] = None

    def _source(self, node: fx.Node, out: Any) -> None:
        """Take in what is made of no activation: a constant, unless a module that may learn makes it."""
        if node.op == "call_module":
            module = self.model.get_submodule(str(node.target))
            if any(True for _ in module.parameters()):
                # Zeros (an embedding just begun) do not stay zero.
                self.ids[node] = self._new(out, f"{node.target} ({type(module).__name__}) is no known writer")
                return
        self._constant(node, out)

    def _new(self, value: Any, reason: str) -> Any:
        """Return a new, refused name for each tensor that a value consists of."""

        def of(t: Any) -> Any:
            if isinstance(t, tuple | list):
                return type(t)(of(x) for x in t)
            if not (isinstance(t, Tensor) and t.is_floating_point()):
                return None
            fresh = self.channels.open(t.shape[1] if t.ndim > 1 else 1)
            self.channels.refuse(fresh, reason)
            return fresh.view([-1 if d == 1 else 1 for d in range(t.ndim)]).expand(t.shape)

        return of(value)

    def _refuse(self, node: fx.Node, reason: str) -> None:
        """Refuse all names that go into a node."""

        def one(n: fx.Node) -> fx.Node:
            for ids in _tensors(self.ids[n]):
                self.channels.refuse(ids, reason)
            return n

        fx.map_arg((node.args, node.kwargs), one)

    def _step(self, node: fx.Node) -> None:
        call, name = self._callable(node)
        if node.op == "call_module":
            self.modules.called(str(node.target), call)
        args, keywords = self._given(node, self.values)
        # Functions that work in place work on copies.
        out = call(*fx.node.map_aggregate(args, _copied), **keywords)
        self.values[node] = out
        if not any(True for n in node.all_input_nodes for _ in _tensors(self.ids[n])):
            self._source(node, out)
            return
        if not any(True for _ in _floating(out)):
            self.ids[node] = None
            return
        ids, named = self._given(node, self.ids)
        described = Call(lambda a, k: call(*a, **k), args, keywords, ids, named, out)
        self.ids[node] = self._followed(node, name, described)
        if self.ids[node] is None:
            why = self._why(node, name, described)
            self._refuse(node, why)
            self.ids[node] = self._new(out, why)

    def _followed(self, node: fx.Node, name: str, call: Call) -> Any:
        if node.op == "call_module":
            module = self.model.get_submodule(str(node.target))
            if self.modules.knows(module):
                return self.modules.follow(str(node.target), module, call)
        if name == "detach":
            return self._new(call.out, "detach cuts it off from what writes into it")
        return follow(self.channels, name, call)

    def _why(self, node: fx.Node, name: str, call: Call) -> str:
        where = f" ({node.target})" if node.op == "call_module" else ""
        activations = [n for n in node.all_input_nodes if any(True for _ in _tensors(self.ids[n]))]
        if parameters := [n for n in activations if isinstance(self.values[n], nn.Parameter)]:
            return f"{name} uses {parameters[0].target} as a number of its own, outside of a layer"
        if name in SCALED and len(activations) > 1:
            return "activations are multiplied or divided by each other: a product's flow is counted once per factor"
        if name in ("add", "sub"):
            return "a constant is added to it"
        return reason(name) + where

    def _callable(self, node: fx.Node) -> tuple[Any, str]:
        """Return what a node calls, and its name."""
        if node.op == "call_module":
            module = self.model.get_submodule(str(node.target))
            return module, MODULES.get(type(module), type(module).__name__.lower())
        if node.op == "call_method":
            name = str(node.target)
            return (lambda x, *a, **k: getattr(x, name)(*a, **k)), name.rstrip("_")
        name = str(getattr(node.target, "__name__", node.target)).rstrip("_")
        return node.target, {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}.get(name, name)

    def _given(self, node: fx.Node, table: dict[fx.Node, Any]) -> tuple[Any, Any]:
        """Return a node's arguments: values, or names with the values of what has none."""

        def of(n: fx.Node) -> Any:
            found = table[n]
            return self.values[n] if found is None else found

        return fx.map_arg(node.args, of), fx.map_arg(node.kwargs, of)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _tensors(ids: Any) -> Iterator[Tensor]:
    """Yield the tensors of names in what may be one, several or none."""
    if isinstance(ids, Tensor):
        yield ids
    elif isinstance(ids, tuple | list):
        for part in ids:
            yield from _tensors(part)


def _floating(value: Any) -> Iterator[Tensor]:
    return (t for t in _tensors(value) if t.is_floating_point())
