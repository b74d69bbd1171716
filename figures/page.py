"""The gallery's page: plain HTML that opens from disk, on a phone and in the dark; no script, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark;
        --text: #1b1b1b; --faint: #5a5a5a; --ground: #fcfcfa; --line: #d8d8d4; --link: #005a9c }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e4; --faint: #a9a9a4; --ground: #161618; --line: #3a3a3e; --link: #7cc4ff }
}
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--ground); color: var(--text);
       font: 1rem/1.55 system-ui, sans-serif }
a { color: var(--link) }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin: 2.5rem 0 .2rem }
nav ul { padding-left: 1.2rem }
.claim { margin: .2rem 0 .8rem; color: var(--faint) }
figure { margin: 0 }
.picture { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; background: #fff }
.picture img { display: block; width: 100%; height: auto }
figcaption p { margin: .7rem 0; overflow-wrap: anywhere }
details { color: var(--faint); font-size: .875rem; overflow-wrap: anywhere }
footer { margin-top: 3rem; border-top: 1px solid var(--line); color: var(--faint); font-size: .875rem }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>linfa: figures</title>
<style>{style}</style>
</head>
<body>
<header><h1>linfa: figures</h1>
<p>Deep linear networks under feedback alignment. Each picture links to its PDF.</p></header>
<nav aria-label="Figures"><ul>
{contents}
</ul></nav>
<main>
{figures}
</main>
<footer><p>Drawn by <code>python -m figures</code> of linfa {version}.</p></footer>
</body>
</html>
"""

ENTRY = """<article id="{name}">
<h2>{title}</h2>
<p class="claim">{paper}. {claim}</p>
<figure>
<div class="picture" tabindex="0" role="region" aria-label="{title}"><a href="{name}.pdf"
><img src="{name}.png" alt="{alt}" style="min-width: {pixels}px"></a></div>
<figcaption>
{caption}
<p><a href="{name}.pdf">PDF</a> · <a href="{name}.png">PNG</a> · <a href="{name}.txt">caption</a>
 · <a href="{name}.json">how it was made</a></p>
<details><summary>Provenance: linfa {linfa}, preset {preset}</summary>
{studies}
</details>
</figcaption>
</figure>
</article>"""


def page(figures: Sequence[dict[str, Any]]) -> str:
    """Return the page for figures described as `gallery.make` describes them."""
    return PAGE.format(
        style=STYLE,
        contents="\n".join(f'<li><a href="#{escape(f["name"])}">{escape(f["title"])}</a></li>' for f in figures),
        figures="\n".join(map(_entry, figures)),
        version=escape(", ".join(sorted({f["linfa"] for f in figures}))),
    )


def _entry(about: dict[str, Any]) -> str:
    text = {k: escape(about[k]) for k in ("name", "title", "paper", "claim", "alt", "linfa", "preset")}
    caption = "\n".join(f"<p>{escape(part)}</p>" for part in about["caption"].split("\n\n"))
    studies = "\n".join(map(_study, about["studies"])) or "<p>No study was asked.</p>"
    return ENTRY.format(**text, caption=caption, studies=studies, pixels=round(96 * about["inches"][0]))


def _study(asked: dict[str, Any]) -> str:
    hashes = " ".join(f"<code>{escape(name)}</code>" for name in asked["configurations"])
    how = "recorded" if asked["recorded"] else "computed"
    return f"<p>Study {escape(asked['study'])}, {how} {escape(asked['made'])}; configurations {hashes}</p>"
