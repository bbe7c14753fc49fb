"""What is written into a policy's status."""

import json

import yaml

from spillover.controller.statuses import as_yaml


def test_it_is_json_and_yaml_whatever_a_tenant_has_written() -> None:
    every = "".join(chr(code) for code in range(0x1, 0x11000) if not 0xD800 <= code <= 0xDFFF)
    body = {"message": every + "\U0001f600", "name": {"\x7f\uffff": 1}}
    written = as_yaml(body)
    assert json.loads(written) == body
    assert yaml.safe_load(written) == body
