"""What follows from laws: multiples by constants, adjoints, products, special pairs, and the same law one layer up
or down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from linfa.symbolic.ansatz import Shape, factors_of, product_word
from linfa.symbolic.letters import LAYER, Letter
from linfa.symbolic.relations import rewrite, rewrite_trace
from linfa.symbolic.rules import Flow
from linfa.symbolic.words import Scalar, Word, trace


def consequences(
    flow: Flow, found: Sequence[Word | Scalar], basis: Sequence[Word | Scalar], length: int
) -> Iterable[Word | Scalar]:
    """What follows from the laws found, of the shape (or kind) of a basis, with products of at most a length."""
    laws = _shifted(flow, [q for q in found if isinstance(q, Word)])
    longest = length + 1 if flow.relations else length
    sandwiched = _sandwiched(flow, laws, longest)
    if isinstance(basis[0], Scalar):
        scalars = [q for q in found if isinstance(q, Scalar)]
        closed = [
            w
            for size in dict.fromkeys(w.rows for w in sandwiched)
            for w in _of_shape(sandwiched, (size, size), longest)
        ]
        traces = (rewrite_trace(trace(w), flow.relations) for w in closed)
        return [*scalars, *(q.at({LAYER: LAYER + 1}) for q in scalars), *traces]
    return [rewrite(w, flow.relations) for w in _of_shape(sandwiched, basis[0].shape, longest)]


def _of_shape(words: Sequence[Word], shape: Shape, longest: int) -> list[Word]:
    """The words of a shape, and the products of two words that have it."""
    shapes: dict[Shape, list[tuple[Word, int]]] = {}
    for w in words:
        shapes.setdefault(w.shape, []).append((w, _length(w)))
    rows, cols = shape
    products = [
        a @ b
        for (first, middle), left in shapes.items()
        if first == rows
        for a, m in left
        for b, n in shapes.get((middle, cols), ())
        if m + n <= longest
    ]
    return [*(w for w, _ in shapes.get(shape, ())), *products]


def _shifted(flow: Flow, laws: Sequence[Word]) -> list[Word]:
    """The laws, their adjoints, and (in a window) the same one layer up or down."""
    window = not flow.layers[0].is_Integer
    moved = [q.at({LAYER: LAYER + k}) for q in laws for k in ((-1, 0, 1) if window else (0,))]
    special = [special for q in moved for special in _specialised(q)]
    return [*moved, *(q.T for q in moved), *special, *(q.T for q in special)]


def _specialised(law: Word) -> list[Word]:
    """A law for all pairs (α, β) holds for the pairs (P_l, 0): put them in on the right."""
    ends = {m[-1] for m, _ in law.terms if m[-1][0].key[0] in {"α", "β"} and not m[-1][1]}
    alpha = next((a for a, _ in ends if a.key[0] == "α"), None)
    if alpha is None:
        return []
    projector = Letter("P", alpha.index if isinstance(alpha, Letter) else None, alpha.rows, alpha.rows, symmetric=True)
    terms = tuple(((*m[:-1], (projector, False)), c) for m, c in law.terms if m[-1] == (alpha, False))
    return [Word(law.rows, projector.rows, terms) * 1]


def _sandwiched(flow: Flow, laws: Sequence[Word], length: int) -> list[Word]:
    constants = {source.letters()[0] for source in flow.constants}
    factors = [product_word((f,)) for f in factors_of(flow) if f[0] in constants]
    total, layer = list(laws), list(laws)
    while layer:
        short = [q for q in layer if _length(q) < length]
        longer = [u @ q for q in short for u in factors if u.cols == q.rows] + [
            q @ u for q in short for u in factors if q.cols == u.rows
        ]
        layer = list(dict.fromkeys(longer))
        total += layer
    return total


def _length(w: Word) -> int:
    return max((len(m) for m, _ in w.terms), default=0)
