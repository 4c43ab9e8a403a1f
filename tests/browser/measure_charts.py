"""Looks at the text of every chart in Chromium and prints what is hard to read.

    python tests/browser/measure_charts.py [PAGE ...] [--shots FOLDER]

On every page and behind every tab, light and dark, 1280, 800 and 390 wide: text that is cut off at the edge of its
chart, text that lies on other text or under the toolbar, and text with a contrast below 4.5 to 1. With `--shots FOLDER`
a picture of each page is kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM, at_rest, make_workspace, served  # the path comes first
from tests.browser.test_every_page import PAGES, STATES

WIDTHS = (1280, 800, 390)
LEAST_CONTRAST = 4.5
FOUND = """
() => {
  const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const ground = parts(getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor);
  const contrast = element => {
    const style = getComputedStyle(element), [r, g, b, a = 1] = parts(style.fill);
    const alpha = a * style.fillOpacity * style.opacity;
    const seen = [r, g, b].map((c, k) => c * alpha + ground[k] * (1 - alpha));
    const [low, high] = [luminance(seen), luminance(ground)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  for (const plot of document.querySelectorAll('.js-plotly-plot')) {
    if (!plot.checkVisibility()) continue;
    const title = plot.querySelector('.gtitle')?.textContent || plot.getAttribute('aria-label') || 'chart';
    const frame = plot.querySelector('.main-svg').getBoundingClientRect();
    const texts = [...plot.querySelectorAll('svg text')]
      .filter(t => t.textContent.trim() && t.checkVisibility({opacityProperty: true}))
      .map(t => ({what: t.textContent.trim(), box: t.getBoundingClientRect(), element: t, turn: t.getScreenCTM()}))
      .filter(t => t.box.width > 0);
    const bar = plot.querySelector('.modebar-container .modebar')?.getBoundingClientRect();
    for (const [k, one] of texts.entries()) {
      const b = one.box;
      if (b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1 || b.bottom > frame.bottom + 1)
        found.push(['cut off', title, one.what]);
      // Numbers on bars and cells have a ground of their own.
      if (!one.element.closest('.barlayer, .hm, .heatmaplayer, .bartext') && contrast(one.element) < 4.49)
        found.push(['contrast ' + contrast(one.element).toFixed(2), title, one.what]);
      // A box is as high as a line, which leaves a fifth above and below the letters.
      const upright = Math.abs(one.turn.b) < 0.01;
      const over = (o, x, y) =>
        o.left < b.right - x && o.right > b.left + x && o.top < b.bottom - y && o.bottom > b.top + y;
      if (bar && bar.width > 0 && over(bar, 0, 3)) found.push(['under the toolbar', title, one.what]);
      if (Math.abs(one.turn.a * one.turn.b) > 0.01) continue; // the box of a tilted label is larger than the label
      const [x, y] = upright ? [1, 4] : [4, 1];
      for (const other of texts.slice(k + 1))
        if (Math.abs(other.turn.a * other.turn.b) < 0.01 && over(other.box, x, y))
          found.push(['overlap', title, `${one.what} / ${other.what}`]);
    }
  }
  return found;
}
"""


def look(page: Page, shot: Path | None) -> list[list[str]]:
    """What is found in the charts of a page; shot: a picture of it."""
    if shot is not None:
        height = page.get_by_test_id("stMain").evaluate("e => e.scrollHeight")
        page.set_viewport_size({"width": (page.viewport_size or {})["width"], "height": max(900, height)})
        at_rest(page)
        page.wait_for_timeout(300)
        page.screenshot(path=str(shot))
    found: list[list[str]] = page.evaluate(FOUND)
    return found


def main(shots: Path | None, only: list[str]) -> int:
    """Print the findings; returns how many there are."""
    count = 0
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        workspace = make_workspace(Path(folder) / "workspace")
        chromium: Any = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with served(workspace) as address:
            for scheme in ("light", "dark"):
                page = chromium.new_page(color_scheme=scheme)
                for path in only or (*PAGES, *STATES):
                    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
                    page.goto(f"{address}/{path}")
                    page.wait_for_selector("h1")
                    at_rest(page)
                    for width in WIDTHS:
                        page.set_viewport_size({"width": width, "height": 900})
                        page.wait_for_timeout(700)
                        name = f"{path.replace('?', '-').replace('&', '-') or 'home'}-{width}-{scheme}"
                        for what, title, text in look(page, shots and shots / f"{name}.png"):
                            count += 1
                            print(f"{name}: {what}: {title}: {text}", flush=True)
        chromium.close()
    print(f"{count} findings")
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="pages, such as evaluate?evaluate_tab=Groups; all by default")
    parser.add_argument("--shots", type=Path)
    args = parser.parse_args()
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)
    sys.exit(min(main(args.shots, args.paths), 1))
