"""What of the site lies outside docs/: README as its first page, results/ with figures, the documents at the top."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
TOP = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
ASSETS = ("plots/*.png", "pictures/*.png", "*.json", "report.html")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them, each at its path in the checkout, README as index.md."""
    files.append(File.generated(config, "index.md", abs_src_path=str(ROOT / "README.md")))
    results = [path for form in ("*.md", *ASSETS) for path in sorted((ROOT / "results").glob(form))]
    for path in (*(ROOT / name for name in (*TOP, "CITATION.cff")), *results):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the checkout, as the site has the pages: docs/ is its top."""
    if page.file.src_uri in ("index.md", *TOP):
        return re.sub(r"\]\(docs/", "](", markdown)
    return re.sub(r"\]\(\.\./(results/|[A-Z]+\.md)", r"](\1", markdown) if "/" not in page.file.src_uri else markdown
