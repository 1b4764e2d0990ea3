"""Compiles LaTeX of the project's tables, where a TeX with the packages of all of them is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = r"\usepackage{booktabs,graphicx,longtable,siunitx}"


def _is_installed() -> bool:
    if not shutil.which("pdflatex"):
        return False
    return subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, check=False).returncode == 0


needs_latex = pytest.mark.skipif(
    not _is_installed(), reason="NO TEX WITH SIUNITX HERE: no LaTeX was compiled; see `make tex-packages`"
)


def compiled(folder: Path, body: str, packages: str = PACKAGES, options: tuple[str, ...] = ()) -> str:
    """What pdflatex prints of a document with this body, which it must compile."""
    document = rf"\documentclass{{article}}{packages}\begin{{document}}{body}\end{{document}}"
    (folder / "document.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", *options, "document.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, output[-3000:]
    return output
