"""A real serving, asked over HTTP, with a model that `mlflow.sklearn.save_model` wrote."""

import gzip
import json
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.releases import Golden, TestRelease, store_release
from tests.support.serving import LIVE_PATH, TOKEN, route
from tests.support.serving_fixtures import Town, open_town

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.contracts.routes import Fallback
from carrara.inference.python_model import PythonModel, load_model

CONTRACT = ModelContract(
    task="classification",
    classes=["on time", "late"],
    inputs=[
        InputColumn(name="dep_delay", type=ColumnType.NUMBER, nullable=True),
        InputColumn(name="distance", type=ColumnType.INTEGER),
        InputColumn(name="carrier", type=ColumnType.TEXT, nullable=True),
    ],
    example={"dep_delay": 3.5, "distance": 700, "carrier": "UA"},
)


def flights(count: int, seed: int) -> dict[str, list[Any]]:
    """Columns of made-up departures, some values missing."""
    dice = random.Random(seed)
    return {
        "dep_delay": [None if dice.random() < 0.1 else round(dice.gauss(10, 30), 1) for _ in range(count)],
        "distance": [dice.randrange(80, 4000) for _ in range(count)],
        "carrier": [dice.choice(["UA", "AA", "B6", None]) for _ in range(count)],
    }


def save_with_mlflow(folder: Path) -> Path:
    """A pipeline with imputation, scaling, one-hot columns and trees, fitted and saved as a user would."""
    import mlflow.sklearn
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from carrara.inference.frames import to_frame
    from carrara.inference.trusted import TRUSTED_TYPES

    columns = flights(400, seed=1)
    frame = to_frame(columns, CONTRACT)
    labels = ["late" if (delay or 0) > 15 else "on time" for delay in columns["dep_delay"]]
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    before = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["carrier"]), (numbers, ["dep_delay", "distance"])
    )
    model = make_pipeline(before, HistGradientBoostingClassifier(max_iter=20, random_state=0)).fit(frame, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow and its dependencies warn of their own affairs
        mlflow.sklearn.save_model(
            model,
            folder,
            input_example=frame.head(3),
            pip_requirements=["scikit-learn"],
            serialization_format="skops",
            skops_trusted_types=sorted(TRUSTED_TYPES),
        )
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_with_mlflow(tmp_path_factory.mktemp("model") / "late")


@pytest.fixture(scope="module")
def offline(model_folder: Path) -> PythonModel:
    """The model as evaluation would use it."""
    return load_model(model_folder, CONTRACT, "sklearn")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, offline: PythonModel) -> Iterator[Town]:
    settings = {"CARRARA_MAX_BODY_BYTES": str(1 << 20), "CARRARA_MAX_ROWS": "1000"}
    with open_town(tmp_path_factory.mktemp("town"), settings=settings) as opened:
        rows = flights(50, seed=2)
        golden = Golden(rows, offline.predict(rows))
        lenient = CONTRACT.model_copy(update={"extra_columns": "ignore"})
        for contract in (CONTRACT, lenient):
            opened.keep(store_release(opened.blobs, model_folder, contract, golden))
        strict, loose = opened.releases.values()
        fallback = Fallback(kind="constant", prediction="on time")
        opened.publish(
            route(strict), route(loose, endpoint="loose"), route(None, fallback=fallback, endpoint="nothing-yet")
        )
        opened.wait_for(strict)
        yield opened


@pytest.fixture(scope="module")
def release(town: Town) -> TestRelease:
    return next(iter(town.releases.values()))


@pytest.fixture
def client(town: Town) -> Iterator[httpx.Client]:
    with town.serving.client() as opened:
        yield opened


def instances(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


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
