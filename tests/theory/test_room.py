"""The theory room itself: every claim with an honest status, and no derivation that closes by being printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sympy

from linfa.errors import InputError
from linfa.symbolic import LAYER, W
from theory.claim import Claim, NotClosedError, Proof, Status
from theory.registry import NAMES, claims

ROOT = Path(__file__).resolve().parents[2]
OPEN = {"open_convergence", "open_depth"}
CERTIFIED = {"completeness"}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "theory", *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_closes_with_the_status_it_claims(name):
    (claim,) = claims([name])
    verdict = claim.check()
    expected = Status.OPEN if name in OPEN else Status.CERTIFIED if name in CERTIFIED else Status.PROVED
    assert verdict.reason == ""
    assert verdict.status is expected
    assert claim.name == name
    assert claim.statement.endswith(".")
    assert claim.latex


def test_every_file_that_holds_a_claim_is_listed():
    holders = {p.stem for p in (ROOT / "theory").glob("*.py") if "CLAIM = Claim(" in p.read_text(encoding="utf8")}
    assert holders == set(NAMES)


def test_the_command_lists_claims_and_speaks_json():
    listed = run()
    assert listed.returncode == 0, listed.stderr
    assert all(name in listed.stdout for name in NAMES)
    assert len(re.findall(r"(?:proved|certified|open) +\d+ closed, \d+ in words", listed.stdout)) == len(NAMES)
    objects = json.loads(run("--json").stdout)
    assert [o["name"] for o in objects] == list(NAMES)
    assert all(set(o) == {"name", "statement", "status", "seconds"} for o in objects)


def test_a_name_prints_the_derivation_and_an_unknown_one_is_refused():
    shown = run("matrix_law")
    assert "U_l W_lᵀ = B_{l+1}ᵀ U_{l+1}" in shown.stdout
    assert re.fullmatch(r"proved, \d+ closed, \d+ in words, in \d+\.\d+ s", shown.stdout.strip().splitlines()[-1])
    wrong = run("nonsense")
    assert wrong.returncode == 2
    assert "known claims" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_the_exit_code_tells_of_a_claim_that_does_not_close(monkeypatch):
    from typer.testing import CliRunner

    import theory.__main__ as room

    broken = Claim("broken", "A falsehood.", "0 = 1", lambda proof: proof.vanishes("W_l", W(LAYER)))
    monkeypatch.setattr(room, "claims", lambda names: [broken])
    result = CliRunner().invoke(room.app, [])
    assert result.exit_code == 1
    assert "failed" in result.stdout
    assert "this is left: W_l" in result.stdout


def test_a_derivation_that_closes_nothing_fails():
    assert Claim("empty", "Nothing.", "", lambda proof: proof.say("trust me")).check().status is Status.FAILED


@pytest.mark.parametrize(
    "step",
    [
        lambda proof: proof.vanishes("", W(LAYER)),
        lambda proof: proof.equal("", W(LAYER), 2 * W(LAYER)),
        lambda proof: proof.holds("", None),
        lambda proof: proof.holds("", 1),
        lambda proof: proof.certified("", False),
        lambda proof: proof.fails("", W(LAYER) - W(LAYER)),
        lambda proof: proof.vanishes("", sympy.Matrix([[0, 1]])),
        lambda proof: proof.vanishes("", sympy.Symbol("x")),
    ],
)
def test_a_step_that_does_not_close_raises(step):
    with pytest.raises(NotClosedError):
        step(Proof())


def test_a_verdict_tells_what_was_checked_from_what_was_said():
    def derive(proof):
        proof.say("Let W be a letter.")
        proof.vanishes("W − W", W(LAYER) - W(LAYER))
        proof.show("W", W(LAYER))
        proof.say("Hence, by a named lemma, …")
        proof.fails("W", W(LAYER))
        proof.say("which was to be shown.")

    verdict = Claim("counted", "Two steps close.", "0 = 0", derive).check()
    assert (verdict.closed, verdict.said, verdict.counted()) == (2, 3, "2 closed, 3 in words")


def test_an_exact_computation_is_never_called_a_proof():
    proof = Proof()
    proof.vanishes("a symbolic zero", W(LAYER) - W(LAYER))
    proof.certified("for widths (2, 3, 2)", True)
    assert proof.status is Status.CERTIFIED


def test_unknown_claims_are_named_with_the_known_ones():
    with pytest.raises(InputError, match="matrix_law"):
        claims(["nonsense"])
