"""Writes the CRDs into manifests/base/crds. They are made from the wire types in spillover/api."""

import sys
from pathlib import Path

import yaml

from spillover.api.crd import ack_crd, vke_crd

HEADER = "# Made by `./dev generate` from spillover/api. Do not edit.\n"


def rendered() -> dict[str, str]:
    """File name -> text."""
    return {
        f"{crd['metadata']['name']}.yaml": HEADER + yaml.safe_dump(crd, sort_keys=False, width=100)
        for crd in (ack_crd(), vke_crd())
    }


def main() -> int:
    folder = Path(__file__).parent / "base" / "crds"
    folder.mkdir(exist_ok=True)
    for name, text in rendered().items():
        (folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
