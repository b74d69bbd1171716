"""Two faults of torch.compile that would make gradients wrong without a word, and what keeps them away.

*A read that forgets its order* (pytorch/pytorch#185509). When inductor's CPU scheduler works a node's loops out anew,
it forgets that the node reads a buffer after somebody else has written to it. What follows the backward pass of
`max_pool2d` may then read zeros. Backprop can be hit too; feedback, with more to do in the backward graph, is hit more
easily. `mend` puts the renaming back, as later releases do (#185873).

*A count that is read twice* (#197039). What the backward graph needs may be worked out again from a buffer that the
forward graph has changed meanwhile. `tick` is one operation that changes and reads, which is never done again.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

MENDED = (2, 14)
"""The first release that needs no mending."""


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def mend() -> bool:
    """Mend inductor's scheduler, once, where the release needs it; done while the first layer is being traced.

    >>> mend()
    True
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < MENDED:
        from torch._inductor import scheduler  # heavy, and loaded anyway by whoever compiles

        if not hasattr(scheduler.SchedulerNode.recompute_size_and_body, "__wrapped__"):
            node: Any = scheduler.SchedulerNode
            node.recompute_size_and_body = _renamed(node.recompute_size_and_body)
            torch.compiler.config.cache_key_tag += "linfa: mutation renames kept"  # nothing made before is reused
    return True


def _renamed(recompute: Any) -> Any:
    """Return a node's recomputation, after which it still knows what it reads."""

    @functools.wraps(recompute)
    def after(node: Any, *how: Any, **options: Any) -> None:
        recompute(node, *how, **options)
        if node.mutation_renames:
            node.set_read_writes(node.read_writes.rename(node.mutation_renames))

    return after


@torch.library.custom_op("linfa::tick", mutates_args=("step",), schema="(Tensor(a0!) step) -> Tensor")
def tick(step: Tensor) -> Tensor:
    """Add one to a count, in place, and return a copy of it.

    >>> tick(torch.tensor(4))
    tensor(5)
    """
    return step.add_(1).clone()


@tick.register_fake
def _(step: Tensor) -> Tensor:
    return torch.empty_like(step)
