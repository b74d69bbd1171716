"""Figures: a style that everybody can read, a gallery that is never half written, and the picture of the main job."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("typer")
from matplotlib.image import imread
from typer.testing import CliRunner

import figures.registry
from figures import gallery, style
from figures.__main__ import app
from figures.figure import Figure
from figures.registry import FIGURES, find
from figures.slope import slope
from linfa.errors import InputError, ResultError
from linfa.rules import REGISTRY

ROOT = Path(__file__).resolve().parent.parent


# ------------------------------------------------------------------------------------------------------------ the style


# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
EYES = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(color: str, eye: str = "normal") -> np.ndarray:
    """CIELAB of a colour as an eye sees it."""
    c = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    t = XYZ @ np.clip(EYES[eye] @ linear, 0, 1) / XYZ.sum(axis=1)
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_colour_space_is_the_one_we_know():
    assert lab("#ffffff") == pytest.approx([100, 0, 0], abs=1e-2)
    assert lab("#ff0000") == pytest.approx([53.24, 80.09, 67.20], abs=2e-2)
    # Red and green of one lightness are what deuteranopes confuse: the transform must bring them together.
    pair = ("#a06000", "#6f7700")
    apart = {eye: np.linalg.norm(lab(pair[0], eye) - lab(pair[1], eye)) for eye in EYES}
    assert apart["deuteranopia"] < apart["normal"] / 2


def test_every_rule_has_a_look():
    assert set(style.RULES) == set(REGISTRY)


@pytest.mark.parametrize("eye", EYES)
def test_no_two_rules_share_a_colour_for_any_eye(eye):
    seen = {rule: lab(look.color, eye) for rule, look in style.RULES.items()}
    for a, b in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 18, (a, b)


def test_in_greyscale_markers_tell_apart_what_lightness_does_not():
    for (a, x), (b, y) in itertools.combinations(style.RULES.items(), 2):
        lightness = abs(lab(x.color)[0] - lab(y.color)[0])
        assert x.marker != y.marker or lightness > 20, (a, b)


def test_theory_and_simulation_differ_in_line_and_weight():
    assert style.THEORY["linestyle"] != style.SIMULATION["linestyle"]
    assert style.THEORY["linewidth"] < style.SIMULATION["linewidth"]


def test_no_text_is_below_seven_points_and_pdf_fonts_are_embedded():
    sizes = [value for key, value in style.SETTINGS.items() if key.endswith(("font.size", "labelsize", "fontsize"))]
    assert min(sizes) >= 7
    assert style.SETTINGS["pdf.fonttype"] == 42


def test_the_style_leaves_the_users_settings_alone():
    with matplotlib.rc_context({"font.size": 23.0}):
        with style.applied():
            assert matplotlib.rcParams["font.size"] == style.SETTINGS["font.size"]
        assert matplotlib.rcParams["font.size"] == 23.0


def test_angles_are_shown_in_degrees():
    with style.applied():
        axes = style.sheet(style.COLUMN, 2).add_subplot()
        style.degrees(axes.yaxis)
        assert axes.yaxis.get_major_formatter()(np.pi / 3) == "60°"


# ---------------------------------------------------------------------------------------------------------- the gallery


def sketch(name: str, draw=None) -> Figure:
    """A figure that needs no study."""

    def line(fast, collect):
        sheet = style.sheet(style.COLUMN, 2)
        axes = sheet.add_subplot()
        axes.plot([0, 1], [0, 1], **style.look("fa", line=True))
        axes.set_xlabel(r"$\Phi$")
        return sheet, f"A line & <nothing> else; fast: {fast}.\n\nSecond paragraph."

    return Figure(name, f"Title of {name}", "Nobody 1900", "A claim.", f"A line of {name}.", draw or line)


def drawn(folder: Path, *names: str) -> Path:
    for name in names:
        gallery.make(sketch(name), folder, gallery.Sources(fast=True))
    return gallery.write_page(folder, ["one", "two", "three"])


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its tags close."""

    EMPTY = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[dict] = []
        self.ids: set[str] = set()
        self.stack: list[str] = []
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.links += [attributes[key] for key in ("href", "src") if key in attributes]
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        if tag == "img":
            self.images.append(attributes)
        if tag not in self.EMPTY:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def check_page(index: Path) -> Page:
    """Every link is relative and leads somewhere, every picture has its description; no script, no network."""
    text = index.read_text(encoding="utf-8")
    page = Page(text)
    assert "http" not in text
    assert "<script" not in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    for link in page.links:
        assert link[1:] in page.ids if link.startswith("#") else (index.parent / link).is_file(), link
    assert all(image["alt"] for image in page.images)
    return page


def not_blank(picture: Path) -> bool:
    return float(np.std(imread(picture)[..., :3])) > 0.01


def test_a_figure_is_a_picture_twice_a_caption_and_its_provenance(tmp_path):
    index = drawn(tmp_path, "one")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.html", "one.json", "one.pdf", "one.png", "one.txt"]
    assert not_blank(tmp_path / "one.png")
    pdf = (tmp_path / "one.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert b"/FontFile2" in pdf
    assert len(pdf) > 3000
    about = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))
    assert (about["preset"], about["inches"]) == ("fast", [style.COLUMN, 2.0])
    page = check_page(index)
    assert [image["alt"] for image in page.images] == ["A line of one."]
    assert "A line &amp; &lt;nothing&gt; else; fast: True." in index.read_text(encoding="utf-8")


def test_drawing_some_keeps_the_others_in_the_order_of_the_registry(tmp_path):
    drawn(tmp_path, "three", "zebra")
    before = (tmp_path / "three.png").stat().st_mtime_ns
    page = check_page(drawn(tmp_path, "one"))
    assert [image["src"] for image in page.images] == ["one.png", "three.png", "zebra.png"]
    assert (tmp_path / "three.png").stat().st_mtime_ns == before


def test_what_is_incomplete_or_not_ours_is_not_shown(tmp_path):
    drawn(tmp_path, "one", "two", "three")
    (tmp_path / "two.pdf").unlink()
    (tmp_path / "three.json").write_text('{"name": "thr', encoding="utf-8")
    (tmp_path / "other.json").write_text("[1]", encoding="utf-8")
    page = check_page(gallery.write_page(tmp_path, ["one", "two", "three"]))
    assert [image["src"] for image in page.images] == ["one.png"]


def test_two_draws_give_the_same_bytes(tmp_path):
    drawn(tmp_path / "a", "one")
    drawn(tmp_path / "b", "one")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    target = gallery.write(tmp_path / "page", b"first")

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(gallery.os, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        gallery.write(target, b"second")
    assert [p.name for p in tmp_path.iterdir()] == ["page"]
    assert target.read_bytes() == b"first"


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"needs a folder to write to.*--out"):
        gallery.write(tmp_path / "file" / "page", b"")


# ----------------------------------------------------------------------------------------------------- the command line


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def sketches(monkeypatch):
    """The command line with three figures that need no study."""
    names = ("one", "two", "three")
    monkeypatch.setattr(figures.registry, "FIGURES", {name: sketch(name) for name in names})
    return figures.registry.FIGURES


def test_the_list_has_one_line_per_figure():
    result = invoke("--list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == len(FIGURES)
    for line, figure in zip(lines, FIGURES.values(), strict=True):
        assert line.startswith(figure.name)
        assert figure.paper in line
        assert line.endswith(figure.claim)


def test_an_unknown_figure_is_one_sentence_that_lists_the_known(tmp_path):
    result = invoke("nothing", "--out", str(tmp_path / "never"))
    assert result.exit_code == 2
    assert result.stderr == f"InputError: the known figures are {', '.join(FIGURES)}; got nothing\n"
    assert not (tmp_path / "never").exists()


def test_figures_are_found_once_and_all_where_none_is_named():
    assert find([]) == list(FIGURES.values())
    assert [f.name for f in find(["conservation", "conservation"])] == ["conservation"]


def test_names_select_figures_and_the_page_is_the_last_line(tmp_path, sketches):
    result = invoke("two", "--fast", "--out", str(tmp_path))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == str(tmp_path / "index.html")
    assert [image["src"] for image in check_page(tmp_path / "index.html").images] == ["two.png"]


def test_the_full_preset_is_said(tmp_path, sketches):
    assert invoke("one", "--full", "--out", str(tmp_path)).exit_code == 0
    assert "fast: False" in (tmp_path / "one.txt").read_text(encoding="utf-8")


def test_ctrl_c_leaves_what_is_finished_and_says_how_to_go_on(tmp_path, sketches):
    def stop(fast, collect):
        raise KeyboardInterrupt

    sketches["two"] = sketch("two", stop)
    result = invoke("--out", str(tmp_path))
    assert result.exit_code == 130
    assert "1 of 3 figures are finished" in result.stderr
    assert f"python -m figures two three --fast --out {tmp_path}" in result.stderr
    assert [image["src"] for image in check_page(tmp_path / "index.html").images] == ["one.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.html", "one.json", "one.pdf", "one.png", "one.txt"]


@pytest.mark.parametrize("package", ["matplotlib", "typer"])
def test_a_missing_extra_is_one_sentence_that_names_it(package):
    code = f"import sys, runpy; sys.modules[{package!r}] = None; sys.argv = ['figures', '--list']\n"
    code += "runpy.run_module('figures', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.removeprefix("MissingExtraError: ").startswith(f"{package} is needed ")
    assert line.endswith('python -m pip install "linfa[figures]"')


# --------------------------------------------------------------------------------------------------------- the main job


def command(folder: Path, cache: Path) -> tuple[list[str], dict]:
    arguments = [sys.executable, "-W", "error", "-m", "figures", "--fast", "--jobs", "1", "--out", str(folder)]
    return arguments, {"cwd": ROOT, "env": os.environ | {"LINFA_CACHE": str(cache)}, "text": True}


def test_the_main_job_ends_in_a_gallery_and_can_be_stopped_and_resumed(tmp_path):
    """Stopped by a real ctrl-C after its first cells; run again to its end; run once more to the same bytes."""
    arguments, options = command(tmp_path / "gallery", tmp_path / "cache")
    first = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    while first.poll() is None and len(list((tmp_path / "cache").rglob("*.nc"))) < 3:
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130, said
    assert f"0 of {len(FIGURES)} figures are finished" in said
    assert not (tmp_path / "gallery" / "index.html").exists()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.nc") if not p.name.startswith(".")}
    assert len(kept) >= 2

    second = subprocess.run(arguments, capture_output=True, check=False, **options)
    assert second.returncode == 0, second.stderr
    assert second.stdout.splitlines()[-1] == str((tmp_path / "gallery" / "index.html").resolve())
    assert all(p.stat().st_mtime_ns == before for p, before in kept.items())
    page = check_page(tmp_path / "gallery" / "index.html")
    assert [image["src"] for image in page.images] == [f"{name}.png" for name in FIGURES]
    assert all(not_blank(tmp_path / "gallery" / image["src"]) for image in page.images)

    again, options = command(tmp_path / "again", tmp_path / "cache")
    subprocess.run(again, capture_output=True, check=True, **options)
    for path in (tmp_path / "gallery").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name

    check_conservation(tmp_path / "gallery")
    for figure in FIGURES.values():
        check_text(figure, tmp_path / "cache")


def check_text(figure: Figure, cache: Path) -> None:
    """No heading, label, legend or note is cut off by the edge, and no two headings overlap."""
    with style.applied():
        sheet, _ = figure.draw(True, gallery.Sources(fast=True, jobs=1, cache=cache))
        sheet.draw_without_rendering()
        headings = [axes._left_title.get_window_extent() for axes in sheet.axes]
        words = [t for axes in sheet.axes for t in (axes.xaxis.label, axes.yaxis.label, *axes.texts)]
        boxes = headings + [t.get_window_extent() for t in words if t.get_text()]
        boxes += [legend.get_window_extent() for legend in sheet.legends]
    assert all(sheet.bbox.x0 <= box.x0 and box.x1 <= sheet.bbox.x1 for box in boxes)
    assert all(sheet.bbox.y0 <= box.y0 and box.y1 <= sheet.bbox.y1 for box in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(headings, 2))


def check_conservation(folder: Path) -> None:
    """The figure says what was run, whose it is, and which configurations it was drawn from."""
    about = json.loads((folder / "conservation.json").read_text(encoding="utf-8"))
    for words in ("digits", "64–24–24–10", "momentum 0.9", "Robertson & Koyejo", "Lillicrap", "our statement"):
        assert words in about["caption"]
    (asked,) = about["studies"]
    assert asked["study"] == "conservation"
    assert len(set(asked["configurations"])) == len(asked["configurations"]) > 40
    assert about["inches"][0] == style.DOUBLE


def test_pictures_do_not_depend_on_what_was_drawn_before():
    def picture() -> bytes:
        buffer = BytesIO()
        with style.applied():
            sheet, _ = sketch("one").draw(True, None)
            sheet.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    first = picture()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert picture() == first


def test_a_slope_is_not_drawn_through_one_point():
    with pytest.raises(ResultError, match="the order of Gauss 3 needs two different points at least; got 1"):
        slope([0.1, 0.1], [1e-13, 2e-13], "the order of Gauss 3")
