"""Every link in the pages for people leads somewhere: files exist, headings too, and no page is out of reach."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/**/*.md"), *ROOT.glob("examples/**/*.md")]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """The page without its blocks and snippets of code."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """What `#...` may name in a page: its headings, as the usual viewers spell them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """Targets of the links of a page that are not addresses of other sites."""
    return [target for target in LINK.findall(prose(page)) if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link} leads out of the project"
        assert not anchor or anchor in anchors(target), f"{link}: {target.name} has no such heading"


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    known = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}
    assert [page.name for page in sorted((ROOT / "docs").glob("*.md")) if page.resolve() not in known] == []


def literals() -> str:
    """All strings of the package, a line each."""
    files = (ROOT / "faceswap_pipeline").rglob("*.py")
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_the_messages_that_troubleshooting_speaks_of_are_ours() -> None:
    said = literals()
    ours = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8").partition("## Extracting")[2]
    symptoms = [line.split("|")[1] for line in ours.splitlines() if line.startswith("| ")]
    messages = [span for symptom in symptoms for span in re.findall(r"`([^`]+)`", symptom) if not span.startswith("--")]
    parts = [part.strip() for message in messages for part in re.split(r"\.\.\.|\bN\b|faces_a|runs/", message)]
    assert len(parts) > 30
    assert "; ".join(part for part in parts if part not in said) == ""


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One, two\n\n[a](#one-two) `[b](nowhere.md)` [c](https://x.y) [d](gone.md#x)\n")
    assert links(page) == ["#one-two", "gone.md#x"]
    assert anchors(page) == {"one-two"}
