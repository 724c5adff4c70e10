"""axe-core on a page, with all of its rules for WCAG 2.2 AA and its best practices."""

from pathlib import Path

from playwright.sync_api import Page

from tests.parts import prepared

HERE = Path(__file__).parent / "axe"
FAULTS = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} at ${target}: ${failureSummary}`));
}"""


def axe() -> str:
    """The script; downloaded the first time."""
    folder = prepared.folder("axe", [HERE / "package-lock.json"], lambda target: prepared.npm_ci(HERE, target))
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


def obstacles(page: Page) -> list[str]:
    """What axe finds, a sentence each. It is run by the browser itself, so the page's policy is not asked."""
    page.evaluate(axe())
    return page.evaluate(FAULTS)
