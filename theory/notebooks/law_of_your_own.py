# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Derive a law for your own rule
#
# ## Question
#
# You have an idea of how the error might come back: some feedback $B_l$, fixed or made from the weights themselves.
# **What does your rule conserve — and if nothing, why not?** Three ideas, none of which is among the textbook rules:
#
# | name | feedback | idea |
# |---|---|---|
# | mixed | $B_l = \alpha W_l + (1 - \alpha) B_l(0)$ | imperfect weight transport |
# | cubic | $B_l = W_l \odot W_l \odot W_l$ | strong synapses speak louder |
# | scaled signs | $B_l = \lVert W_l\rVert\, \operatorname{sign} W_l$ | the right signs, at the right overall size |
#
# A rule is written as a *word*: a function that takes the layer $l$, possibly symbolic, and returns $B_l$.

# %%
"""Three rules in words."""

import matplotlib.pyplot as plt
import numpy as np
import sympy

import linfa
from linfa.symbolic import B, Rule, W, WordRule, find, found_laws, hadamard, norm, sign

alpha = sympy.Symbol("α")
mixed = Rule("mixed", feedback=lambda l: alpha * W(l) + (1 - alpha) * B(l))
cubic = Rule("cubic", feedback=lambda l: hadamard(W(l), W(l), W(l)))
scaled = Rule("scaled signs", feedback=lambda l: norm(W(l)) * sign(W(l)))

# %% [markdown]
# ## Statement
#
# **The potential principle.** Let the error go back layer by layer through $B_{l+1}(W_{l+1})$. For every loss and all
# data
#
# $$\tfrac12\lVert W_l\rVert^2 - \Phi(W_{l+1}) \text{ is constant} \iff B = \nabla\Phi \iff
# \frac{\partial B_{ij}}{\partial W_{kl}} = \frac{\partial B_{kl}}{\partial W_{ij}} \text{ for all entries.}$$
#
# Where $\Phi$ is a sum over columns of $W_{l+1}$, every hidden neuron $k$ has the law for itself,
# $\tfrac12\lVert W_l[k,:]\rVert^2 - \Phi(W_{l+1}[:,k])$. Where $B$ is a polynomial in the letters, the law may come as
# a whole matrix. And where the *curl* $\partial B_{ij}/\partial W_{kl} - \partial B_{kl}/\partial W_{ij}$ does not
# vanish there is no such $\Phi$: the curl is the obstruction.
#
# ## Derivation
#
# The identity $U_l W_l^\top = B_{l+1}^\top U_{l+1}$ holds for every rule that sends the error back layer by layer,
# because both sides are $M_l E X_l^\top$. Its trace says
#
# $$\tfrac{d}{dt}\tfrac12\lVert W_l\rVert^2 = \langle B_{l+1}, \dot W_{l+1}\rangle,$$
#
# and the right side is $\tfrac{d}{dt}\Phi(W_{l+1})$ exactly when $\langle B, dW\rangle$ is the differential of a
# $\Phi$.
#
# `find` is told the rule and nothing else. For polynomial rules it writes down every product of letters up to a degree,
# differentiates, and solves for the combinations that stand still; for all others it decides whether the curl vanishes.

# %%
findings = find(mixed)
law = findings.one()
print("statement:", law.statement, "\n")
print("LaTeX:    ", law.latex, "\n")
print("certificate, which anyone can replay:")
for line in law.certificate.lines():
    print("   ", line)
assert law.certificate.replay()  # differentiates again, and asks for the zero word
assert all(law.certificate.check(seed) for seed in range(3))  # dQ/dt at random points, in exact integers

# %% [markdown]
# As LaTeX sets it, the law of the mixed rule is
#
# $$W_l W_l^\top - \alpha\, W_{l+1}^\top W_{l+1} - (1-\alpha)\bigl(B_{l+1}^\top W_{l+1} + W_{l+1}^\top B_{l+1}\bigr),$$
#
# backprop's balancedness at $\alpha = 1$, the law of feedback alignment at $\alpha = 0$, and everything between.
#
# The cubic rule is no product of matrices, so there is no matrix law; but its entries integrate, one by one:

# %%
print(find(cubic))
assert find(cubic).laws == ()
assert find(cubic).potential.per == "neuron"

# %% [markdown]
# The third rule looks no stranger. It has no potential, and the finder says why:

# %%
try:
    found_laws(scaled)
    refused = False
except linfa.NoLawError as reason:
    refused = True
    print(reason)
assert refused

# %% [markdown]
# By hand: for two entries $w, w'$ with signs $s, s'$ and $\rho = \lVert W\rVert$ one has
# $\partial(\rho s)/\partial w' = s w'/\rho$, but $\partial(\rho s')/\partial w = s' w/\rho$. They agree only where
# $|w| = |w'|$. The norm makes every entry of $B$ feel every entry of $W$, and the signs do not feel back.
#
# ## Experiment
#
# `WordRule` lets a rule in words be simulated, `found_laws` turns what was found into laws that `solve` can watch.
# First continuous time, then mini-batch SGD with momentum and decay, where the ledger keeps the account of every step.

# %%
WIDTHS = (5, 7, 6, 3)
net = linfa.Weights.standard(WIDTHS, rng=0, scale=0.6)
fixed = linfa.FeedbackAlignment.random(net, rng=1).matrices  # B_2(0), B_3(0)
draw = np.random.default_rng(2)
x = draw.standard_normal((120, 5))
task = linfa.Task.from_samples(x, x @ draw.standard_normal((5, 3)) + 0.1 * draw.standard_normal((120, 3)))

simulated = {
    "mixed": WordRule(mixed, fixed, {alpha: 0.3}),
    "cubic": WordRule(cubic),
    "scaled signs": WordRule(scaled),
}
laws = {"mixed": found_laws(mixed), "cubic": found_laws(cubic), "scaled signs": ()}
continuous = linfa.Flow(t=2.0, saves=40)
sgd = linfa.Descent(learning_rate=0.002, steps=200, batch=12, momentum=0.9, decay=1e-2)
flows, runs = {}, {}
for name, rule in simulated.items():
    system = linfa.Full(net, rule)
    flows[name] = linfa.solve(system, task, continuous)
    runs[name] = linfa.solve(system, task, sgd, laws=laws[name])
    print(f"{name:>12}: loss {float(flows[name].loss[0]):.2f} → {float(flows[name].loss[-1]):.3f}", end="")
    for law in laws[name]:
        exact, drift, rest = law.residual(flows[name]), law.drift(runs[name]), law.residual(runs[name])
        print(f"; flow: law holds to {float(exact.max()):.0e}", end="")
        print(f"; SGD: drifts by {float(drift.max()):.0e}, unexplained {float(rest.max()):.0e}", end="")
        assert exact.max() < 1e-8
        assert drift.max() > 1e-3
        assert rest.max() < 1e-13
    print()

# %% [markdown]
# The third rule learns as well as the others; it has nothing to watch. What would a hopeful theorist write down?
# Perhaps the law that holds while $\lVert W_{l+1}\rVert$ is frozen at its start, $\tfrac12\lVert W_l[k,:]\rVert^2 -
# \lVert W_{l+1}(0)\rVert \sum_i |W_{l+1}[i,k]|$: it belongs to a sign-concordant rule with constant magnitudes, which
# `linfa` knows. We evaluate that law along the run of the *scaled signs*, where it must fail, and along a run of its
# own rule, where it must hold.

# %%
magnitudes = tuple(np.full(W_l.shape, np.linalg.norm(W_l)) for W_l in net[1:])
frozen = linfa.SignConcordant(magnitudes)
own = linfa.solve(linfa.Full(net, frozen), task, continuous)
neuron = linfa.laws.NeuronLaw()
broken, control = neuron.drift(flows["scaled signs"], frozen), neuron.residual(own)
print(f"frozen-norm law along the scaled signs: drifts by {float(broken.max()):.1e}")
print(f"the same law along its own rule:        drifts by {float(control.max()):.1e}")
assert broken.max() > 1e-2
assert control.max() < 1e-6

# %% [markdown]
# Perhaps a cleverer $\Phi$ would do? The obstruction says no, for every $\Phi$ at once, and it can be seen: lead a pair
# of weights once around a closed loop and add up the work $\oint\langle B, dW\rangle$. A gradient does no work around a
# loop. Here the loop is the circle of radius ½ around (2, 1).


# %%
def work(rule, degrees):
    """The work ∫⟨B, dw⟩ done along the circle up to each angle, by the trapezoidal rule."""
    turn = np.radians(degrees)
    circle = np.stack([2 + np.cos(turn) / 2, 1 + np.sin(turn) / 2], axis=1)
    feedback = [rule.feedback(linfa.State((np.ones((2, 1)), w[None])))[0][0] for w in circle]
    forces = (np.array(feedback)[1:] + np.array(feedback)[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(np.sum(forces * np.diff(circle, axis=0), axis=1))])


degrees = np.linspace(0, 360, 361)
pair = {
    "mixed": WordRule(mixed, (np.array([[0.5, -1.0]]),), {alpha: 0.3}),
    "cubic": WordRule(cubic),
    "scaled signs": WordRule(scaled),
}
around = {name: work(rule, degrees) for name, rule in pair.items()}
for name, done in around.items():
    print(f"{name:>12}: work around the loop {done[-1]:+.1e}, at most {np.abs(done).max():.2f} on the way")
assert abs(around["mixed"][-1]) < 1e-12
assert abs(around["cubic"][-1]) < 1e-12
assert abs(around["scaled signs"][-1]) > 0.1

# %% [markdown]
# ## Picture

# %%
LOOKS = {
    "mixed": {"color": "#0072b2", "linestyle": "-"},
    "cubic": {"color": "#009e73", "linestyle": "--"},
    "scaled signs": {"color": "#d55e00", "linestyle": "-."},
}
GREY = "#555555"
figure, axes = plt.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
flowing, stepping, loop = axes

for name in ("mixed", "cubic"):
    (law,) = laws[name]
    seen = law.residual(flows[name]).max("hidden")
    flowing.semilogy(seen["time"][1:], seen[1:], label=f"{name}: the law found", **LOOKS[name])
    drift, rest = law.drift(runs[name]).max("hidden"), law.residual(runs[name]).max("hidden")
    step = runs[name].dataset["step"]
    stepping.semilogy(step[1:], drift[1:], linewidth=0.8, label=f"{name}: without the ledger", **LOOKS[name])
    stepping.semilogy(step[1:], np.maximum(rest[1:], 1e-18), linewidth=2, label=f"{name}: with it", **LOOKS[name])
seen = broken.max("hidden")
flowing.semilogy(seen["time"][1:], seen[1:], label="scaled signs: frozen-norm law", **LOOKS["scaled signs"])
flowing.set(xlabel="time t, one unit = 1/η steps", ylabel="drift, relative to the terms", ylim=(1e-17, 10))
flowing.set_title("a  continuous time")
flowing.legend(frameon=False, loc="center right")
stepping.axhline(np.finfo(float).eps, color=GREY, linestyle=":", label="rounding of float64")
stepping.set(xlabel="step", ylabel="unexplained, relative to the terms", ylim=(1e-18, 10))
stepping.set_title("b  SGD with momentum and decay")
stepping.legend(frameon=False, loc="center right")
for name, done in around.items():
    loop.plot(degrees, done / np.abs(done).max(), label=name, **LOOKS[name])
loop.axhline(0, color=GREY, linewidth=0.8)
loop.set(xlabel="angle along the loop", ylabel=r"work $\int\langle B, dW\rangle$, relative to its largest")
loop.set(title="c  once around a loop", ylim=(-1.1, 0.8), xticks=range(0, 361, 90))
loop.xaxis.set_major_formatter("{x:.0f}°")
_ = loop.legend(frameon=False, loc="upper right")

# %% [markdown]
# **Figure.** Three rules written in words, a linear network of widths (5, 7, 6, 3). **a** In continuous time the laws
# that the finder found hold as well as the solver does (solid, dashed); the best guess for the scaled signs, the law
# with the norm frozen at its start, drifts (dash-dotted). **b** Under SGD (batches of 12, momentum 0.9, decay 0.01) the
# same laws drift (thin), and the ledger explains all of it but rounding (thick). **c** The work $\int\langle B,
# dW\rangle$ of the feedback on two weights led around a circle: back at zero after 360° for the two gradients, not for
# the scaled signs. What depends on the way is no function of the weights: there is no $\Phi$.
#
# ## Exercise
#
# Change one letter of the rule that failed: $B_l = \lVert W_l\rVert\, W_l$ instead of
# $\lVert W_l\rVert \operatorname{sign} W_l$. Is there a law? One per neuron, or one per layer, and why? Then ask for
# which exponents $q$ the rule $B_l = \lVert W_l\rVert^{q} \operatorname{sign} W_l$ has one.
#
# <details><summary>Answer</summary>
#
# Yes: $\partial(\rho w)/\partial w' = w w'/\rho$ is symmetric in $w$ and $w'$, so the curl vanishes, and $B =
# \nabla\Phi$ with $\Phi = \tfrac13\lVert W\rVert^3$. This $\Phi$ is no sum over columns: all neurons of a layer share
# one norm, so there is one law per layer, $\tfrac12\lVert W_l\rVert^2 - \tfrac13\lVert W_{l+1}\rVert^3$. With signs the
# curl is $q\rho^{q-2}(s w' - s' w)$, which vanishes for $q = 0$ only: plain signs, whose potential is
# $\sum_{ij}|W_{ij}|$. The cell below asks the finder, and watches the law of the layer hold.
#
# </details>

# %%
repaired = Rule("scaled weights", feedback=lambda l: norm(W(l)) * W(l))
print(find(repaired))
(law,) = found_laws(repaired)
run = linfa.solve(linfa.Full(net, WordRule(repaired)), task, continuous)
print(f"holds to {float(law.residual(run).max()):.0e} in continuous time")
assert find(repaired).potential.per == "layer"
assert law.residual(run).max() < 1e-8

for q in (0, 1, 2):
    signs = Rule(f"q = {q}", feedback=lambda l, q=q: norm(W(l)) ** q * sign(W(l)))
    lawful = find(signs).potential is not None
    print(f"‖W‖^{q} sign W: {'a law' if lawful else 'none'}")
    assert lawful == (q == 0)
