"""What stands in somebody's way on a page: axe-core's findings, and what zooming shows.

axe runs with all of its rules for WCAG 2.2 AA and its best practices.
"""

from pathlib import Path

from playwright.sync_api import Page

from tests.parts import prepared

HERE = Path(__file__).parent / "axe"
FAULTS = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} at ${target}: ${failureSummary}`));
}"""
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BROKEN_WORDS = """[...document.querySelectorAll("button, .button, summary, label")].flatMap((control) => {
  const walk = document.createTreeWalker(control, NodeFilter.SHOW_TEXT), broken = [];
  while (walk.nextNode()) for (const { 0: word, index } of walk.currentNode.data.matchAll(/\\p{L}+/gu)) {
    const range = document.createRange();
    range.setStart(walk.currentNode, index);
    range.setEnd(walk.currentNode, index + word.length);
    if (word.length < 20 && new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1) broken.push(word);
  }
  return broken;
})"""
REFLOW = 320
"""CSS pixels that a page has to do with: 1280 at 400 % (WCAG 2.2, criterion 1.4.10)."""


def axe() -> str:
    """The script; downloaded the first time."""
    folder = prepared.folder("axe", [HERE / "package-lock.json"], lambda target: prepared.npm_ci(HERE, target))
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


def obstacles(page: Page) -> list[str]:
    """What axe finds, a sentence each. It is run by the browser itself, so the page's policy is not asked."""
    page.evaluate(axe())
    return page.evaluate(FAULTS)


def cramped(page: Page) -> list[str]:
    """What does not fit: into the window as it is, with letters of twice the size, and zoomed in as far as pages have to bear."""
    size = page.viewport_size
    assert size is not None
    found = _cramped(page, "as it is")
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    if size["width"] >= 2 * REFLOW:
        found += _cramped(page, "with text at 200 %")
    page.evaluate("document.documentElement.style.fontSize = ''")
    page.set_viewport_size({**size, "width": REFLOW})
    found += _cramped(page, f"at {REFLOW} pixels")
    page.set_viewport_size({"width": size["width"], "height": size["height"]})
    return found


def _cramped(page: Page, how: str) -> list[str]:
    wide = page.evaluate(TOO_WIDE)
    sideways = [f"{wide} pixels to scroll sideways {how}"] if wide > 0 else []
    return sideways + [f"{word!r} is broken {how}" for word in page.evaluate(BROKEN_WORDS)]
