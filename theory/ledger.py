"""D3, the ledger: what finite steps with momentum, decay and a schedule do to every law, exactly, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy

from linfa.symbolic import (
    FEEDBACK_ALIGNMENT,
    LAYER,
    B,
    Derivation,
    E,
    F,
    M,
    Relation,
    W,
    Word,
    X,
    interpolated,
    letter,
    rewrite,
    substitute,
    sym,
    width,
    zero,
)
from theory.backprop_limit import mixed
from theory.claim import Claim, Proof
from theory.notation import half
from theory.units import U, e, master, passed_on
from theory.virtual_readouts import V, motion, watched

l = LAYER
α, μ, τ, c = sympy.symbols("α μ τ c")
λ, η = sympy.symbols("λ η", positive=True)
η_before = sympy.Symbol("η'", positive=True)
"""The learning rate of the step before."""
FEEDBACK = W(l + 1) * α + B(l + 1) * (1 - α)
"""B_{l+1} = αW + (1 − α)B_0."""
Moving = Mapping[Word, Word]
"""What moves, and its update U at the present state s."""


def buffer(part: Word) -> Word:
    """v, the momentum of one part of the state."""
    return letter(f"v({part})", *part.shape)


def drive(part: Word) -> Word:
    """g, whatever is added to the rule's own update of one part: for SGD μv − λs."""
    return letter(f"g({part})", *part.shape)


def step(moving: Moving) -> dict[Word, Word]:
    """One step u = η(g + cU), of which SGD is c = 1."""
    return {part: (drive(part) + update * c) * η for part, update in moving.items()}


def unexplained(quantity: Word, moving: Moving, defect: Word, relations: Sequence[Relation] = ()) -> Word:
    """Q(s + u) − Q(s) − η dQ(s)[g] − D(s, u), with the defect D as it is written out for a law."""
    after = substitute(quantity, {part: part + u for part, u in step(moving).items()})
    account = Derivation({part: drive(part) for part in moving})(quantity) * η + defect
    return rewrite(after - quantity - account, tuple(relations))


def derive(proof: Proof) -> None:
    """dQ(s)[U] = 0 for the rule's own update, so that only what is added to it enters the account."""
    proof.say(
        "SGD as in torch: v⁺ = μv + U(s) − λs, s⁺ = s + ηv⁺, for every part of the state s, feedback that learns "
        "included; v = 0 at the start. More generally let s⁺ = s + u, u = η(g + cU(s)), where g may be anything: here "
        "g = μv − λs and c = 1. A law says dQ(s)[U] = 0 at every s. Let D(s, u) = Q(s + u) − Q(s) − dQ(s)[u]. Then "
        "Q(s⁺) − Q(s) = η dQ(s)[g] + D(s, u). With D written out for each law, the difference of the two sides is"
    )
    _layerwise_laws(proof)
    _other_laws(proof)
    _neurons(proof)
    _signs(proof)
    proof.say(
        "η enters one step at a time, so any schedule will do, and the changes add up: quantity less account is "
        "constant. A decay λ_l of its own for every layer changes g and nothing else."
    )
    _recursion(proof)
    _other_optimisers(proof)


def _layerwise_laws(proof: Proof) -> None:
    """Of a layer-wise rule in a linear net only U_l W_lᵀ = B_{l+1}ᵀ U_{l+1} is used."""
    field = interpolated(α).flow(l).velocity
    proof.equal(
        "Layer-wise rules in linear nets: U_l W_lᵀ = Bᵀ U_{l+1}, here for B = αW + (1 − α)B_0",
        field[W(l)] @ W(l).T,
        FEEDBACK.T @ field[W(l + 1)],
    )
    moving = {W(l): U(l), W(l + 1): U(l + 1)}
    u = step(moving)
    defect = u[W(l)] @ u[W(l)].T - u[W(l + 1)].T @ u[W(l + 1)] * α
    proof.vanishes(
        "its law (feedback alignment α = 0, backprop α = 1), D = u_l u_lᵀ − α u_{l+1}ᵀu_{l+1}",
        unexplained(mixed(l, α), moving, defect, (passed_on(FEEDBACK),)),
    )
    learning = {W(l): U(l), W(l + 1): U(l + 1), B(l + 1): U(l + 1)}
    u = step(learning)
    balance = W(l) @ W(l).T - B(l + 1).T @ B(l + 1)
    defect = u[W(l)] @ u[W(l)].T - u[B(l + 1)].T @ u[B(l + 1)]
    proof.vanishes(
        "Kolen–Pollack, W_l W_lᵀ − B_{l+1}ᵀB_{l+1}, D = u_l u_lᵀ − b_{l+1}ᵀb_{l+1} with b the step of B",
        unexplained(balance, learning, defect, (passed_on(B(l + 1)),)),
    )
    gap = B(l + 1) - W(l + 1)
    proof.vanishes("Kolen–Pollack, B − W, D = 0", unexplained(gap, learning, zero(*gap.shape)))


def _other_laws(proof: Proof) -> None:
    """Fixed paths: the null-space law, the direct law; and virtual read-outs."""
    fixed = {W(l): M(l) @ E() @ X(l - 1).T, W(l + 1): M(l + 1) @ E() @ (W(l) @ X(l - 1)).T}
    unreached = letter("N", width(l), sympy.Symbol("k"))
    still = Relation(unreached.T @ M(l), zero(sympy.Symbol("k"), M(l).cols))
    linear = unreached.T @ W(l)
    proof.vanishes("Null-space law NᵀW_l, D = 0", unexplained(linear, fixed, zero(*linear.shape), (still,)))
    k = sympy.Symbol("k")
    a, b = letter("a", width(l), k), letter("b", width(l + 1), k)
    same = Relation(a.T @ M(l), b.T @ M(l + 1))
    shared = a.T @ W(l) @ W(l).T @ a - sym(b.T @ W(l + 1) @ a)
    defect = a.T @ step(fixed)[W(l)] @ step(fixed)[W(l)].T @ a
    proof.vanishes(
        "Direct law aᵀW_lW_lᵀa − sym(bᵀW_{l+1}a), D = aᵀu_l u_lᵀa", unexplained(shared, fixed, defect, (same,))
    )
    moving = motion()
    u = step(moving)
    proof.vanishes("Virtual read-outs, D = u_l u_lᵀ", unexplained(watched(), moving, u[W(l)] @ u[W(l)].T))
    proof.holds("whose V_l move along, with their own momentum and decay", V(l) in u and F(l) not in u)


def _neurons(proof: Proof) -> None:
    """½‖W_l[k,:]‖² − Φ(W_{l+1}[:,k]), with any 1-homogeneous units, for B = αW + (1 − α)B_0."""
    moving = {W(l): U(l), W(l + 1): U(l + 1)}
    u = step(moving)
    neuron = e.T @ mixed(l, α) @ e * half
    defect = e.T @ (u[W(l)] @ u[W(l)].T - u[W(l + 1)].T @ u[W(l + 1)] * α) @ e * half
    proof.vanishes(
        "Neurons, 1-homogeneous units: ½‖W_l[k,:]‖² − Φ(W_{l+1}[:,k]), D = ½‖u_l[k,:]‖² − ½α‖u_{l+1}[:,k]‖²",
        unexplained(neuron, moving, defect, (master(FEEDBACK),)),
    )


def _signs(proof: Proof) -> None:
    """Φ = Σ m|W|: D is zero unless a step carries an entry through zero."""
    m, p, q = sympy.symbols("m p q", positive=True)

    def bend(w: sympy.Expr, w_after: sympy.Expr, sign: int) -> sympy.Expr:
        return m * (abs(w_after) - abs(w) - sign * (w_after - w))

    proof.say("Feedback m ⊙ sign(W): D = ½‖u_l[k,:]‖² − Σ m(|w + u| − |w| − sign(w)u), and the last term is")
    proof.vanishes("from p > 0 to q > 0, nothing", bend(p, q, 1))
    proof.vanishes("from −p to −q, nothing", bend(-p, -q, -1))
    proof.equal("from p to −q, 2m|w + u|", bend(p, -q, 1), 2 * m * q)
    proof.equal("from −p to q, 2m|w + u|", bend(-p, q, -1), 2 * m * q)
    proof.equal("from 0 to q, where sign(0) = 0, m|u|", bend(sympy.Integer(0), q, 0), m * q)


def _recursion(proof: Proof) -> None:
    """The scalar recursion of D3 is the diagonal of Δ := dQ(s)[μv − λs]."""
    parts = (W(l), W(l + 1))
    x = {part: letter(f"x({part})", *part.shape) for part in parts}
    linear = Derivation(x)(mixed(l, α))

    def dQ(s: Moving, along: Moving) -> Word:
        return substitute(linear, {**s, **{x[part]: along[part] for part in parts}})

    here, v = {part: part for part in parts}, {part: buffer(part) for part in parts}
    there = {part: part + v[part] * η_before for part in parts}
    proof.say(
        "D3's recursion. Let Δ := dQ(s)[μv − λs], so that the account of a step is ηΔ + D. Let s' be the state before "
        "s, s = s' + η'v and v = g' + U(s')."
    )
    added = {part: drive(part) for part in parts}
    whole = {part: drive(part) + U(k) for part, k in zip(parts, (l, l + 1), strict=True)}
    proof.equal(
        "dQ(s')[v] = dQ(s')[g'] = Δ', by dQ(s')[U(s')] = 0",
        rewrite(dQ(here, whole), (passed_on(FEEDBACK),)),
        dQ(here, added),
    )
    square = v[W(l)] @ v[W(l)].T - v[W(l + 1)].T @ v[W(l + 1)] * α
    moved = dQ(here, v) + square * (2 * η_before)
    proof.equal("dQ(s)[v] = dQ(s')[v] + 2η'(v_l v_lᵀ − α v_{l+1}ᵀv_{l+1})", dQ(there, v), moved)
    proof.say(
        "so Δ = μ dQ(s)[v] − λ dQ(s)[s] = μ(Δ' + 2η'(v_l v_lᵀ − α v_{l+1}ᵀv_{l+1})) − λ dQ(s)[s], a matrix recursion."
    )
    _diagonal(proof, dQ(here, here).at({α: 0}), square.at({α: 0}))


def _diagonal(proof: Proof, itself: Word, square: Word) -> None:
    """For feedback alignment and a neuron k: d = ½Δ_kk."""
    v, C = buffer(W(l)), sym(B(l + 1).T @ W(l + 1))
    proof.equal("Feedback alignment, α = 0: dQ(s)[s] = 2W_lW_lᵀ − sym(B_{l+1}ᵀW_{l+1})", itself, W(l) @ W(l).T * 2 - C)
    proof.equal("and the square is v_l v_lᵀ", square, v @ v.T)
    proof.equal(
        "so d := ½Δ_kk obeys d ← μ(d + η'‖v_l[k,:]‖²) − λ(‖W_l[k,:]‖² − ⟨B_{l+1}[:,k], W_{l+1}[:,k]⟩)",
        e.T @ itself @ e * half,
        e.T @ W(l) @ W(l).T @ e - e.T @ C @ e * half,
    )
    proof.say(
        "and Q_k changes by ηd + ½η²‖v_l⁺[k,:]‖², from d = 0, v = 0: D3. By the master identity the same two steps "
        "hold for a neuron of 1-homogeneous units, where the matrix has no law off its diagonal."
    )


def _other_optimisers(proof: Proof) -> None:
    """Every step that is a combination of U(s), s and what is remembered has such an account; others have none."""
    s, v, update = W(l), buffer(W(l)), U(l)
    gradient = update - s * λ
    proof.equal(
        "Nesterov as in torch, s⁺ = s + η(U − λs + μv⁺), has an account too: g = μ²v − (1 + μ)λs and c = 1 + μ",
        gradient + (v * μ + gradient) * μ,
        v * μ**2 - s * (λ * (1 + μ)) + update * (1 + μ),
    )
    proof.equal(
        "and dampening τ, v⁺ = μv + (1 − τ)(U − λs): g = μv − (1 − τ)λs and c = 1 − τ",
        v * μ + gradient * (1 - τ),
        v * μ - s * (λ * (1 - τ)) + update * (1 - τ),
    )
    moving = FEEDBACK_ALIGNMENT.flow(l).velocity
    C = mixed(l, sympy.Integer(0))
    c_below, c_above = sympy.symbols("c_l c_{l+1}")
    scaled = Derivation({W(l): moving[W(l)] * c_below, W(l + 1): moving[W(l + 1)] * c_above})
    proof.fails(
        "Where U is rescaled by its own size (LARS by layer, Adam by entry) dQ(s)[U] does not vanish: by layer it is",
        scaled(C),
    )
    defect = step(moving)[W(l)] @ step(moving)[W(l)].T
    plain = substitute(C, {part: part + u for part, u in step(moving).items()}) - C - defect
    proof.fails("With momentum or decay the account of plain steps, D alone, leaves", plain)


CLAIM = Claim(
    name="ledger",
    statement="With momentum μ, decay λ and any schedule a step changes every law by exactly η dQ(s)[μv − λs] + D(s, "
    "ηv⁺); for a neuron of feedback alignment that is D3's scalar recursion.",
    latex=r"Q(s^+) - Q(s) = \eta\, dQ(s)[\mu v - \lambda s] + D(s, \eta v^+),\quad "
    r"\Delta \leftarrow \mu(\Delta + 2\eta v_l v_l^\top) - \lambda\, dQ(s)[s]",
    derive=derive,
)
