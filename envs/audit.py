"""Known vulnerabilities of the pinned packages, by pip-audit: `make audit`.

    python envs/audit.py PIP_AUDIT

The advisories come from PyPI. Where PyPI does not answer for every package, they come from OSV.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOCKED = ("requirements.txt", "exports.txt", "examples.txt")
SERVICES = {"pypi": "PyPI", "osv": "api.osv.dev"}


def audited(pip_audit: str, service: str) -> list[dict[str, Any]]:
    """The packages of all lock files with their advisories; none where the service does not answer."""
    files = [word for name in LOCKED for word in ("-r", str(HERE / name))]
    options = ["--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json"]
    done = subprocess.run(
        [pip_audit, *options, f"--vulnerability-service={service}", *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return []
    # A mirror may have the packages, and nothing else of PyPI.
    return [] if any("skip_reason" in package for package in found) else found


def main(pip_audit: str) -> None:
    found = next((found for service in SERVICES if (found := audited(pip_audit, service))), [])
    if not found:
        sys.exit(
            f"error: neither {' nor '.join(SERVICES.values())} gives the advisories of every pinned package; "
            "call `make audit` where one of them can be reached"
        )
    lines = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, mended in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in found
        for vulnerability in package["vulns"]
    ]
    print(*lines, sep="\n", end="\n" if lines else "")
    if lines:
        sys.exit(
            f"error: {len(lines)} known vulnerabilities; raise the versions in envs/*.in, and `make lock`"
        )
    print(f"{len(found)} pinned packages have no known vulnerability")


if __name__ == "__main__":
    main(sys.argv[1])
