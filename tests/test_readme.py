"""The README tells the truth: its Python blocks run, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    source = "\n".join(blocks("python"))
    assert source.count("assert") >= 4
    exec(compile(source, "README.md", "exec"), {})


def test_the_two_commands_are_the_promised_ones():
    assert [block.strip() for block in blocks("sh")] == [
        'python -m pip install -e ".[all]" && python -m figures --fast',
        'python -m pip install -e ".[all,test]" && python -m pytest',
    ]


def test_every_name_in_backticks_that_looks_like_an_attribute_exists():
    import linfa

    for owner, name in re.findall(r"`(Weights|Task|dominated)\.(\w+)`", README):
        assert hasattr(getattr(linfa, owner), name), f"{owner}.{name}"


def test_every_room_that_the_readme_names_can_be_run():
    for room in re.findall(r"python -m ([\w.]+)", README):
        if room not in {"pip", "pytest"}:
            assert (ROOT / room.replace(".", "/") / "__main__.py").is_file(), room


def test_the_table_of_the_published_setting_is_the_record_to_its_last_digit():
    pytest.importorskip("matplotlib")
    import numpy as np

    from figures.convnets import ACCURACY
    from sims.convnets import PART
    from sims.recorded import on_record

    words = {"bp": "BP", "usf-sn": "uSF-SN", "usf-init": "uSF-Init", "fa-dense": "FA, dense"}
    words["fa"] = "FA, transposed convolution (Toeplitz)"
    for result in on_record(PART):
        rule, angle = result.cell.rule, np.degrees(result.data["sent_angle"].sel(sent_layer="conv2").values)
        row = f"| {words[rule]} | {100 * float(result.data['test_accuracy'][-1]):.1f} | {ACCURACY[rule]:.1f} |"
        if rule != "bp":
            row += f" {angle[0]:.1f}° → {angle.min():.1f}° → {angle[-1]:.1f}° |"
        assert row in README


def test_what_dominance_is_said_to_buy_is_on_record():
    pytest.importorskip("matplotlib")
    from figures import classes, guided
    from sims.recorded import on_record

    ends = list({str(r.cell.source): r for r in on_record(classes.STUDY)}.values())[:3]  # at most classes; no teacher
    groups: dict[str, dict[str, object]] = {}
    for r in on_record(guided.PART):
        groups.setdefault(r.cell.setting.data, {})[r.cell.name] = r
    parts = [[classes.closed(r, rule) for r in ends] for rule in ("fa-dominated", "fa-aligned")]
    for part, way in zip(parts, ("dominated", "aligned"), strict=True):
        part += [guided.closed(group, way) for group in groups.values()]
    said = README[README.index("Does alignment dominance buy accuracy?") : README.index("## How fast")]
    dominated, aligned = said.split("The control")
    assert re.findall(r"(\d+) %", dominated) == [f"{100 * part:.0f}" for part in parts[0]]
    assert re.findall(r"(\d+) %", aligned) == [f"{100 * part:.0f}" for part in parts[1]]
    gains = [classes.gap(r) for r in ends]
    assert re.findall(r"\((\d\.\d ± \d\.\d)", dominated) == [f"{g.gain:.1f} ± {g.spread:.1f}" for g in gains]
