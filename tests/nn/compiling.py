"""What is compiled, in a process of its own: torch.compile does not see through the suite's checks of annotations.

Prints, as one line of JSON, the relative distance between compiled and eager gradients for every case.
"""

import copy
import json

import torch
from torch import nn

from linfa.nn import conformance, functional
from linfa.nn.draws import Gaussian, seed_of
from tests.nn.naive import ours
from tests.nn.strategies import SEEDED, apart, fed, gradients, lenet, normal, small_net

AGAIN = {f"{name}, seeded": rule for name, rule in SEEDED.items()}
MIXED = {"0": SEEDED["fa"], "3": "brsf", "7": "usf", "9": "fa"}
GROUPS = (
    ("bp", "fa", "rho-fa", "interpolated"),
    ("usf", "brsf", "frsf", "usf-init"),
    ("fa-dense, seeded", "fa-dense", "usf-sn", "fa, seeded"),
    ("dfa", "dfa", "dfa, seeded", "frsf, seeded"),
)
"""One rule per layer: what is compiled together takes a quarter of the time."""


def entropy(z):
    return nn.functional.cross_entropy(z, torch.arange(len(z)) % z.shape[1])


def distance(model, h, backend, rule="fa", **how):
    """Return how far apart two steps' gradients are, compiled and eager."""
    eager = fed(model, rule, h, **how)
    compiled = copy.deepcopy(eager)
    torch.compiler.reset()
    run = torch.compile(compiled, fullgraph=True, backend=backend)
    return max(apart(gradients(compiled, h, run, entropy), gradients(eager, h, loss=entropy)) for _ in range(2))


def per_sample():
    """Return whether torch compiles per-sample gradients of a node of ours."""
    model, h = fed(nn.Sequential(nn.Linear(3, 2)), "fa"), normal(4, 3, dtype=torch.float)
    parameters = dict(model.named_parameters())

    def share(parameters, h):
        return torch.func.functional_call(model, parameters, (h[None],)).square().sum()

    torch.compiler.reset()
    each = torch.func.vmap(torch.func.grad(share), (None, 0))
    try:
        got = torch.compile(each, fullgraph=True, backend="aot_eager")(parameters, h)
    except Exception as error:  # noqa: BLE001 (whatever torch refuses it with)
        return type(error).__name__
    return float((got["0.weight"] - each(parameters, h)["0.weight"]).norm())


def main():
    torch.set_num_threads(1)
    images, small = normal(4, 1, 28, 28, dtype=torch.float), normal(3, 2, 8, 8, dtype=torch.float)
    found, mend = {}, functional.mend
    functional.mend = torch.compiler.assume_constant_result(lambda: False)
    found["inductor, not mended"] = distance(lenet(), images, "inductor", layers=MIXED)
    functional.mend = mend
    found["inductor"] = distance(lenet(), images, "inductor", layers=MIXED)
    for group in GROUPS:
        layers = {n: AGAIN.get(r, r) for n, r in zip(("0", "3", "6", "8"), group, strict=True)}
        found["; ".join(dict.fromkeys(group))] = distance(small_net(), small, "aot_eager", layers=layers)
    found["conformance"] = conformance.report(ours("usf", "conv"), (conformance.compiled,))
    found["per sample"] = per_sample()
    found["drawn"] = Gaussian(1.0)((3,), seed_of(0, "a"), torch.double).tolist()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
