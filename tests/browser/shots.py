"""Takes the screenshots that CONTRIBUTING.md shows: ``python -m tests.browser.shots``. Needs a browser.

A real JupyterLab runs real workflows; every picture is taken in the light and in the dark theme.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

from tests.browser.lab import ROOT, Lab, Notebook, browser, browser_path
from wfnb.views.snapshot import built

FOLDER = ROOT / "extensions" / "shots"

SETUP = """
import time
import numpy as np, pandas as pd, wfnb as wf

@wf.node
def sales(days: int) -> pd.DataFrame:
    time.sleep(0.4)
    day = pd.date_range("2026-01-01", periods=days)
    return pd.DataFrame({"day": day, "city": "Lyon", "sold": np.arange(days) % 17, "price": 9.5})

@wf.node
def prices(days: int) -> np.ndarray:
    time.sleep(0.6)
    return np.linspace(9.0, 12.0, 40_000)

@wf.node(retries=1)
def fit(depth: int, sales: pd.DataFrame, prices: np.ndarray) -> dict:
    time.sleep(0.15 + 0.02 * (depth % 7))
    print(f"depth {depth}: {len(sales)} days")
    if depth == BAD:
        raise ValueError(f"a depth of {depth} is more than there are days")
    return {"depth": depth, "error": 1 / (1 + depth)}

@wf.node
def refine(model: dict) -> dict:
    time.sleep(0.2)
    return {**model, "error": model["error"] / 2}

@wf.node
def check(models: list[dict]) -> dict:
    return min(models, key=lambda model: model["error"])

@wf.node
def publish(model: dict) -> str:
    return f"published {model['depth']}"

@wf.node
def review(model: dict) -> str:
    return f"to be reviewed: {model['depth']}"

@wf.workflow
def forecast(days: int = 120, depths: list[int] = list(range(60))) -> str:
    table, price = sales(days), prices(days)
    best = check(fit.map(depths, sales=table, prices=price))
    good = wf.loop(refine, init=best, until=lambda model: model["error"] < 0.003, max_iterations=9)
    return wf.switch([(good["error"] < 0.01, lambda: publish(good))], default=lambda: review(good))

BAD = -1
"""
CELLS = [
    SETUP,
    "forecast",
    "run = forecast.submit()\nrun",
    "BAD = 33\nfailing = forecast.options(on_error='continue').submit(depths=list(range(40)))\nfailing",
    "wf.runs()",
]
FRAME = {"x": 0, "y": 0, "width": 1240}


def take(folder: Path, *, dark: bool) -> None:
    """Take all pictures in one theme."""
    place = Path(tempfile.mkdtemp(prefix="wfnb-shots-"))
    lab = Lab(place, dark=dark)
    name = "dark" if dark else "light"
    try:
        lab.write("forecast.ipynb", CELLS)
        with browser(place / "profile", dark=dark, width=1240, height=1400) as context:
            book = Notebook(lab, context.pages[0], "forecast.ipynb").open()
            book.page.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
            book.run(0)
            shoot = Shooter(book, folder, name)
            shoot.workflow()
            shoot.run()
            shoot.failure()
            shoot.runs()
    finally:
        lab.close()


class Shooter:
    """Takes pictures of what cells show."""

    def __init__(self, book: Notebook, folder: Path, theme: str) -> None:
        self.book = book
        self.folder = folder
        self.theme = theme

    def save(self, ui: Any, what: str) -> None:
        ui.scroll_into_view_if_needed()
        self.book.page.mouse.move(5, 5)
        self.book.page.wait_for_timeout(400)
        ui.screenshot(path=str(self.folder / f"{what}-{self.theme}.png"))

    def workflow(self) -> None:
        self.book.run(1)
        self.save(self.book.ui(1), "workflow")

    def run(self) -> None:
        self.book.run(2)
        ui = self.book.ui(2)
        ui.wait_for()
        self.book.page.wait_for_timeout(4_000)
        self.save(ui, "run")
        for tab in ("Timeline", "Logs", "Steps"):
            ui.get_by_role("tab", name=tab).click()
            self.save(ui, tab.lower())
        ui.locator(".row").first.filter(has_text="completed").wait_for(timeout=60_000)
        ui.get_by_role("tab", name="Timeline").click()
        ui.get_by_role("button", name="Waterfall").click()
        self.save(ui, "waterfall")

    def failure(self) -> None:
        self.book.run(3)
        ui = self.book.ui(3)
        ui.locator(".row").first.filter(has_text="failed").wait_for(timeout=60_000)
        ui.get_by_role("tab", name="Logs").click()
        ui.get_by_role("tab", name="DAG").click()
        ui.get_by_role("searchbox").fill("fit")
        tree = ui.get_by_role("tree")
        tree.focus()
        tree.press("Enter")  # it opens into its elements
        self.save(ui, "elements")
        ui.get_by_role("tab", name="Timeline").click()
        ui.get_by_role("searchbox").fill("fit[33]")
        chart = ui.get_by_role("group", name=re.compile("^timeline"))
        chart.focus()
        for _ in range(60):
            chart.press("p")
            if "fit[33]" in (chart.get_attribute("aria-label") or ""):
                break
        chart.press("Enter")
        ui.get_by_text("sales", exact=True).first.wait_for(timeout=20_000)
        ui.locator(".body").evaluate("(element) => { element.style.height = '620px'; }")
        self.save(ui, "details")

    def runs(self) -> None:
        self.book.run(4)
        self.save(self.book.cell(4).locator(".jp-OutputArea-output").first, "runs")


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description="Take the screenshots of the documentation.")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder: Path = parser.parse_args().folder
    if browser_path() is None or not built():
        raise SystemExit("screenshots need a browser (chromium, or CHROMIUM=...) and the renderer (`make ui`)")
    folder.mkdir(parents=True, exist_ok=True)
    for dark in (False, True):
        take(folder, dark=dark)
    print(f"the pictures are in {folder}")


if __name__ == "__main__":
    main()
