"""The suite can fail: every small mutant of the rules, the laws, the ledger and the system is caught.

A mutant flips a sign, drops a transpose, swaps the factors of a matrix product, drops a term, or swaps the two letters
that a loop unpacks (W for B). Each is imported as a library of its own, in this process, and put through one battery of
hand-written checks on two small networks, the second with a layer narrower than the output.
"""

import ast
import contextlib
import copy
import importlib
import importlib.abc
import importlib.util
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
norm = np.linalg.norm

FILES = (
    *(p.stem and f"linfa.rules.{p.stem}" for p in sorted((ROOT / "linfa/rules").glob("*.py")) if p.stem != "__init__"),
    "linfa.laws.fixed_path",
    "linfa.laws.kolen_pollack",
    "linfa.laws.ledger",
    "linfa.laws.potential",
    "linfa.systems.full",
)

EQUIVALENT = {
    "drop a minus in -1 at eye(p, state.weights[-1])": "any layer lends its dtype and device, all have the same",
    "swap two letters in for b, w in zip(sizes.learnt, sizes.weights[1:], strict=True) at b + w": "a sum commutes",
    "swap two letters in for B, W in pairs at array_namespace(W).max(abs(B) + abs(W), axis=(-2, -1))": "a sum commutes",
    "drop a minus in -2 at tuple(W.shape[-2:])": "the key of a cache may be coarser: a rule fits one list of shapes",
    "swap two letters in for d, a in zip(drift, self.account, strict=True) at d - a": "only |residual| is read",
    "drop the left term in 0 * n + error at lambda n: 0 * n + error": "a number broadcasts to every network of a batch",
    "swap two letters in for B, W in self.rule.at(step).stand_ins(state) at xp.broadcast_to(cosine(B, W), self.lead)": (
        "a cosine is symmetric"
    ),
    "swap two letters in for u, g in zip(updates, gradients, strict=True) at cosine(u, g)": "a cosine is symmetric",
    "swap two letters in for e, m in zip(self.error, more, strict=True) at e + m": "a sum commutes",
}
"""Mutants that change nothing that can be observed, with the reason."""


# Mutants -----------------------------------------------------------------------------------------------------------


def variants(node):
    """Yield (what was done, the node as it would be) for every small change of one node."""
    match node:
        case ast.BinOp(op=ast.Add() | ast.Sub() as op):
            flipped = copy.copy(node)
            flipped.op = ast.Sub() if isinstance(op, ast.Add) else ast.Add()
            yield "flip a sign", flipped
            yield "drop the right term", node.left
            if isinstance(op, ast.Add):
                yield "drop the left term", node.right
        case ast.BinOp(op=ast.MatMult()):
            swapped = copy.copy(node)
            swapped.left, swapped.right = node.right, node.left
            yield "swap the factors", swapped
        case ast.UnaryOp(op=ast.USub()):
            yield "drop a minus", node.operand
        case ast.Attribute(attr="mT"):
            yield "drop a transpose", node.value
        case (
            ast.comprehension(target=ast.Tuple(elts=[ast.Name(), ast.Name()]))
            | ast.For(target=ast.Tuple(elts=[ast.Name(), ast.Name()]))
        ):
            swapped = copy.copy(node)
            swapped.target = copy.copy(node.target)
            swapped.target.elts = node.target.elts[::-1]
            yield "swap two letters", swapped


def untouched(tree):
    """Return the nodes of messages, which no battery reads."""
    return {inner for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for inner in ast.walk(node)}


def source_of(name):
    path = ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def mutants(name):
    """Yield (description, tree) for every mutant of a module."""
    tree = ast.parse(source_of(name).read_text(encoding="utf-8"))
    messages = untouched(tree)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if node in messages:
            continue
        for what, new in variants(node):
            line = getattr(node, "lineno", None) or node.target.lineno
            where = ast.unparse(node).split("\n")[0].strip()
            yield f"{name}:{line}: {what} in {where} at {around(parents, node)}", _with(tree, node, new)


def around(parents, node):
    """Return the expression that a mutated node belongs to: the call of an index, the body of a loop's letters."""
    up = parents[node]
    if isinstance(node, ast.comprehension):
        return ast.unparse(up.value if isinstance(up, ast.DictComp) else up.elt)
    while isinstance(up, ast.Subscript | ast.Slice | ast.Attribute | ast.UnaryOp | ast.Tuple):
        up = parents[up]
    return ast.unparse(up).split("\n")[0]


def _with(tree, node, new):
    """Return a copy of the tree with one node replaced."""
    return ast.fix_missing_locations(copy.deepcopy(tree, {id(node): new}))


# A library with one altered module ---------------------------------------------------------------------------------


@cache
def compiled(name):
    path = source_of(name)
    return compile(path.read_text(encoding="utf-8"), str(path), "exec")


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads linfa from its sources, with one module replaced."""

    def __init__(self, name, code):
        self.name, self.code = name, code

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] != "linfa":
            return None
        file = source_of(fullname)
        folder = [str(file.parent)] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(fullname, file, loader=self, submodule_search_locations=folder)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(self.code if module.__name__ == self.name else compiled(module.__name__), vars(module))


@contextlib.contextmanager
def library(name=None, code=None):
    """Import linfa afresh with one module altered, beside the linfa of everybody else."""
    ours = {k: sys.modules.pop(k) for k in list(sys.modules) if k.split(".")[0] == "linfa"}
    finder = Finder(name, code)
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module("linfa")
    finally:
        sys.meta_path.remove(finder)
        for k in [k for k in sys.modules if k.split(".")[0] == "linfa"]:
            del sys.modules[k]
        sys.modules.update(ours)


# The battery -------------------------------------------------------------------------------------------------------


def same(got, want, what):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, what
    assert np.abs(got - want).max(initial=0.0) <= 1e-11 * (1 + np.abs(want).max(initial=0.0)), what


def each(got, want, what):
    assert len(got) == len(want), what
    for a, b in zip(got, want, strict=True):
        same(a, b, what)


class Samples:
    """Six samples and the squared loss, written out."""

    def __init__(self, n_in, n_out, rng):
        self.inputs, self.targets = rng.standard_normal((6, n_in)), rng.standard_normal((6, n_out))

    def signal(self, outputs):
        return (self.targets - outputs) / 6

    def value(self, outputs):
        return ((self.targets - outputs) ** 2).sum() / 12


def raises(error, function):
    try:
        function()
    except error:
        return
    raise AssertionError(f"{error.__name__} did not come")


def battery(lib):
    for widths in ((3, 4, 5, 2), (3, 4, 2, 3)):
        rng = np.random.default_rng(7)
        net = lib.Weights(tuple(rng.standard_normal(s) for s in zip(widths[1:], widths, strict=False)))
        B = tuple(rng.standard_normal(W.shape) for W in net[1:])
        F = tuple(rng.standard_normal((widths[-1], n)) for n in widths[1:-1])
        batch = Samples(widths[0], widths[-1], rng)
        for rule, feedback, phi in rules_by_hand(lib, net, B, F):
            check_rule(lib, net, rule, feedback, phi, batch, rng)
    check_details(lib)
    check_batches(lib)
    check_solve(lib)


def rules_by_hand(lib, net, B, F):
    """Yield rules, the feedback they stand for as a function of (W, learnt), and (α, b, m) of their potentials."""
    shapes = [W.shape for W in net[1:]]
    M = tuple(np.abs(b) for b in B)
    draw = np.random.default_rng(3)
    tilde = [draw.standard_normal(s) / np.sqrt(s[1]) for s in shapes]
    uniform = [np.full(s, 2 * np.sqrt(2 / sum(s))) for s in shapes]
    draw = np.random.default_rng(3)
    xavier = [np.sqrt(6 / sum(s)) * draw.uniform(0, 1, s) for s in shapes]
    draw = np.random.default_rng([3, 11])
    redrawn = [2 * np.sqrt(6 / sum(s)) * draw.uniform(0, 1, s) for s in shapes]
    mixed = [0.6 * W + 0.8 * t for W, t in zip(net[1:], tilde, strict=True)]

    def signs(m):
        return lambda W, _: [a * np.sign(w) for a, w in zip(m, W[1:], strict=True)]

    def fixed(b):
        return lambda W, _: list(b)

    fa, sign = lib.FeedbackAlignment, lib.SignConcordant
    yield lib.Backprop(), lambda W, _: W[1:], [(1.0, 0, 0)] * 2
    yield fa(B), fixed(B), [(0.0, b, 0) for b in B]
    yield fa.random(net, 3), fixed(tilde), [(0.0, b, 0) for b in tilde]
    yield fa.interpolated(net, 0.6, 3), fixed(mixed), [(0.0, b, 0) for b in mixed]
    yield (
        lib.Interpolated(0.3, B),
        lambda W, _: [0.3 * w + 0.7 * b for w, b in zip(W[1:], B, strict=True)],
        [(0.3, 0.7 * b, 0) for b in B],
    )
    yield sign(M), signs(M), [(0.0, 0, m) for m in M]
    yield sign.uniform(net, 2.0), signs(uniform), [(0.0, 0, m) for m in uniform]
    yield sign.fixed_random(net, 3), signs(xavier), [(0.0, 0, m) for m in xavier]
    yield sign.initial(net, 3), signs(np.abs(t) for t in tilde), [(0.0, 0, np.abs(t)) for t in tilde]
    yield lib.BatchRandomSign(net.widths, 3, 2.0).at(11), signs(redrawn), [(0.0, 0, m) for m in redrawn]
    yield (
        lib.StrictNormalSign(),
        lambda W, _: [norm(w) * np.sign(w) / np.sqrt(w.size) for w in W[1:]],
        None,
    )
    yield lib.KolenPollack(B), lambda W, learnt: list(learnt), [(1.0, 0, 0)] * 2
    yield lib.KolenPollack.random(net, 3), lambda W, learnt: list(learnt), [(1.0, 0, 0)] * 2
    yield lib.DirectFeedback(F), F, None
    yield lib.DirectFeedback(F, virtual=True), F, [(0.0, f, 0) for f in F]
    draw = np.random.default_rng(3)
    drawn = [draw.standard_normal((net.widths[-1], n)) / np.sqrt(n) for n in net.widths[1:-1]]
    yield lib.DirectFeedback.random(net, 3, virtual=True), drawn, [(0.0, f, 0) for f in drawn]
    yield lib.DirectFeedback.readout_only(net), [0 * f for f in F], None


def check_rule(lib, net, rule, feedback, phi, batch, rng):
    system, State = lib.Full(net, rule), lib.State
    start = system.start()
    direct, kp = isinstance(rule, lib.DirectFeedback), isinstance(rule, lib.KolenPollack)
    virtual = direct and rule.virtual
    each(start.weights, net.matrices, "start")
    if kp:
        each(start.learnt, rule.matrices, "start of the feedback")
    elif virtual:
        each(start.learnt, [0 * f for f in rule.matrices], "start of the read-outs")
    else:
        assert start.learnt == ()
    # A state away from the start, so that what is learnt is neither zero nor the beginning.
    s = State(start.weights, tuple(a + rng.standard_normal(a.shape) for a in start.learnt))
    W = s.weights

    h, d = [batch.inputs], [None] * len(W)
    for w in W:
        h.append(np.einsum("ij,nj->ni", w, h[-1]))
    d[-1] = batch.signal(h[-1])
    stands = feedback if direct else feedback(W, s.learnt)
    for l in range(len(W) - 2, -1, -1):
        d[l] = np.einsum("ni,ij->nj", d[-1] if direct else d[l + 1], stands[l])
    U = [np.einsum("ni,nj->ij", a, b) for a, b in zip(d, h, strict=False)]

    passes = system.passes(s, batch)
    each(passes.activities, h, "activities")
    each(passes.signals, d, "signals")
    v = system.velocity(s, passes)
    each(v.weights, U, "updates")
    each(v.learnt, U[1:] if kp else [np.einsum("ni,nj->ij", d[-1], a) for a in h[1:-1]] if virtual else [], "motion")
    each(
        rule.signal_norms(s, passes.signals),
        [norm(d[-1]) * norm(f) for f in stands] + [norm(d[-1])] if direct else [norm(a) for a in d],
        "norms of signals",
    )
    meant = [W[2] @ W[1], W[2]] if direct else W[1:]
    pairs = rule.stand_ins(s)
    each([a for a, _ in pairs], stands, "stand-ins")
    each([b for _, b in pairs], meant, "what backprop would use")
    M = [f.T for f in stands] if direct else [(stands[1] @ stands[0]).T, stands[1].T]
    each(rule.paths(s), [*M, np.eye(net.widths[-1])], "paths")
    readers = s.learnt if kp or virtual else W[1:]
    if phi is not None:
        each(rule.readers(s), readers, "readers")
        for k, (alpha, b, m) in enumerate(phi):
            check_potential(rule.potential(k), alpha, b, m, readers[k], rng)
    check_laws(lib, system, s, v, passes, phi, readers, M, rng)
    for wrong in ((3, 4, 7, 2), (3, 9, 5, 2)):
        if not isinstance(rule, lib.Backprop | lib.StrictNormalSign):
            raises(lib.InputError, lambda wrong=wrong: rule.check(lib.Weights.zero(wrong)))


def check_potential(potential, alpha, b, m, w, rng):
    for u in (rng.standard_normal(w.shape), -2 * w, -w, 0 * w):
        for x in (w, 0 * w):
            same(potential.value(x), alpha * x**2 / 2 + b * x + m * np.abs(x), "φ")
            same(potential.gradient(x), alpha * x + b + m * np.sign(x), "φ'")
            bend = alpha * u**2 / 2 + m * (np.abs(x + u) - np.abs(x) - np.sign(x) * u)
            same(potential.defect(x, u), bend, "defect of φ")
            same(potential.bound(x), abs(alpha) * np.abs(x) + np.abs(b) + np.abs(m), "bound of φ'")


def check_laws(lib, system, s, v, passes, phi, R, M, rng):
    rule, W = system.rule, s.weights
    laws, quantities = {law.name: law for law in (cls() for cls in lib.laws.REGISTRY.values())}, {}
    signed = phi is not None and any(np.any(m) for _, _, m in phi)
    fixed = rule.name in ("fa", "dfa")
    hidden = range(len(W) - 1)
    if phi is not None:
        values = [a * r**2 / 2 + b * r + m * np.abs(r) for (a, b, m), r in zip(phi, R, strict=True)]
        quantities["neuron"] = [(W[l] ** 2).sum(1) / 2 - values[l].sum(0) for l in hidden]
        if not signed:
            quantities["matrix"] = [
                W[l] @ W[l].T
                - sum(x + x.T for x in [(np.broadcast_to(phi[l][1], R[l].shape)).T @ R[l]])
                - phi[l][0] * R[l].T @ R[l]
                for l in hidden
            ]
    if isinstance(rule, lib.KolenPollack):
        quantities["feedback_gap"] = [b - w for b, w in zip(s.learnt, W[1:], strict=True)]
    if fixed:
        quantities |= {"null_space": None, "direct": None}
    for name, law in laws.items():
        assert law.applies_to(rule) is (name in quantities), f"{law} of {rule.name}"
        if name not in quantities:
            raises(lib.NoLawError, lambda law=law: law.check(rule))
            continue
        Q = law.quantity(rule, s)
        if quantities[name] is not None:
            each(Q, quantities[name], name)
        u = s.map(lambda a: rng.uniform(-0.4, 0.4, a.shape) * np.abs(a))
        far = s.map(lambda a: rng.standard_normal(a.shape))
        ahead, behind = law.quantity(rule, s.plus(1.0, u)), law.quantity(rule, s.plus(-1.0, u))
        slope = law.differential(rule, s, u)
        each(slope, [(a - b) / 2 for a, b in zip(ahead, behind, strict=True)], f"differential of {name}")
        after, first = law.quantity(rule, s.plus(1.0, far)), law.differential(rule, s, far)
        bend = [a - b - c for a, b, c in zip(after, Q, first, strict=True)]
        each(law.defect(rule, s, far), bend, f"defect of {name}")
        scale = sum(norm(x) for x in (*W, *s.learnt)) * sum(norm(x) for x in (*v.weights, *v.learnt))
        for dQ in law.differential(rule, s, v):
            assert np.abs(dQ).max(initial=0.0) <= 1e-12 * (1 + scale) ** 2, f"{name} along the field"
        sizes = far.norms()
        each(law.sensitivity(rule, s, sizes), sensitivity(name, phi, W, R, M, sizes, rule), f"sensitivity of {name}")
        each(law.terms(rule, s), terms(lib, name, phi, R, s, rule), f"terms of {name}")
        if name in ("null_space", "direct"):
            check_shapes(name, Q, W, M)
        check_ledger(lib, law, system, s, far, passes)


def shared(lower, upper):
    """Return A, β with lowerᵀA = upperᵀβ, from pseudo-inverses alone."""
    outside = np.eye(upper.shape[1]) - np.linalg.pinv(upper) @ upper
    _, size, Vt = np.linalg.svd(outside @ lower.T)
    A = Vt[np.sum(size > 1e-10) :].T
    return A, np.linalg.pinv(upper.T) @ lower.T @ A


def check_shapes(name, Q, W, M):
    M = [*M, np.eye(len(W[-1]))]
    for l, q in enumerate(Q):
        if name == "null_space":
            P = np.eye(len(M[l])) - M[l] @ np.linalg.pinv(M[l])
            same(q.T @ q, W[l].T @ P @ W[l], "null space")
            assert q.shape == (round(np.trace(P)), W[l].shape[1])
        else:
            A, beta = shared(M[l], M[l + 1])
            assert q.shape == (A.shape[1],) * 2, "components of the direct law"
            plain = A.T @ W[l] @ W[l].T @ A - beta.T @ W[l + 1] @ A - A.T @ W[l + 1].T @ beta
            same(np.linalg.eigvalsh(q), np.linalg.eigvalsh(plain), "direct law")


def sensitivity(name, phi, W, R, M, sizes, rule):
    if name == "null_space":
        return sizes.weights[:-1]
    if name == "feedback_gap":
        return [b + w for b, w in zip(sizes.learnt, sizes.weights[1:], strict=True)]
    if name == "direct":
        M, bounds = [*M, np.eye(len(W[-1]))], []
        for l in range(len(W) - 1):
            size = np.linalg.svd(M[l + 1])[1]
            kept = size[size > 1e-10]
            condition = kept[0] / kept[-1] if len(kept) else 1.0
            beta = norm(shared(M[l], M[l + 1])[1])
            bounds.append(2 * (norm(W[l]) * sizes.weights[l] + condition * beta * sizes.weights[l + 1]))
        return bounds
    moved = sizes.learnt or sizes.weights[1:]
    bound = [norm(abs(a) * np.abs(r) + np.abs(b) + np.abs(m)) for (a, b, m), r in zip(phi, R, strict=True)]
    return [2 * (norm(W[l]) * sizes.weights[l] + bound[l] * moved[l]) for l in range(len(W) - 1)]


def terms(lib, name, phi, R, s, rule):
    """Return the largest sum of magnitudes that a component of a quantity is made of."""
    W = s.weights
    if name == "null_space":
        return [np.sqrt((w**2).sum(0).max()) for w in W[:-1]]
    if name == "feedback_gap":
        return [(np.abs(b) + np.abs(w)).max() for b, w in zip(s.learnt, W[1:], strict=True)]
    if name == "direct":
        # The basis is the library's own choice; that it is one is checked above, by what the law does.
        path = lib.laws.fixed_path
        return [
            max(norm(A.T @ W[l], axis=1), default=0.0) ** 2
            + 2 * max(norm(beta, axis=0), default=0.0) * max(norm(W[l + 1] @ A, axis=0), default=0.0)
            for l, (A, beta, _) in enumerate(path._shared(path._ByRule(rule, s)))
        ]
    bound = [abs(a) * np.abs(r) + np.abs(b) + np.abs(m) for (a, b, m), r in zip(phi, R, strict=True)]
    return [((w**2).sum(1) + 2 * (c * np.abs(r)).sum(0)).max() for w, c, r in zip(W, bound, R, strict=False)]


def check_ledger(lib, law, system, s, v, passes):
    """Three steps with momentum and decay: the account closes, and the bound is what it says it is."""
    rule, eta, mu, lam, unit = system.rule, 0.05, 0.9, 0.1, 1e-3
    ledger, Q0 = lib.laws.Ledger(law, rule, s), law.quantity(rule, s)
    bound = [0.0 for _ in Q0]
    # Only what the field keeps: U from the rule at each state, on a fixed batch.
    batch = next(b for b in (getattr(check_ledger, "batch", None),) if b is not None)
    for _ in range(3):
        here = system.passes(s, batch[system.weights.widths])
        drive = v.times(mu).plus(-lam, s)
        v = drive.plus(1.0, system.velocity(s, here))
        after, sizes = s.plus(eta, v), v.norms()
        ledger.step(s, after, eta, drive, sizes, unit)
        total = [
            [(a + b + eta * c) * unit for a, b, c in zip(x, y, z, strict=True)]
            for x, y, z in zip(s.norms(), after.norms(), sizes, strict=True)
        ]
        for state in (s, after):
            more = law.sensitivity(rule, state, lib.State(tuple(total[0]), tuple(total[1])))
            bound = [a + b for a, b in zip(bound, more, strict=True)]
        s = after
    entry = ledger.read(s)
    drift = [np.abs(a - b).max(initial=0.0) for a, b in zip(law.quantity(rule, s), Q0, strict=True)]
    each(entry.drift, drift, "drift")
    each(entry.scale, law.terms(rule, s), "scale")
    each(entry.bound, bound, "bound")
    for r, size in zip(entry.residual, entry.scale, strict=True):
        assert r <= 1e-13 * size, f"the account of {law}"


check_ledger.batch = {n: Samples(n[0], n[-1], np.random.default_rng(5)) for n in ((3, 4, 5, 2), (3, 4, 2, 3))}


def check_details(lib):
    """What the tour of the rules does not pass by."""
    State, rule = lib.State, lib.Backprop()
    net = lib.Weights.standard((3, 4, 2), 0)
    system = lib.Full(net, rule)
    for ends in ((4, 2), (3, 3)):
        raises(lib.InputError, lambda ends=ends: system.check(*ends))
    system.check(3, 2)
    assert system.finite(State(net.matrices)) is None
    assert system.finite(State((net[0], np.nan * net[1]))) == 2
    each(system.lift(State(net.matrices)), net.matrices, "lift")
    raises(lib.NoLawError, lambda: lib.StrictNormalSign().potential(0))
    raises(lib.InputError, lambda: lib.SignConcordant((-np.abs(net[1]),)).check(net))
    raises(lib.InputError, lambda: lib.FeedbackAlignment((net[1], net[1])).check(net))
    raises(lib.InputError, lambda: lib.FeedbackAlignment((np.nan * net[1],)).check(net))
    for rho in (-1.5, 1.5):
        raises(lib.InputError, lambda rho=rho: lib.FeedbackAlignment.interpolated(net, rho, 0))
    each(lib.FeedbackAlignment.interpolated(net, -1.0, 0).matrices, [-net[1]], "ρ = −1")
    each(lib.StrictNormalSign().feedback(State((net[0], 0 * net[1]))), [0 * net[1]], "no weights, no feedback")
    mixed = lib.rules.Potential(0.5, np.array([[2.0]]), np.array([[3.0]]))
    check_potential(mixed, 0.5, np.array([[2.0]]), np.array([[3.0]]), np.array([[-1.5]]), np.random.default_rng(0))
    # A batch of networks: one number per network, not one for all.
    batched = State(tuple(np.stack([W, 2 * W]) for W in net))
    ledger = lib.laws.Ledger(lib.laws.MatrixLaw(), rule, batched)
    moved = batched.map(lambda a: a + 1.0)
    drift = ledger.read(moved).drift[0]
    for i, factor in enumerate((1.0, 2.0)):
        single = State(tuple(factor * W for W in net))
        law = lib.laws.MatrixLaw()
        change = law.quantity(rule, single.map(lambda a: a + 1.0))[0] - law.quantity(rule, single)[0]
        same(drift[i], np.abs(change).max(), "drift of a member")
    alone = lib.DirectFeedback((net[1],), virtual=True).start(lib.Weights(batched.weights))
    assert alone[0].shape == (2, 2, 4)
    assert lib.KolenPollack((net[1],)).start(lib.Weights(batched.weights))[0].shape == (2, 2, 4)
    raises(
        lib.NoLawError,
        lambda: lib.laws.NullSpaceLaw().quantity(lib.FeedbackAlignment((batched.weights[1],)), batched),
    )
    packed, about = lib.rules.restore.pack(lib.FeedbackAlignment((net[1], 2 * net[1]), {"a": 1}))
    back = lib.rules.restore.unpack(packed, about)
    each(back.matrices, (net[1], 2 * net[1]), "restored")
    assert back.origin == {"a": 1}


def check_batches(lib):
    """Whatever a law says of a batch of networks, it says of each of them alone."""
    rng = np.random.default_rng(1)
    cases = [((3, 4, 5, 2), name) for name in ("bp", "fa", "dfa", "dfa-virtual", "usf", "kp")]
    # Where two narrow layers hear nothing in common, the direct law has no component at all.
    for n, name in (*cases, ((3, 1, 1, 2), "dfa")):
        net = lib.Weights.standard(n, 0)
        rule = lib.rules.make(name, net, 1)
        start = lib.Full(net, rule).start()
        s, u = ([start.map(lambda a: rng.standard_normal(a.shape)) for _ in range(3)] for _ in range(2))
        stacked = [
            lib.State(*(tuple(np.stack(x)[:, None] for x in zip(*part, strict=True)) for part in zip(*t, strict=True)))
            for t in (s, u)
        ]
        for law in (cls() for cls in lib.laws.REGISTRY.values()):
            if not law.applies_to(rule):
                continue
            for of in (
                lambda s, u, law=law, rule=rule: law.quantity(rule, s),
                lambda s, u, law=law, rule=rule: law.differential(rule, s, u),
                lambda s, u, law=law, rule=rule: law.defect(rule, s, u),
                lambda s, u, law=law, rule=rule: law.sensitivity(rule, s, u.norms()),
                lambda s, u, law=law, rule=rule: law.terms(rule, s),
            ):
                together = of(*stacked)
                for i, pair in enumerate(zip(s, u, strict=True)):
                    each([t[i, 0] for t in together], of(*pair), f"{law} of a member under {name}")
        for M, alone in zip(rule.paths(stacked[0]), rule.paths(s[0]), strict=True):
            same(M if M.ndim == 2 else M[0, 0], alone, "paths of a member")


def check_solve(lib):
    """What a run writes down: weights, alignments, and the bound of its laws, against the same by hand."""
    net, task = lib.Weights.standard((3, 4, 5, 2), 0), lib.Task.from_samples(np.eye(3), np.arange(6.0).reshape(3, 2))
    eta, mu, lam = 0.05, 0.9, 0.1
    for name in ("fa", "kp", "dfa-virtual"):
        rule = lib.rules.make(name, net, 1)
        law, how = lib.laws.NeuronLaw(), lib.Descent(eta, 3, momentum=mu, decay=lam, saves=3)
        system = lib.Full(net, rule)
        run, s, true = lib.solve(system, task, how, laws=[law]), system.start(), lib.Full(net, lib.Backprop())
        batch, v, bound = task.samples(net[0]), s.times(0.0), [0.0, 0.0]
        for k in range(4):
            each(run.state(k).weights, s.weights, "weights of a run")
            each(run.state(k).learnt, s.learnt, "what a run learnt")
            for l, W in enumerate(s.weights, 1):
                assert run.dataset[f"W_{l}"].dims == ("time", f"n_{l}", f"n_{l - 1}")
                same(run.dataset[f"W_{l}"].values[k], W, "recorded weights")
            for l, B in enumerate(s.learnt):
                same(run.dataset[f"learnt_{l}"].values[k], B, "recorded feedback")
            pairs = rule.stand_ins(s)
            same(run.alignment[k], [(a * b).sum() / norm(a) / norm(b) for a, b in pairs], "weight alignment")
            here, there = system.passes(s, batch), true.passes(lib.State(s.weights), batch)
            pairs = list(zip(here.updates(), there.updates(), strict=True))
            same(run.update_alignment[k], [(a * b).sum() / norm(a) / norm(b) for a, b in pairs], "update alignment")
            eps = np.finfo(float).eps
            same(run.dataset["neuron_bound"].values[k] / eps, np.array(bound) / eps, "bound of a run")
            h = [norm(a) for a in here.activities]
            d = [norm(a) for a in here.signals]
            if name == "dfa-virtual":
                d = [d[-1] * norm(F) for F in rule.matrices] + [d[-1]]
            U = [a * b for a, b in zip(d, h, strict=False)]
            learnt = {"fa": [], "kp": U[1:], "dfa-virtual": [d[-1] * a for a in h[1:-1]]}[name]
            sizes = lib.State(tuple(U), tuple(learnt)).plus(mu, v.norms()).plus(lam, s.norms())
            v = v.times(mu).plus(-lam, s).plus(1.0, system.velocity(s, here))
            after = s.plus(eta, v)
            unit = eps * (3 + 14 + 8)
            total = s.norms().plus(1.0, after.norms()).plus(eta, sizes).times(unit)
            for state in (s, after):
                bound = [a + b for a, b in zip(bound, law.sensitivity(rule, state, total), strict=True)]
            s = after
        flow = lib.Flow(1e-6, rtol=1e-9, atol=1e-12, saves=1)
        run, start = lib.solve(system, task, flow, laws=[law]), system.start()
        assert run.dataset.attrs["steps"] == 1
        parts = (*start.weights, *start.learnt)
        largest = max(np.abs(a).max() for state in run.states() for a in (*state.weights, *state.learnt))
        error = np.sqrt(sum(a.size for a in parts)) * (1e-12 + 1e-9 * largest)
        sizes = start.map(lambda a, error=error: np.float64(error))
        more = [law.sensitivity(rule, state, sizes) for state in run.states()]
        same(run.dataset["neuron_bound"].values[-1] / 1e-9, sum(np.array(m) for m in more) / 1e-9, "bound of a flow")


# Tests -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound():
    """The battery passes on the library as it is: what kills a mutant is the mutation."""
    with library() as lib:
        battery(lib)
    return lib


def test_the_library_as_it_is_passes_and_is_put_back(sound):
    import linfa

    assert sys.modules["linfa"] is linfa
    assert linfa is not sound


def survivors(name):
    alive, count = [], 0
    for description, tree in mutants(name):
        count += 1
        try:
            with library(name, compile(tree, name, "exec")) as lib, np.errstate(all="ignore"):
                battery(lib)
        except Exception:  # noqa: BLE001 -- a mutant may die of anything
            continue
        alive.append(description)
    return alive, count


@pytest.mark.usefixtures("sound")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_every_mutant_is_killed(name):
    alive, _ = survivors(name)
    assert [mutant for mutant in alive if mutant.split(": ", 1)[1] not in EQUIVALENT] == []


def test_there_are_mutants_of_every_kind():
    kinds: dict[str, int] = {}
    for name in FILES:
        for description, _ in mutants(name):
            what = description.split(": ")[1].split(" in ")[0]
            kinds[what] = kinds.get(what, 0) + 1
    assert set(kinds) == {
        "flip a sign",
        "drop the right term",
        "drop the left term",
        "swap the factors",
        "drop a minus",
        "drop a transpose",
        "swap two letters",
    }
    assert sum(kinds.values()) > 100
