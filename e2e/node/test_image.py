"""The image: what is in it, and that two builds make the same."""

import json

import pytest

from harness import buildah, image, install
from harness.client import Client
from harness.install import NAMESPACE
from harness.node import host
from harness.places import ROOT

_INSIDE = """
import importlib.util, json, os, pathlib, sys, sysconfig
stale, times = [], []
for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")):
    for source in pathlib.Path(folder).rglob("*.py"):
        if {"test", "tests", "idlelib"} & set(source.parts):
            continue
        code = pathlib.Path(importlib.util.cache_from_source(str(source)))
        if not code.exists():
            continue
        head = code.read_bytes()[:16]
        if not head[4] & 1:
            times.append(str(source))
        elif head[8:16] != importlib.util.source_hash(source.read_bytes()):
            stale.append(str(source))
without = [
    name
    for name, module in list(sys.modules.items())
    if getattr(module, "__file__", None) and module.__file__.endswith(".py")
    and not pathlib.Path(importlib.util.cache_from_source(module.__file__)).exists()
]
print(json.dumps({
    "python": sys.version_info[:2],
    "stale": stale,
    "times": times,
    "without": without,
    "pip": importlib.util.find_spec("pip") is not None,
    "writable": [p for p in ("/", "/opt", "/opt/spillover", "/etc") if os.access(p, os.W_OK)],
}))
"""


def test_byte_code_is_whole_and_goes_by_contents(client: Client) -> None:
    """Code that goes by times is stale in some builders' layers: then every start compiles it."""
    (pod, *_) = (each["metadata"]["name"] for each in install.pods(client, "scheduler"))
    words = ("exec", pod, "-n", NAMESPACE, "-c", "extender", "--")
    # With all modules of the extender imported.
    program = f"import extender.__main__\n{_INSIDE}"
    found = json.loads(client.kubectl(*words, "python", "-c", program))
    assert found == {
        "python": [3, 13],
        "stale": [],
        "times": [],
        "without": [],
        "pip": False,
        "writable": [],
    }


@pytest.mark.parametrize(
    "words",
    [
        ("python", "-m", "extender", "--help"),
        ("python", "-m", "webhook", "--help"),
        ("spillover", "explain", "--help"),
        ("kubectl-spillover", "--help"),
    ],
    ids=" ".join,
)
def test_its_programs_start(client: Client, words: tuple[str, ...]) -> None:
    (pod, *_) = (each["metadata"]["name"] for each in install.pods(client, "webhook"))
    answer = client.kubectl("exec", pod, "-n", NAMESPACE, "-c", "webhook", "--", *words)
    assert "usage" in answer.lower()


def test_the_manifests_name_the_version_that_is_built() -> None:
    """And the policy: without a tag a cluster would pull for ever, whatever is set later."""
    for component in install.DEPLOYMENTS:
        text = (ROOT / "manifests" / "base" / f"{component}.yaml").read_text()
        assert f"image: {image.default_tag()}\n" in text
        assert text.count("imagePullPolicy: IfNotPresent\n") == text.count(" image: ")


@pytest.mark.timeout(900)
def test_two_builds_make_the_same_image() -> None:
    """From the sources alone: no step of the first build is used by the second."""
    if reason := host.obstacle():
        pytest.skip(reason)
    tags = [f"localhost/spillover-twice:{number}" for number in (1, 2)]
    ids = [image.build_here(tag, fresh=True) for tag in tags]
    configuration = buildah.configuration(tags[0])
    size = image.exported(tags[0]).stat().st_size
    print(f"{ids[0]}, {size / 2**20:.0f} MiB with the base, unpacked")
    assert ids[0] == ids[1]
    assert configuration["User"] == "65532:65532"
    assert configuration["Cmd"] == ["python", "-m", "extender"]
    assert not configuration.get("Entrypoint")
    assert "PYTHONDONTWRITEBYTECODE=1" in configuration["Env"]
