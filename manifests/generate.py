"""Writes the CRDs into manifests/base/crds. They are made from the wire types in spillover/api."""

import sys
from pathlib import Path

import yaml

from spillover.api.ahpa_crd import crd as ahpa_crd
from spillover.api.crd import ack_crd, vke_crd
from spillover.federation.memberreport import crd as memberreport_crd

HEADER = "# Made by `./dev generate` from spillover/api. Do not edit.\n"


FOLDERS = {
    "base/crds": (ack_crd, vke_crd),
    "overlays/federation-kubeadmiral/hub": (memberreport_crd,),
    "overlays/ahpa": (ahpa_crd,),
}


def rendered() -> dict[str, str]:
    """Path in this folder -> text."""
    return {
        f"{folder}/{(crd := made())['metadata']['name']}.yaml": HEADER
        + yaml.safe_dump(crd, sort_keys=False, width=100)
        for folder, crds in FOLDERS.items()
        for made in crds
    }


def main() -> int:
    for name, text in rendered().items():
        file = Path(__file__).parent / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
