"""Words on paper: the same sum as plain text and as LaTeX."""

from __future__ import annotations

import re

import sympy

from linfa.symbolic.letters import AnyLetter, Entrywise, Letter
from linfa.symbolic.words import Monomial, Scalar, Word

_GREEK = {"Σ": r"\Sigma", "α": r"\alpha", "β": r"\beta", "λ": r"\lambda", "μ": r"\mu", "η": r"\eta"}
_FUNCTIONS = {"id": "{}", "sign": r"\operatorname{{sign}}({})", "abs": r"|{}|"}


def text(expression: Word | Scalar) -> str:
    """The sum in plain text.

    >>> from linfa.symbolic.alphabet import B, W
    >>> from linfa.symbolic.words import sym
    >>> text(W(1) @ W(1).T - sym(B(2).T @ W(2)))
    'W_1 W_1ᵀ - B_2ᵀ W_2 - W_2ᵀ B_2'
    """
    pieces = [_term(str(_plain(c)), _text_product(m, isinstance(expression, Scalar))) for m, c in expression.terms]
    return _joined(pieces)


def latex(expression: Word | Scalar) -> str:
    r"""The sum in LaTeX.

    >>> from linfa.symbolic.alphabet import B, W
    >>> from linfa.symbolic.words import inner
    >>> print(latex(inner(B(2), W(2))))
    \operatorname{tr}(B_{2} W_{2}^\top)
    """
    scalar = isinstance(expression, Scalar)
    return _joined([_term(_latex_coefficient(c), _latex_product(m, scalar)) for m, c in expression.terms])


def latex_letter(letter: AnyLetter) -> str:
    """One letter in LaTeX: W_{l+1}, or an entrywise product of letters."""
    if isinstance(letter, Entrywise):
        parts = (_FUNCTIONS[f].format(latex_letter(a)) for f, a in letter.parts)
        return r"(" + r" \odot ".join(parts) + ")" if len(letter.parts) > 1 else next(iter(parts))
    name = _GREEK.get(letter.name, letter.name)
    return name if letter.index is None else f"{name}_{{{sympy.latex(letter.index).replace(' ', '')}}}"


def _plain(coefficient: sympy.Expr) -> str:
    return re.sub(r"norm\(([^()]*)\)", r"‖\1‖", str(coefficient))


def _latex_coefficient(coefficient: sympy.Expr) -> str:
    norms = {e: sympy.Dummy() for e in coefficient.atoms(sympy.Function("norm"))}
    names = {symbol: rf"\|{e.args[0].name}\|_F" for e, symbol in norms.items()}
    return str(sympy.latex(coefficient.subs(norms), symbol_names=names))


def _text_product(monomial: Monomial, traced: bool) -> str:
    inside = " ".join(_text_letter(a) + ("ᵀ" if flag else "") for a, flag in monomial)
    if traced:
        return f"tr({inside})" if monomial else ""
    return inside or "I"


def _text_letter(letter: AnyLetter) -> str:
    label = letter.label
    simple = isinstance(letter, Letter) or len(letter.parts) > 1
    return label if simple else label[1:-1]


def _latex_product(monomial: Monomial, traced: bool) -> str:
    inside = " ".join(latex_letter(a) + (r"^\top" if flag else "") for a, flag in monomial)
    if traced:
        return rf"\operatorname{{tr}}({inside})" if monomial else ""
    return inside or "I"


def _term(coefficient: str, product: str) -> str:
    if not product:
        return coefficient
    if coefficient in {"1", "-1"}:
        return product if coefficient == "1" else f"-{product}"
    bare = re.sub(r"\\\w+|[{}]", "", coefficient).lstrip("-")
    wrapped = f"({coefficient})" if "+" in bare or "-" in bare else coefficient
    return f"{wrapped} {product}"


def _joined(terms: list[str]) -> str:
    if not terms:
        return "0"
    terms = sorted(terms, key=lambda t: t.startswith("-"))
    return terms[0] + "".join(f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in terms[1:])
