"""What a real serving says to requests that are wrong."""

import gzip
from typing import Any

import httpx
import pytest
from tests.support.serving import LIVE_PATH


@pytest.mark.parametrize(
    ("row", "code", "column"),
    [
        pytest.param({"dep_delay": 1.0}, "missing_column", "distance", id="f27"),
        pytest.param({"distance": 1, "colour": "red"}, "extra_column", "colour", id="f28"),
        pytest.param({"distance": "far"}, "wrong_type", "distance", id="f29 text"),
        pytest.param({"distance": True}, "wrong_type", "distance", id="f29 boolean"),
        pytest.param({"distance": 1, "carrier": 7}, "wrong_type", "carrier", id="f29 number"),
    ],
)
def test_fault_f27_f28_f29_a_row_outside_the_contract(
    client: httpx.Client, row: dict[str, Any], code: str, column: str
) -> None:
    answer = client.post(LIVE_PATH, json={"instances": [{"distance": 1}, row]})

    assert answer.status_code == 422
    (issue,) = answer.json()["issues"]
    assert (issue["code"], issue["facts"]["column"], issue["facts"]["row"]) == (code, column, 1)
    assert issue["facts"]["expected"]
    assert issue["facts"]["got"]


def test_fault_f28_extra_columns_are_ignored_and_counted_where_the_contract_is_lenient(client: httpx.Client) -> None:
    answer = client.post("/endpoints/flights/loose/predict", json={"instances": [{"distance": 1, "colour": "red"}]})

    assert answer.status_code == 200
    assert answer.json()["ignored_values"] == 1


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_fault_f30_json_nan_infinity(client: httpx.Client, literal: str) -> None:
    body = f'{{"instances": [{{"distance": 1, "dep_delay": {literal}}}]}}'

    answer = client.post(LIVE_PATH, content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (422, "non_finite")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(b"\xff\xfe{}", {}, 400, id="not utf-8"),
        pytest.param(b"no gzip", {"content-encoding": "gzip"}, 400, id="bad gzip"),
        pytest.param(gzip.compress(b" " * (64 << 20)), {"content-encoding": "gzip"}, 413, id="zip bomb"),
        pytest.param(b'{"instances": [', {}, 400, id="truncated"),
        pytest.param(b"[" * 10_000, {}, 400, id="deep"),
        pytest.param(b'{"instances": [{"distance": 1, "distance": 2}]}', {}, 400, id="twice"),
        pytest.param(b'{"instances": [{"distance": ' + b"9" * 1_000_000 + b"}]}", {}, 400, id="digits"),
        pytest.param(b"{}", {"content-encoding": "br"}, 415, id="unknown encoding"),
    ],
)
def test_fault_f32_a_body_that_is_not_what_it_says(
    client: httpx.Client, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = client.post(LIVE_PATH, content=body, headers={"content-type": "application/json", **headers})

    assert answer.status_code == status
    assert client.post(LIVE_PATH, json={"instances": [{"distance": 1}]}).status_code == 200


def test_fault_f34_no_rows_and_too_many(client: httpx.Client) -> None:
    none = client.post(LIVE_PATH, json={"instances": []})
    many = client.post(LIVE_PATH, json={"instances": [{"distance": 1}] * 1001})

    assert (none.status_code, none.json()["predictions"]) == (200, [])
    assert many.status_code == 413
    assert "batch job" in many.json()["detail"]
