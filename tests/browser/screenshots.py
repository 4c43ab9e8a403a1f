"""Takes the pictures of the README from the running app: `make screenshots`, or `python tests/browser/screenshots.py`.

The app starts over a workspace of its own, as on a fresh machine. A training is started for its picture; the others
wait until the re-run of the paper has ended. Takes some minutes; writes
`assets/screenshot-NAME.png`, each below 250 kB.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from dashboard.jobs.paper import state_file
from tests.browser.conftest import ARGUMENTS, CHROMIUM, ROOT, at_rest, served  # the path comes first

WIDTH, HEIGHT, SCALE = 1280, 900, 1.5
LARGEST_BYTES = 250_000
RUN = "cohort=demo&run=demo-standard"
PICTURES = (
    ("home", f"?{RUN}", "light", ""),
    ("cohort", f"cohort?{RUN}", "light", ""),
    ("evaluate", f"evaluate?{RUN}", "light", ""),
    ("attention", f"attention?{RUN}", "light", ""),
    ("customers", f"customers?{RUN}&customer=C000042", "dark", ""),
    ("plans", f"plans?{RUN}&threshold=0.4", "light", ""),
    ("campaigns", f"campaigns?{RUN}&campaign_tab=What it did", "light", ""),
    ("paper", f"paper?{RUN}", "light", ""),
    ("signal", f"paper?{RUN}&paper_signal=1.0", "dark", "signal"),
)
"""Name, address, scheme, and the anchor to scroll to ("": the top of the page)."""


def main() -> None:
    """Start the app, wait for what the pictures show, take them."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        workspace = Path(folder) / "workspace"
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with served(workspace) as address:
            page = opened(chromium, f"{address}/train", "dark")
            page.get_by_role("button", name="Train both models").click()
            points = "document.querySelectorAll('[class*=st-key-live_][class*=_churn] path.point').length"
            page.wait_for_function(f"{points} > 8", timeout=1_800_000)
            keep(page, "train")
            opened(chromium, f"{address}/paper", "light").context.close()  # the first visitor starts the re-run
            scored = workspace / "runs" / "demo-standard" / "scores" / "demo.parquet"
            wait_for(scored.exists, "the demo's standard run")
            told = state_file(workspace / "paper")
            wait_for(lambda: told.exists() and '"stage": "done"' in told.read_text(), "the re-run of the paper")
            for name, path, scheme, anchor in PICTURES:
                page = opened(chromium, f"{address}/{path}", scheme)
                if anchor:
                    page.locator(f"#{anchor}").evaluate("e => e.scrollIntoView()")
                keep(page, name)
        chromium.close()


def wait_for(there: Callable[[], bool], what: str) -> None:
    """Wait until it is there, and say so."""
    began = time.monotonic()
    while not there():
        if time.monotonic() - began > 1800:
            raise SystemExit(f"error: expected {what} within half an hour, found none")
        time.sleep(1)
    print(f"{what}: there after {time.monotonic() - began:.0f} s")


def opened(chromium: Browser, address: str, scheme: str) -> Page:
    """A window of its own on a page of the app, at rest."""
    size = {"width": WIDTH, "height": HEIGHT}
    context = chromium.new_context(viewport=size, color_scheme=scheme, device_scale_factor=SCALE)  # type: ignore[arg-type]  # light or dark
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_selector("h1")
    at_rest(page)
    return page


def keep(page: Page, name: str) -> None:
    """The picture of a page, with as many colours as fit into the size."""
    page.wait_for_timeout(1500)  # charts and the scroll come to rest
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.context.close()
    file = ROOT / "assets" / f"screenshot-{name}.png"
    for colors in (256, 128, 64, 32):
        picture.quantize(colors, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, optimize=True)
        if file.stat().st_size < LARGEST_BYTES:
            break
    print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB, {colors} colours")


if __name__ == "__main__":
    main()
