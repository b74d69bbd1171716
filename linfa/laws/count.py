"""How many conservation laws a net has: by formula where one is proved, by closing the Lie algebra otherwise.

    #laws = D − dim Lie ,   D = Σ n_l n_{l-1}

Fixed paths, generic feedback, every hidden width ≥ p = n_L:

    dim Lie = p n_0 + (L − 1) p (p − 1)/2

*At most*, by the width-free reduction: a point is reached through Φ ∈ R^{p×n_0} and L − 1 antisymmetric p×p
matrices. *At least*: on top of the p n_0 fields X_K, the bracket [X_K, X_K'] moves the antisymmetric part of S_j by
K H_{j-1} K'ᵀ − K' H_{j-1} Kᵀ with H_j = X_jᵀX_j, and these fill all of them as soon as H_0, …, H_{L-2} are linearly
independent. With v = min(n_0, …, n_{L-1}) that is so for generic weights if L − 1 ≤ v(v + 1)/2 (one more if v <
n_0). Otherwise it follows from the single net (1, 2, …, 2) of the same depth, which is certified by closure: for
each pair of outputs a copy of it sits inside the net, and the antisymmetric 2×2 matrices of all pairs span the
antisymmetric p×p matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from linfa.errors import InputError


class Count(int):
    """A number of laws that says where it comes from: an int with `method` ("formula" or "closure") and `statement`.

    >>> count((2, 3, 2)).method, count((2, 3, 2)) + 1
    ('formula', 8)
    """

    method: str
    statement: str

    def __new__(cls, number: int, method: str, statement: str) -> Count:
        """A count with its origin."""
        result = super().__new__(cls, number)
        result.method = method
        result.statement = statement
        return result

    def __getnewargs__(self) -> tuple[int, str, str]:  # type: ignore[override]
        """What a copy or an unpickled count is made from."""
        return int(self), self.method, self.statement


def count(widths: Sequence[int], rule: str = "fa") -> Count:
    """The number of independent conservation laws that hold for every loss and every data set, at generic weights
    and feedback.

        #laws = D − dim Lie

    Args:
        widths: (n_0, …, n_L), at least three.
        rule: "bp" (gradient flow), "fa", "dfa", "rho-fa", "kp" (Kolen–Pollack, whose moving B_l are counted in D) or
            "readout".

    Returns: a `Count`, which is an int.
    Raises: InputError for a rule that cannot be counted (with the reason), widths that are no positive integers, or
        widths without a formula that are too large to close: more than 400 parameters, or wider than 100.

    >>> count((3, 4, 2, 3)), count((3, 4, 2, 3), rule="dfa")
    (16, 11)
    >>> count((784, 1000, 1000, 10)).method
    'formula'

    Source: derived in theory/; two-layer gradient flow: Marcotte, Gribonval and Peyré 2023.
    """
    # On demand: the calculus imports SymPy, and these laws.
    from linfa.symbolic.named import check_rule
    from linfa.symbolic.problems import check_widths

    check_rule(rule, "count")
    sizes = check_widths(widths)
    known = _FORMULAS[rule](sizes) if rule in _FORMULAS else None
    return _by_closure(sizes, rule) if known is None else known


def _parameters(sizes: tuple[int, ...]) -> int:
    return sum(n * m for n, m in zip(sizes[1:], sizes[:-1], strict=True))


def _by_closure(sizes: tuple[int, ...], rule: str) -> Count:
    from linfa.symbolic.closure import closure, limit, too_large

    if too_large(sizes):
        raise InputError(
            f"no formula is proved for {rule!r} at such widths, and {limit(sizes)}: count smaller widths of the same "
            "shape (the same depth, the same order of the widths)"
        )
    found = closure(sizes, rule)
    return Count(found.laws, "closure", f"{found.status} by closure, dim Lie = {found.lie}: {found.statement}")


def _fixed_paths(sizes: tuple[int, ...]) -> Count | None:
    """Two layers: r n_0 + r (2p − r − 1)/2 with r = min(n_1, p); deeper: p n_0 + (L − 1) p (p − 1)/2 where no layer
    is narrower than p.
    """
    n0, *hidden, p = sizes
    if len(hidden) == 1:
        r = min(hidden[0], p)
        lie = r * n0 + r * (2 * p - r - 1) // 2
        return Count(
            _parameters(sizes) - lie,
            "formula",
            f"two layers, D − r n_0 − r(2p − r − 1)/2 with r = min(n_1, p) = {r}: proved",
        )
    if min(hidden) < p:
        return None
    lie = p * n0 + len(hidden) * p * (p - 1) // 2
    reason = _attained(n0, hidden, p)
    return Count(_parameters(sizes) - lie, "formula", f"hidden widths ≥ p, D − p n_0 − (L − 1) p (p − 1)/2: {reason}")


def _attained(n0: int, hidden: list[int], p: int) -> str:
    """Why dim Lie is not smaller than the formula."""
    v = min(n0, *hidden)
    if p == 1 or len(hidden) <= v * (v + 1) // 2 + (v < n0):
        return "proved"
    from linfa.symbolic.closure import closure

    smallest = (1, *(2 for _ in hidden), 2)
    found = closure(smallest)
    if found.lie != 2 + len(hidden):
        raise InputError(
            f"the formula needs dim Lie = {2 + len(hidden)} for the net {smallest}, and closure reaches {found.lie} "
            f"only: if linfa.symbolic.orbit_rank({smallest}).rank is {2 + len(hidden)}, the formula holds"
        )
    return f"proved, given the certificate of the net {smallest}, which sits inside this one for each pair of outputs"


def _gradient_flow(sizes: tuple[int, ...]) -> Count | None:
    """Two layers, m = n_0 + p: r (r + 1)/2 with r = n_1 if r ≤ m, else r m − m (m − 1)/2."""
    if len(sizes) > 3:
        return None
    n0, r, p = sizes
    m = n0 + p
    number = r * (r + 1) // 2 if r <= m else _parameters(sizes) - m * (m - 1) // 2
    return Count(number, "formula", "two layers, balancedness is complete: Marcotte, Gribonval and Peyré 2023")


def _kolen_pollack(sizes: tuple[int, ...]) -> Count | None:
    """Two layers: B_2 − W_2, and (W_1, B_2) follows a gradient flow."""
    balanced = _gradient_flow(sizes)
    if balanced is None:
        return None
    return Count(
        sizes[1] * sizes[2] + balanced, "formula", "two layers, B_2 − W_2 and the balancedness of (W_1, B_2): proved"
    )


def _read_out(sizes: tuple[int, ...]) -> Count | None:
    """All of W_1, …, W_{L-1}, and W_L on the complement of the features: p (n_{L-1} − rank X_{L-1})."""
    lie = sizes[-1] * min(sizes[:-1])
    return Count(_parameters(sizes) - lie, "formula", "only W_L moves, in p · rank X_{L-1} directions: proved")


_FORMULAS: dict[str, Callable[[tuple[int, ...]], Count | None]] = {
    "fa": _fixed_paths,
    "rho-fa": _fixed_paths,
    "dfa": _fixed_paths,
    "bp": _gradient_flow,
    "kp": _kolen_pollack,
    "readout": _read_out,
}
