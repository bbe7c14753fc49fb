"""What a component says of itself in Prometheus' text format."""

import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from harness.containers import Container

_HEALTH_PORT = 8889


def total(container: Container, name: str) -> float:
    """The sum of all series of a metric."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://{container.address}:{_HEALTH_PORT}/metrics"
    with opener.open(url, timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return sum(
        sample.value for family in families for sample in family.samples if sample.name == name
    )


def wait_unchanged(container: Container, name: str, quiet: float, seconds: float) -> None:
    """Waits until a metric has kept its value for `quiet` seconds."""
    begun = since = time.monotonic()
    before = total(container, name)
    while time.monotonic() - since < quiet:
        time.sleep(0.1)
        now = total(container, name)
        if now != before:
            before, since = now, time.monotonic()
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"{name} goes on changing after {seconds} s")
