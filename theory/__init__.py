"""One file per claim: its statement, a derivation that closes, where it is tight, what fails without a hypothesis.

`python -m theory` checks every claim and lists it; `python -m theory NAME` prints the derivation step by step.
"""
