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
# # A ten-minute tour
#
# ## Question
#
# A deep linear network $f(x) = W_L \cdots W_1 x$ learns by gradient descent when its error travels back through the
# transposed weights. A brain has no such transport of weights. In *feedback alignment* (FA) the error travels back
# through fixed random matrices $B_2, \dots, B_L$ instead,
#
# $$\dot W_l = U_l = \delta_l\, h_{l-1}^\top, \qquad \delta_{l} = B_{l+1}^\top \delta_{l+1},$$
#
# and the network learns all the same. **What ties $W$ to a $B$ that it has never seen? Can one know before training
# that it will end well?**
#
# Four objects set up the experiment: a *task*, a *net*, a *rule*, and *laws* that are watched on the way.

# %%
"""Task, net, rule: what the tour is about."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

import linfa
from linfa.conditions import NeuronDominance
from linfa.symbolic import FEEDBACK_ALIGNMENT, LAYER, B, W, increment, sym

WIDTHS = (6, 12, 10, 3)
task = linfa.Task.teacher(6, 3, rng=0, spectrum=[2.0, 1.0, 0.5])  # y = T x, whitened inputs, three modes
net = linfa.Weights.standard(WIDTHS, rng=1, scale=0.5)  # W_l[i, j] ~ N(0, 0.5²/n_{l−1})
rule = linfa.FeedbackAlignment.random(net, rng=2)  # B_2, B_3, drawn once
run = linfa.solve(linfa.Full(net, rule), task, linfa.Flow(t=40.0, saves=400))

print(f"loss {float(run.loss[0]):.3f} → {float(run.loss[-1]):.1e}")
print("angle between W_l and B_l, l = 2, 3, in degrees:")
print("  at the start", np.degrees(np.arccos(run.alignment[0])).values.round(1))
print("  at the end  ", np.degrees(np.arccos(run.alignment[-1])).values.round(1))
assert run.loss[-1] < 1e-6
assert (run.alignment[-1] > run.alignment[0] + 0.1).all()

# %% [markdown]
# The weights turn towards the feedback, and the loss vanishes.
#
# ## Statement
#
# **The law.** For every hidden layer, every loss and every data set the symmetric matrix
#
# $$C_l = W_l W_l^\top - B_{l+1}^\top W_{l+1} - W_{l+1}^\top B_{l+1}$$
#
# is constant in continuous time. Half of its diagonal says it neuron by neuron: what neuron $k$ gains in its incoming
# weights it pays for in alignment of its outgoing ones,
#
# $$\tfrac12\lVert W_l[k,:]\rVert^2 - \langle B_{l+1}[:,k],\, W_{l+1}[:,k]\rangle = \text{const}.$$
#
# **The ledger.** A finite step $W \to W + \Delta W$ changes $C_l$, by an amount that is known exactly. For plain
# steps $\Delta W_l = \eta U_l$ it is $\eta^2 U_l U_l^\top$; with momentum and weight decay the ledger adds up what they
# contribute.
#
# **Dominance.** The margin $\kappa_k = \langle B_{l+1}[:,k], W_{l+1}[:,k]\rangle - \tfrac12\lVert W_l[k,:]\rVert^2$
# never moves. A neuron that starts with $\kappa_k \ge 0$ stays aligned for ever, whatever it is taught.
#
# **Convergence.** Let $M_1 = B_2^\top \cdots B_L^\top$ have full column rank, with least singular value $\sigma$, and
# let $Y$ be the best linear map. Under the squared loss, from *every* start, the loss reaches its least value $L^*$,
# and
#
# $$\int_0^\infty (L - L^*)\,dt \;\le\; K = \tfrac14\lVert W_1(0)\rVert^2 + \tfrac18\lVert W_L(0)\rVert^2 +
# \tfrac18\sum_{l=2}^{L}\lVert W_l(0) - B_l\rVert^2 + \frac{\lVert Y\rVert^2}{\sigma^2}.$$

# %% [markdown]
# ## Derivation
#
# One identity carries everything. With $X_l = W_l\cdots W_1$ and the path $M_l = B_{l+1}^\top M_{l+1}$ the update is
# $U_l = M_l E X_{l-1}^\top$, so
#
# $$U_l W_l^\top = M_l E X_l^\top = B_{l+1}^\top M_{l+1} E X_l^\top = B_{l+1}^\top U_{l+1}.$$
#
# Add the transpose: the left side becomes $\tfrac{d}{dt} W_l W_l^\top$, the right side
# $\tfrac{d}{dt}(B_{l+1}^\top W_{l+1} + W_{l+1}^\top B_{l+1})$, because $B$ stands still. That is the law. Nothing was
# asked of $E$: hence *every loss, all data*.
#
# The calculus of `linfa.symbolic` does the same with words instead of numbers, for all depths and widths at once.

# %%
flow = FEEDBACK_ALIGNMENT.flow(LAYER)  # layers l and l + 1 of a net of any depth
C = W(LAYER) @ W(LAYER).T - sym(B(LAYER + 1).T @ W(LAYER + 1))  # sym(A) = A + Aᵀ
print("C_l        =", C)
print("dC_l/dt    =", flow.derivation(C))
print("one step   =", {f"η^{k}": str(change) for k, change in increment(C, flow).items()})
assert flow.derivation(C).is_zero()
assert set(increment(C, flow)) == {2}  # a step changes C_l at second order only: by U_l U_lᵀ

# %% [markdown]
# The convergence bound rests on the law as well. The read-out pays for what is learnt,
# $\tfrac{d}{dt}\bigl(\tfrac12\lVert W_L\rVert^2 - \langle Y, \Phi\rangle\bigr) = -2(L - L^*)$ with
# $\Phi = \int E\,dt$; the first layer writes $\Phi$ down, $W_1 = W_1(0) + M_1\Phi$; and the traces of the laws bound
# every layer by the one above. So the left side cannot fall for ever. The proof, step by step and checked:
# `python -m theory convergence`.
#
# ## Experiment
#
# **1. The law along the flow.** The residual is what the law leaves unexplained, relative to its terms.

# %%
law = linfa.laws.MatrixLaw()
print(f"largest residual: {float(law.residual(run).max()):.1e}")
assert law.residual(run).max() < 1e-10

# %% [markdown]
# **2. The ledger.** Noisy labels and mini-batches leave the law alone: it holds for all data. Finite steps, momentum
# and weight decay break it. Given to `solve`, the law becomes a monitor that sees every step.

# %%
draw = np.random.default_rng(3)
x = draw.standard_normal((200, 6))
noisy = linfa.Task.from_samples(x, x @ task.cross.T + 0.3 * draw.standard_normal((200, 3)))
sgd = linfa.Descent(learning_rate=0.01, steps=400, batch=20, momentum=0.9, decay=1e-2)
steps = linfa.solve(linfa.Full(net, rule), noisy, sgd, laws=[law])

print(f"without the ledger: {float(law.drift(steps)[-1].max()):.1e}")
print(f"with the ledger:    {float(law.residual(steps).max()):.1e}")
assert law.drift(steps)[-1].max() > 1e-2
assert law.residual(steps).max() < 1e-14

# %% [markdown]
# **3. Dominance.** Two starts under the same feedback: the standard one, and one that is dominated by construction.
# Only the starting point looks at $B$; nothing is transported afterwards. We take the margin $\kappa_k$ of every neuron
# at the start, check that it stays, and follow the angle between outgoing weights and feedback.

# %%
dominated = linfa.Weights.dominated(rule.matrices, n_in=6, rng=4, scale=0.5, margin=0.5, per_neuron=True)
guarded = linfa.solve(linfa.Full(dominated, rule), task, linfa.Flow(t=40.0, saves=400))
condition = NeuronDominance()


def angles(run):
    """The angle between W_{l+1}[:,k] and B_{l+1}[:,k] of every hidden neuron, in degrees, by (time, neuron)."""
    rows = []
    for state in run.states():
        pairs = list(zip(rule.matrices, state.weights[1:], strict=True))
        dot = np.concatenate([np.sum(B * W, axis=0) for B, W in pairs])
        lengths = np.concatenate([np.linalg.norm(B, axis=0) * np.linalg.norm(W, axis=0) for B, W in pairs])
        rows.append(np.degrees(np.arccos(np.clip(dot / lengths, -1, 1))))
    return np.array(rows)


for name, seen in (("standard", run), ("dominated", guarded)):
    kappa = np.concatenate(condition.neurons(rule, seen.state(0)))
    moved = np.abs(np.concatenate(condition.neurons(rule, seen.state(-1))) - kappa).max()
    beyond = int(np.sum(angles(seen).max(0) > 90))
    print(f"{name:>9}: {int(np.sum(kappa >= 0)):2d} of {kappa.size} neurons have κ_k ≥ 0 at the start, worst margin")
    print(f"           {kappa.min():+.3f}, which moves by {moved:.0e}; {beyond} neurons are ever beyond 90°")

assert condition.along(guarded).min() > 0  # dominated at the start, dominated for ever …
assert angles(guarded).max() < 90  # … and so never misaligned
assert condition.margin(rule, run.state(0)).max() < 0
assert np.isclose(condition.along(run).values, condition.along(run).values[0], atol=1e-9).all()

# %% [markdown]
# The standard start is not dominated, and many of its neurons are misaligned for a while. It converges
# nevertheless: dominance is sufficient, not necessary.
#
# **4. Convergence.** The bound $K$ is known before training. We integrate $L - L^*$ along both runs.


# %%
def bound(net):
    """K, from the start, the feedback and the best linear map alone."""
    M_1 = rule.paths(linfa.State(net.matrices))[0]
    sigma = np.linalg.svd(M_1, compute_uv=False)[-1]
    Y = task.cross @ np.linalg.pinv(task.second)
    gaps = sum(np.sum((W_l - B_l) ** 2) for W_l, B_l in zip(net[1:], rule.matrices, strict=True))
    return np.sum(net[0] ** 2) / 4 + np.sum(net[-1] ** 2) / 8 + gaps / 8 + np.sum(Y**2) / sigma**2


def paid(run):
    """∫(L − L*) dt up to every saved moment, by the trapezoidal rule; this task has L* = 0."""
    return run.loss.cumulative_integrate("time")


for name, start, seen in (("standard", net, run), ("dominated", dominated, guarded)):
    print(f"{name:>9}: ∫(L − L*)dt = {float(paid(seen)[-1]):.2f} ≤ K = {bound(start):.1f}")
    assert paid(seen)[-1] <= bound(start)
    assert seen.loss[-1] < 1e-5

# %% [markdown]
# ## Picture

# %%
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#555555"
PLAIN = {"color": BLUE, "linestyle": "-"}
DASHED = {"color": ORANGE, "linestyle": "--"}

figure, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
sides, ledger, angle, integral = axes.flat

incoming, outgoing = [], []
for state in run.states():
    both = linfa.laws.NeuronLaw().sides(rule, state)
    incoming.append(np.concatenate(both[0]))
    outgoing.append(np.concatenate(both[1]))
gained, traded = (np.array(side) - side[0] for side in (incoming, outgoing))
ends = np.array([traded.min(), traded.max()])
sides.plot(ends, ends, color="black", linewidth=0.8, label="the law: slope 1")
sides.plot(traded[::8], gained[::8], "o", markersize=3, color=BLUE, markeredgewidth=0)
sides.plot([], [], "o", markersize=3, color=BLUE, label=f"{traded.shape[1]} neurons, in time")
sides.set(xlabel=r"change of $\langle B_{l+1}[:,k],\, W_{l+1}[:,k]\rangle$", title="a  the two sides of the law")
sides.set_ylabel(r"change of ½$\Vert W_l[k,:]\Vert^2$")
sides.legend(frameon=False)

count = steps.dataset["step"]
ledger.semilogy(count[1:], law.drift(steps).max("hidden")[1:], label="without the ledger", **DASHED)
ledger.semilogy(count[1:], law.residual(steps).max("hidden")[1:], label="with the ledger", **PLAIN)
ledger.axhline(np.finfo(float).eps, color=GREY, linestyle=":", label="rounding of float64")
ledger.set(xlabel="step", ylabel="unexplained, relative to the terms", title="b  SGD with momentum and decay")
ledger.legend(frameon=False, loc="center right")

angle.plot(run.times, angles(run), linewidth=0.8, **DASHED)
angle.plot(guarded.times, angles(guarded), linewidth=0.8, **PLAIN)
angle.plot([], [], label="standard start", **DASHED)
angle.plot([], [], label="dominated start", **PLAIN)
angle.axhline(90, color="black", linewidth=0.8)
angle.set(xlabel="time t, one unit = 1/η steps", ylabel="angle of a neuron's output to its feedback")
angle.set(title="c  a dominated start never passes 90°", xlim=(0, 12), ylim=(0, 180), yticks=range(0, 181, 45))
angle.yaxis.set_major_formatter("{x:.0f}°")
angle.legend(frameon=False)

for seen, start, style in ((run, net, DASHED), (guarded, dominated, PLAIN)):
    name = "standard" if seen is run else "dominated"
    integral.loglog(seen.times[1:], paid(seen)[1:], label=f"measured, {name} start", **style)
    integral.axhline(bound(start), color=style["color"], linestyle=":", label=f"bound K, {name} start")
integral.set(xlabel="time t, one unit = 1/η steps", ylabel=r"$\int_0^t (L - L^*)\,ds$")
integral.set(title="d  convergence: the integral is bounded")
integral.set_ylim(bottom=0.05)
_ = integral.legend(frameon=False, loc="lower right")

# %% [markdown]
# **Figure.** Feedback alignment of a linear network of widths (6, 12, 10, 3) on a linear teacher. **a** The two sides
# of the neuron law along the flow, every hidden neuron, every eighth moment: all on the line of slope one. **b** The
# matrix law under SGD (batches of 20, momentum 0.9, decay 0.01): it drifts (dashed), and the ledger accounts for all
# of the drift but rounding (solid). **c** The angle between a neuron's outgoing weights and its feedback: from a
# dominated start (solid) no neuron ever passes 90°, from a standard start (dashed) many do. **d** The integrated excess
# loss levels off (dashed, solid), far below the bound $K$ (dotted) that was known before training: a guarantee for
# every teacher of this size is not a prediction for this one.
#
# ## Exercise
#
# Under plain steps, $\Delta W_l = \eta U_l$, the margin $\kappa_k$ is no longer constant. Which way does it move, and
# by how much in all? Is a dominated start still safe under finite steps? Work it out with $U_l W_l^\top =
# B_{l+1}^\top U_{l+1}$, then measure.
#
# <details><summary>Answer</summary>
#
# $-2\kappa_k$ is the $k$-th diagonal entry of $C_l$, and a step adds $\eta^2 U_l U_l^\top$ to $C_l$. So
#
# $$\kappa_k(T) = \kappa_k(0) - \tfrac12\eta^2\sum_{\text{steps}}\lVert U_l[k,:]\rVert^2.$$
#
# It can only fall, and over a fixed time $T$ = steps × η the sum is of order $T/\eta$, so that the loss of margin is of
# order $\eta T$: halve the learning rate and you lose half as much. A dominated start is safe as long as its margin
# covers that. The cell below measures both.
#
# </details>

# %%
lost = []
for rate in (0.02, 0.01):
    plain = linfa.Descent(learning_rate=rate, steps=round(10 / rate), saves=round(10 / rate))
    walk = linfa.solve(linfa.Full(dominated, rule), task, plain)
    kappa = np.array([np.concatenate(condition.neurons(rule, state)) for state in walk.states()])
    paid_for = np.zeros(kappa.shape[1])
    for before, after in pairwise(walk.states()):
        step = [
            np.sum((W_new - W_old) ** 2, axis=1) for W_old, W_new in zip(before.weights, after.weights, strict=True)
        ]
        paid_for += np.concatenate(step[:-1]) / 2  # ½‖ηU_l[k,:]‖² of every hidden neuron
    assert np.allclose(kappa[0] - kappa[-1], paid_for, atol=1e-12)
    assert np.all(np.diff(kappa, axis=0) <= 1e-14)  # it only falls …
    assert kappa.min() > 0  # … and here it stays positive
    lost.append((kappa[0] - kappa[-1]).max())
    print(f"η = {rate}: the margins start at {kappa[0].min():.4f} or more and fall by at most {lost[-1]:.1e}")
assert 1.6 < lost[0] / lost[1] < 2.4
