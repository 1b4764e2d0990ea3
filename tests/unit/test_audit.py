"""What `make audit` makes of pip-audit's answers, which need a network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[2] / "envs/audit.py"
SOUND = {"name": "numpy", "version": "2.0", "vulns": []}
KNOWN = {"name": "pillow", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
SKIPPED = {"name": "torch", "skip_reason": "not found"}


def audit(answers: dict[str, object], folder: Path) -> subprocess.CompletedProcess:
    """A call with a pip-audit that prints these answers by service, and fails where there is none."""
    stub = folder / "pip-audit"
    stub.write_text(
        f"#!{sys.executable}\nimport sys\nanswers = {answers!r}\n"
        "service = next(w.partition('=')[2] for w in sys.argv if w.startswith('--vulnerability-service'))\n"
        "print(answers[service])\n"
    )
    stub.chmod(0o755)
    return subprocess.run([sys.executable, AUDIT, stub], capture_output=True, text=True)


def answer(*packages: dict[str, object]) -> str:
    return json.dumps({"dependencies": packages})


@pytest.mark.parametrize(
    ("answers", "status", "said"),
    [
        ({"pypi": answer(SOUND)}, 0, "1 pinned packages have no known vulnerability\n"),
        ({"pypi": answer(SOUND, KNOWN)}, 1, "pillow 1.0: CVE-1, mended in 1.1\n"),
        ({"pypi": answer(SKIPPED), "osv": answer(KNOWN)}, 1, "pillow 1.0: CVE-1, mended in 1.1\n"),
    ],
)
def test_an_audit_names_every_advisory(answers, status, said, tmp_path):
    done = audit(answers, tmp_path)
    assert (done.returncode, done.stdout) == (status, said)


@pytest.mark.parametrize("answers", [{}, {"pypi": "oops"}, {"pypi": answer(SKIPPED), "osv": "{}"}])
def test_an_audit_without_advisories_is_no_success(answers, tmp_path):
    done = audit(answers, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: neither PyPI nor api.osv.dev gives the advisories")
    assert len(done.stderr.splitlines()) == 1
