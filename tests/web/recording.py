"""Turn an asciicast into an animated SVG, a frame for each picture the terminal showed, so that a README can play it."""

import html
import json
from pathlib import Path

from holdfast.view import cells
from holdfast.view.engine import Engine

PAUSE_S = 1.6  # longest rest between two pictures: nobody waits for a compiler in a README
LEAST_S = 0.12  # shorter pictures are shown together
LAST_S = 6.0
WIDTH, HEIGHT, MARGIN = 8.4, 18, 14  # of a cell, in pixels; around all
LOOK = (
    "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#d7dde4;white-space:pre}"
    ".held{fill:#7fd18b}.dim{fill:#8b97a5}.f{visibility:hidden}"
)


def pictures(cast: Path) -> tuple[tuple[int, int], list[tuple[float, list[str]]]]:
    """Return the size, and each picture with how long it stood."""
    head, *events = [json.loads(line) for line in cast.read_text().splitlines()]
    size = (head["height"], head["width"])
    engine, found, at = Engine(*size), list[tuple[float, list[str]]](), 0.0
    for when, kind, data in events:
        if kind != "o":
            continue
        shown = [cells.text(row) for row in engine.rows()]
        rest = when - at
        if rest >= LEAST_S:
            found.append((min(rest, PAUSE_S), shown))
            at = when
        engine.feed(data.encode())
    found.append((LAST_S, [cells.text(row) for row in engine.rows()]))
    engine.close()
    return size, [each for at, each in enumerate(found) if at == 0 or each[1] != found[at - 1][1]]


def animated(cast: Path, target: Path) -> None:
    """Write ``cast`` as an SVG that plays by itself and begins anew."""
    (rows, cols), shown = pictures(cast)
    whole, at = sum(lasts for lasts, _ in shown), 0.0
    frames, rules = [], []
    for number, (lasts, lines) in enumerate(shown):
        begin, end = 100 * at / whole, 100 * (at + lasts) / whole
        rules.append(
            f"@keyframes k{number}{{0%{{visibility:{'visible' if number == 0 else 'hidden'}}}"
            f"{begin:.3f}%{{visibility:visible}}{end:.3f}%,100%{{visibility:{'visible' if end > 99.99 else 'hidden'}}}}}"
            f"#f{number}{{animation:k{number} {whole:.2f}s step-end infinite}}"
        )
        at += lasts
        text = "".join(
            f'<text x="{MARGIN}" y="{MARGIN + (row + 0.75) * HEIGHT:.0f}"{_kind(line)}>{html.escape(line)}</text>'
            for row, line in enumerate(lines)
            if line
        )
        frames.append(f'<g class="f" id="f{number}">{text}</g>')
    width, height = cols * WIDTH + 2 * MARGIN, rows * HEIGHT + 2 * MARGIN
    target.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">'
        f"<style>{LOOK}{''.join(rules)}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#14181e"/>{"".join(frames)}</svg>\n'
    )


def _kind(line: str) -> str:
    if line.startswith(("held", "verdict: held")):
        return ' class="held"'
    return ' class="dim"' if line.startswith("   ") else ""
