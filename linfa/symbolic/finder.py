"""The finder: told only the rule, it returns every conserved word up to a degree and a length.

    Q = Σ c_i · (product i) ,   dQ/dt = 0 for every E   ⇔   c in the null space of a rational matrix

All products of the moving letters and the constants of a shape are written down, differentiated, and the
coefficients solved for exactly. What follows from a law already found (multiples by constants, adjoints, products of
laws, the same law one layer up) is taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy

from linfa.errors import InputError, NoLawError
from linfa.symbolic.alphabet import W
from linfa.symbolic.ansatz import by_shape, closed
from linfa.symbolic.consequences import consequences
from linfa.symbolic.laws import Law
from linfa.symbolic.letters import LAYER, Entrywise, has_norm
from linfa.symbolic.linear import null_space, rank_of
from linfa.symbolic.potential import Obstruction, Potential, potential
from linfa.symbolic.rules import Flow, Rule
from linfa.symbolic.words import Monomial, Scalar, Word, monomial_key

Shape = tuple[sympy.Expr, sympy.Expr]


@dataclass(frozen=True)
class Findings:
    """What the finder found: `laws` (words, complete up to `degree` and `longest`), the `potential` of a feedback
    that depends on W, or the `obstruction`.
    """

    rule: Rule
    degree: int
    longest: int
    laws: tuple[Law, ...]
    potential: Potential | None = None
    obstruction: Obstruction | None = None

    def __str__(self) -> str:
        lines = [law.statement for law in self.laws]
        lines += [found.statement for found in (self.potential, self.obstruction) if found is not None]
        return "\n".join(lines) or f"no law of {self.rule.name} up to degree {self.degree} and length {self.longest}"

    def one(self) -> Law:
        """The only law, or the reason why there is none."""
        if len(self.laws) == 1:
            return self.laws[0]
        if self.obstruction is not None:
            raise self.obstruction.refuse()
        raise NoLawError(f"one law was asked of {self.rule.name}, {len(self.laws)} were found: {self}")


def find(rule: Rule, *, degree: int = 2, longest: int | None = None, depth: int | None = None) -> Findings:
    """Find all conserved words of a rule: matrix-shaped laws, then scalar ones that are no consequences.

        {Q : deg Q ≤ degree, length ≤ longest, dQ/dt = 0 for every E}

    Args:
        rule: built-in or a user's `Rule`.
        degree: the highest degree in the moving letters.
        longest: the longest product of letters; when absent, long enough for W_{l+1}ᵀ B_{l+1}, and 4 for direct
            feedback.
        depth: the number of layers; two adjacent layers l, l + 1 of a net of any depth when absent.

    Returns: `Findings`, whose laws carry statement, LaTeX, certificate and value.
    Raises: InputError for a degree or length below one.

    >>> from linfa.symbolic.rules import FEEDBACK_ALIGNMENT
    >>> for law in find(FEEDBACK_ALIGNMENT).laws: print(law.quantity)
    P_l W_l
    W_l W_lᵀ - B_{l+1}ᵀ W_{l+1} - W_{l+1}ᵀ B_{l+1}
    """
    if degree < 1 or (longest is not None and longest < 1):
        raise InputError(f"the degree and the length of a law are at least 1; {degree} and {longest} came")
    reach = longest or _reach(rule, degree)
    found = _potential(rule)
    if not _polynomial(rule):
        return _findings(rule, degree, reach, (), found)
    flow = rule.flow(LAYER) if depth is None else rule.net(depth)
    return _findings(rule, degree, reach, _search(flow, degree, reach), found)


def _reach(rule: Rule, degree: int) -> int:
    """Long enough for W B on one side of a law, and for α W Wᵀ α with direct feedback."""
    if rule.feedback is None:
        return max(degree, 4)
    return max(degree, *(1 + len(m) for m, _ in rule.feedback(LAYER + 1).terms))


def _findings(
    rule: Rule, degree: int, reach: int, laws: tuple[Law, ...], found: Potential | Obstruction | None
) -> Findings:
    known = found if isinstance(found, Potential) else None
    return Findings(rule, degree, reach, laws, known, found if isinstance(found, Obstruction) else None)


def _polynomial(rule: Rule) -> bool:
    if rule.feedback is None:
        return True
    words = rule.feedback(LAYER + 1)
    weights = W(LAYER + 1).letters()[0]
    hidden = any(isinstance(a, Entrywise) and any(b == weights for _, b in a.parts) for a in words.letters())
    return not hidden and not any(has_norm(c) for _, c in words.terms)


def _potential(rule: Rule) -> Potential | Obstruction | None:
    if rule.feedback is None or rule.learns:
        return None
    return potential(rule.feedback(LAYER + 1), W(LAYER + 1))


def _search(flow: Flow, degree: int, longest: int) -> tuple[Law, ...]:
    found: list[Word | Scalar] = []
    for length in range(1, longest + 1):
        for basis in by_shape(flow, degree, length).values():
            found += _new(flow, basis, found, length)
    for length in range(1, longest + 1):
        basis_scalar: list[Word | Scalar] = list(closed(flow, degree, length))
        found += _new(flow, basis_scalar, found, length)
    return tuple(Law(quantity, flow) for quantity in _independent(flow, found, longest))


def _independent(flow: Flow, found: Sequence[Word | Scalar], longest: int) -> list[Word | Scalar]:
    """Without the laws that follow from longer ones, found later."""
    kept = list(found)
    for law in found:
        others = [other for other in kept if other is not law]
        implied = list(consequences(flow, others, [law], longest))
        position = {m: k for k, m in enumerate(dict.fromkeys(m for c in (law, *implied) for m, _ in c.terms))}
        rows = [row for c in implied if (row := _coordinates(c, position)) is not None]
        target = _coordinates(law, position)
        if target is not None and rank_of([*rows, target]) == rank_of(rows):
            kept = others
    return kept


def _new(
    flow: Flow, basis: Sequence[Word | Scalar], found: Sequence[Word | Scalar], length: int
) -> list[Word | Scalar]:
    """The conserved combinations of a basis that do not follow from the laws already found."""
    if not basis:
        return []
    derivation = flow.derivation
    rates = [derivation(w) for w in basis]
    solutions = null_space([dict(r.terms) for r in rates])
    if not solutions:
        return []
    position = {w.terms[0][0]: k for k, w in enumerate(basis)}
    known = [row for c in consequences(flow, found, basis, length) if (row := _coordinates(c, position)) is not None]
    fresh: list[Word | Scalar] = []
    for vector in sorted(solutions, key=lambda v: (sum(c != 0 for c in v), str(v))):
        if rank_of([*known, vector]) > rank_of(known):
            known.append(vector)
            fresh.append(_normalised(_combined(basis, vector), flow))
    return fresh


def _combined(basis: Sequence[Word | Scalar], vector: Sequence[sympy.Expr]) -> Word | Scalar:
    total = basis[0] * 0
    for w, c in zip(basis, vector, strict=True):
        total = total + w * c
    return total


def _normalised(law: Word | Scalar, flow: Flow) -> Word | Scalar:
    """With coefficient 1 in front of the product of the highest degree and the lowest weights."""
    moving = {source.letters()[0] for source in flow.velocity}

    def order(term: tuple[Monomial, sympy.Expr]) -> tuple[int, bool, object]:
        inside = tuple((a, flag) for a, flag in term[0] if a in moving)
        return (-len(inside), any(a.key[0] != "W" for a, _ in inside), monomial_key(inside))

    leading: sympy.Expr = min(law.terms, key=order)[1]
    return law.__truediv__(leading)


def _coordinates(w: Word | Scalar, position: dict[Monomial, int]) -> list[sympy.Expr] | None:
    if any(m not in position for m, _ in w.terms):
        return None
    row = [sympy.Integer(0)] * len(position)
    for m, c in w.terms:
        row[position[m]] = c
    return row
