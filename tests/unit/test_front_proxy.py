"""Who may ask an aggregated API server."""

import pytest

from spillover.aggregated.front_proxy import FrontProxy

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"


def test_only_names_that_are_allowed() -> None:
    data = {
        "requestheader-client-ca-file": CERTIFICATE,
        "requestheader-allowed-names": '["front-proxy-client"]',
    }
    proxy = FrontProxy.read(data)
    assert proxy.admits("front-proxy-client")
    assert not proxy.admits("kubernetes-admin")
    assert not proxy.admits("")


def test_an_empty_list_allows_any_name() -> None:
    proxy = FrontProxy.read({"requestheader-client-ca-file": CERTIFICATE})
    assert proxy.admits("any")
    assert not proxy.admits(""), "a client without a certificate"


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({}, "requestheader-client-ca-file"),
        ({"requestheader-client-ca-file": ""}, "requestheader-client-ca-file"),
        ({"requestheader-client-ca-file": CERTIFICATE, "requestheader-allowed-names": "x"},
         "requestheader-allowed-names"),
        ({"requestheader-client-ca-file": CERTIFICATE, "requestheader-allowed-names": "[1]"},
         "requestheader-allowed-names"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(data: dict[str, str], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        FrontProxy.read(data)
