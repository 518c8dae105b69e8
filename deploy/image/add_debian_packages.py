# SPDX-License-Identifier: Apache-2.0
"""Adds the installed Debian packages to a CycloneDX bill of materials, which lists Python distributions only.

Runs inside the image build, with the standard library alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

_FORMAT = "${Package}\t${Version}\t${Architecture}\n"


def debian_components(listing: str, distribution: str) -> list[dict[str, str]]:
    """CycloneDX components of `dpkg-query`'s lines: name, version and architecture between tabs."""
    components = []
    for line in listing.splitlines():
        name, version, architecture = line.split("\t")
        purl = f"pkg:deb/{distribution}/{quote(name, safe='')}@{quote(version, safe='')}?arch={architecture}"
        components.append({"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl})
    return components


def main(path: Path) -> None:
    """Rewrites the bill of materials at `path`."""
    listing = subprocess.run(["dpkg-query", "--show", f"--showformat={_FORMAT}"], capture_output=True, check=True)
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    bill = json.loads(path.read_text())
    bill["components"] = [
        *bill.get("components", []),
        *debian_components(listing.stdout.decode(), release["ID"].strip('"')),
    ]
    path.write_text(json.dumps(bill, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
