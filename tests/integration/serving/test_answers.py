"""A real serving, asked over HTTP, with a model that `mlflow.sklearn.save_model` wrote."""

import gzip
import json

import httpx
import pytest
from tests.support.flights_model import CONTRACT, flights, instances
from tests.support.releases import TestRelease
from tests.support.serving import LIVE_PATH, TOKEN
from tests.support.serving_fixtures import Town

from carrara.contracts.contract import ModelContract
from carrara.inference.python_model import PythonModel


def test_every_answer_is_the_offline_score(client: httpx.Client, offline: PythonModel, release: TestRelease) -> None:
    rows = flights(500, seed=3)
    expected = offline.predict(rows)

    answer = client.post(LIVE_PATH, json={"instances": instances(rows)}).json()

    assert answer["release"] == release.digest
    assert [found["prediction"] for found in answer["predictions"]] == expected["prediction"]
    assert [list(found["probabilities"].values()) for found in answer["predictions"]] == expected["probabilities"]
    assert list(answer["predictions"][0]["probabilities"]) == ["on time", "late"]


def test_a_row_alone_and_among_others_gives_one_answer(client: httpx.Client) -> None:
    rows = instances(flights(30, seed=4))
    together = client.post(LIVE_PATH, json={"instances": rows}).json()["predictions"]

    alone = [client.post(LIVE_PATH, json={"instances": [row]}).json()["predictions"][0] for row in rows]

    assert alone == together


def test_columns_and_gzip_say_the_same(client: httpx.Client) -> None:
    rows = flights(20, seed=5)
    plain = client.post(LIVE_PATH, json={"instances": instances(rows)}).json()["predictions"]

    body = gzip.compress(json.dumps({"columns": rows}).encode())
    packed = client.post(
        LIVE_PATH, content=body, headers={"content-type": "application/json", "content-encoding": "gzip"}
    )

    assert packed.json()["predictions"] == plain


def test_prediction_ids_are_unique_and_every_process_answers(town: Town) -> None:
    answers = [town.serving.predict({"distance": 1, "dep_delay": 1.0}).json() for _ in range(40)]

    ids = {answer["prediction_id"] for answer in answers}
    assert len(ids) == 40
    assert len({name.split("-")[1] for name in ids}) == town.serving.workers


def test_the_endpoint_describes_itself(client: httpx.Client, release: TestRelease) -> None:
    found = client.get("/endpoints/flights/late").json()

    assert found["status"] == "live"
    assert found["live"] == [{"release": release.digest, "model": "late", "version": 1, "weight": 100.0}]
    assert ModelContract.model_validate(found["contract"]) == CONTRACT
    assert client.post(LIVE_PATH, json=found["example"]).status_code == 200


def test_the_declared_fallback_answers_where_nothing_is_live(client: httpx.Client) -> None:
    answer = client.post("/endpoints/flights/nothing-yet/predict", json={"instances": [{}, {}]}).json()

    assert (answer["fallback"], answer["release"]) == (True, None)
    assert answer["predictions"] == [{"prediction": "on time"}] * 2


@pytest.mark.parametrize(
    ("method", "path", "token", "status", "code"),
    [
        ("POST", LIVE_PATH, None, 401, "no_token"),
        ("POST", LIVE_PATH, "wrong", 401, "bad_token"),
        ("GET", "/endpoints/flights/late", None, 401, "no_token"),
        ("POST", "/endpoints/flights/no-such/predict", TOKEN, 404, "not_found"),
        ("POST", "/endpoints/other/late/predict", TOKEN, 404, "not_found"),
        ("GET", LIVE_PATH, TOKEN, 405, "method_not_allowed"),
        ("POST", "/endpoints/..%2f..%2fx/late/predict", TOKEN, 404, "not_found"),
        ("GET", "/endpoints/flights/LATE", TOKEN, 404, "not_found"),
        ("GET", "/nothing", TOKEN, 404, "not_found"),
    ],
)
def test_who_may_ask_what(town: Town, method: str, path: str, token: str | None, status: int, code: str) -> None:
    headers = {"authorization": f"Bearer {token}"} if token else {}

    answer = httpx.request(method, town.serving.url + path, headers=headers, trust_env=False)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_another_media_type_is_refused(client: httpx.Client) -> None:
    answer = client.post(LIVE_PATH, content=b"a,b\n1,2\n", headers={"content-type": "text/csv"})

    assert answer.status_code == 415


def test_a_body_over_the_limit_is_refused_announced_or_not(client: httpx.Client) -> None:
    big = b" " * ((1 << 20) + 1)
    announced = client.post(LIVE_PATH, content=big, headers={"content-type": "application/json"})
    chunked = client.post(LIVE_PATH, content=iter([big[:1000]] * 2000), headers={"content-type": "application/json"})

    assert [announced.status_code, chunked.status_code] == [413, 413]


def test_a_request_id_comes_back_in_the_error(client: httpx.Client) -> None:
    answer = client.post(LIVE_PATH, json={"instances": [{}]}, headers={"x-request-id": "abc-1"})

    assert answer.json()["request_id"] == "abc-1"


def test_readiness_health_and_metrics(town: Town, client: httpx.Client) -> None:
    client.post(LIVE_PATH, json={"instances": [{"distance": 1}]})
    ready = client.get("/readyz")

    assert ready.status_code == 200
    assert ready.json()["generation"] == town.generation
    assert client.get("/healthz").json() == {"status": "ok"}
    text = client.get("/metrics").text
    assert 'carrara_serving_requests_total{index="' in text
    assert 'project="flights",endpoint="late"' in text


def test_a_process_reports_the_digest_that_it_hashed_itself(town: Town, release: TestRelease) -> None:
    for report in town.platform.newest_reports(2):
        (found,) = [slot for slot in report.releases if slot.digest == release.digest]
        assert found.hashed_digest == release.digest
        assert found.golden_rows == 50
        assert found.golden_at is not None
