"""What mkdocs calls while it builds the site: pages from outside of docs/, and links to files that
are no pages, which become their paths in the repository."""

from __future__ import annotations

import json
import os
import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The page's name in the site: the file in the repository.
OUTSIDE = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "c.md": "examples/c/README.md",
    "service-examples.md": "examples/service/README.md",
    "notebook.md": "examples/quickstart.ipynb",
}
PAGE_OF = {file: page for page, file in OUTSIDE.items()}
LINK = re.compile(r"(!?)\[([^]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Pages that the navigation does not name yet come last in it."""
    named = set(re.findall(r"[\w-]+\.md", json.dumps(config.nav)))
    pages = sorted(name for name in os.listdir(config.docs_dir) if name.endswith(".md"))
    more = [name for name in pages if name not in named]
    if more:
        config.nav.append({"More": more})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of OUTSIDE, with links as if they stood in docs/."""
    from mkdocs.structure.files import File

    for page, file in OUTSIDE.items():
        with open(os.path.join(ROOT, file), encoding="utf-8") as opened:
            text = opened.read()
        if file.endswith(".ipynb"):
            text = notebook(text)
        files.append(File.generated(config, page, content=moved(text, posixpath.dirname(file))))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of docs/'s own pages that lead out of it."""
    return markdown if page.file.src_uri in OUTSIDE else moved(markdown, "docs")


def moved(text: str, folder: str) -> str:
    """`text`, which stood in `folder` of the repository, as a page of docs/."""

    def link(found: re.Match[str]) -> str:
        mark, words, target, anchor = found.groups()
        if ":" in target:
            return found[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path in PAGE_OF:
            return f"{mark}[{words}]({PAGE_OF[path]}{anchor or ''})"
        if path.startswith("docs/"):
            return f"{mark}[{words}]({path[5:]}{anchor or ''})"
        if not os.path.exists(os.path.join(ROOT, path)):
            return found[0]  # mkdocs complains
        return f"{words} (`{path}`)" if words.strip("`") != path else f"`{path}`"

    return LINK.sub(link, text)


def notebook(text: str) -> str:
    """A notebook's cells as Markdown, without outputs."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts) + "\n"
