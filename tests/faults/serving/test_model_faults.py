"""What a real serving does when a model or its files fail."""

import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest
from tests.support.odd_model import OddModel
from tests.support.releases import ODD_CONTRACT, Golden, broken_release, pickled_folder, store_release
from tests.support.serving import route
from tests.support.serving_fixtures import Town, live_town, open_town
from tests.support.serving_load import Load, metric, model_children
from tests.support.waiting import eventually

from carrara.contracts.routes import Fallback
from carrara.storage.blobs import PREFIX

pytestmark = pytest.mark.faults


def path_of_blob(town: Town, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return town.folder / "store" / PREFIX / name[:2] / name[2:]


def flip_a_byte(path: Path) -> None:
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)


def test_switches_under_load_lose_no_request_and_name_the_right_release(town: Town) -> None:
    one, two = town.odd(1, offset=100.0), town.odd(2, offset=200.0)
    town.publish(route(one, warm=[two], target=two))
    town.wait_for(one)

    with Load(town.serving) as load:
        for live, warm in [(two, one), (one, two)] * 4:
            town.publish(route(live, warm=[warm], target=warm))
            town.wait_for(live)

    assert load.failures == []
    versions = Counter(answer["version"] for answer in load.answers)
    assert versions[1] and versions[2]
    for answer in load.answers:
        assert answer["predictions"] == [{"prediction": answer["version"] * 100.0 + 1.0}]
        assert answer["release"] == (one, two)[answer["version"] - 1].digest


def test_fault_f13_artifact_corrupted(town: Town) -> None:
    first = live_town(town)
    second = town.odd(2, offset=1.0)
    (model_file,) = [file for file in second.manifest.files if file.path == "model.pkl"]
    flip_a_byte(path_of_blob(town, model_file.digest))

    town.publish(route(second, warm=[first], target=first))
    failures = eventually(lambda: town.failures_of(second), within_seconds=30, what="both processes refuse it")

    assert {failure.error_code for failure in failures} == {"digest_mismatch"}
    assert town.serving.predict({"value": 5.0}).json()["release"] == first.digest


def test_fault_f13_a_damaged_local_copy_is_fetched_again(own_town: Town) -> None:
    first = live_town(own_town)
    own_town.serving.stop()
    (copy,) = (own_town.folder / "data" / "serving").glob("*/models/*/model.pkl")
    flip_a_byte(copy)

    own_town.platform.reports.clear()
    own_town.serving.start()
    own_town.wait_for(first)

    assert own_town.serving.predict({"value": 5.0}).json()["predictions"] == [{"prediction": 5.0}]


def test_an_artifact_that_is_gone_is_told_as_missing(town: Town) -> None:
    first = live_town(town)
    second = town.odd(2, offset=1.0)
    path_of_blob(town, second.manifest.files[0].digest).unlink()

    town.publish(route(second, warm=[first], target=first))
    failures = eventually(lambda: town.failures_of(second), within_seconds=30, what="both processes refuse it")

    assert {failure.error_code for failure in failures} == {"artifact_missing"}


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        pytest.param("raise ValueError('not today')", "load_failed", "not today", id="raises"),
        pytest.param("import ctypes; ctypes.string_at(0)", "load_failed", "SIGSEGV", id="segfault"),
        pytest.param("import no_such_library_at_all", "load_failed", "no_such_library_at_all", id="missing library"),
        pytest.param("import time; time.sleep(600)", "load_timeout", "within 3 s", id="hangs"),
        pytest.param("while True: pass", "load_timeout", "within 3 s", id="loops"),
    ],
)
def test_fault_f16_model_fails_to_load(town: Town, source: str, code: str, said: str) -> None:
    first = live_town(town)
    bad = town.keep(broken_release(town.blobs, town.new_folder(), source))

    with Load(town.serving, clients=1) as load:
        town.publish(route(bad, warm=[first], target=first))
        failures = eventually(lambda: town.failures_of(bad), within_seconds=40, what="both processes give it up")

    assert {failure.error_code for failure in failures} == {code}
    assert all(said in (failure.error or "") for failure in failures)
    assert load.failures == []
    assert {answer["release"] for answer in load.answers} == {first.digest}


def test_a_release_that_does_not_give_its_golden_answers_never_serves(town: Town) -> None:
    first = live_town(town)
    folder = pickled_folder(town.new_folder(), OddModel(offset=5.0))
    golden = Golden({"value": [1.0]}, {"prediction": [1.0]})
    wrong = town.keep(store_release(town.blobs, folder, ODD_CONTRACT, golden, version=2, serialization="pickle"))

    town.publish(route(wrong, warm=[first], target=first))
    failures = eventually(lambda: town.failures_of(wrong), within_seconds=30, what="both processes refuse it")

    assert {failure.error_code for failure in failures} == {"wrong_golden_answers"}
    assert "expected 1.0, got 6.0" in (failures[0].error or "")
    assert town.serving.predict({"value": 5.0}).json()["release"] == first.digest


@pytest.mark.parametrize("act", ["nan", "inf", "short", "object", "garbage"])
def test_fault_f31_model_returns_nan(town: Town, act: str) -> None:
    live_town(town)
    before = faults_of(town)

    answer = town.serving.predict({"value": 1.0, "act": act})

    assert (answer.status_code, answer.json()["code"]) == (502, "bad_model_output")
    assert town.serving.predict({"value": 1.0}).status_code == 200
    eventually(lambda: faults_of(town) == before + 1, within_seconds=5, what="it is counted as the model's fault")


def faults_of(town: Town) -> int:
    return sum(found.endpoints[0].model_faults for found in town.platform.newest_reports(2))


def test_fault_f36_model_takes_30s(tmp_path: Path) -> None:
    with open_town(tmp_path, workers=1, settings={"CARRARA_PREDICT_TIMEOUT_SECONDS": "1.5"}) as town:
        live_town(town)
        answers: list[httpx.Response] = []
        stuck = threading.Thread(target=lambda: answers.append(town.serving.predict({"value": 1.0, "seconds": 30.0})))
        stuck.start()
        eventually(lambda: metric(town, "carrara_serving_in_flight") == 1, within_seconds=5, what="it is under way")

        assert httpx.get(f"{town.serving.url}/healthz", trust_env=False).status_code == 200
        stuck.join(10)

        assert (answers[0].status_code, answers[0].json()["code"]) == (504, "deadline_exceeded")
        assert town.serving.predict({"value": 2.0}).json()["predictions"] == [{"prediction": 2.0}]


def test_a_model_that_dies_again_and_again_gives_way_to_the_rollback_target(tmp_path: Path) -> None:
    with open_town(tmp_path, workers=1) as town:
        first = live_town(town)
        second = town.odd(2, offset=100.0)
        town.publish(route(second, warm=[first], target=first))
        town.wait_for(second)

        codes = [town.serving.predict({"value": 1.0, "act": "exit"}).json()["code"] for _ in range(3)]

        assert codes == ["model_crashed"] * 3
        eventually(
            lambda: town.serving.predict({"value": 1.0}).json().get("release") == first.digest,
            within_seconds=5,
            what="the rollback target answers",
        )
        (report,) = eventually(
            lambda: [found for found in town.platform.newest_reports(1) if found.endpoints[0].on_fallback],
            within_seconds=5,
            what="it is reported",
        )
        assert report.endpoints[0].live == [first.digest]
        assert "died 3 times" in report.notes["gave_up"][second.digest]


def test_kill_9_of_a_model_child_costs_at_most_its_request(town: Town) -> None:
    first = live_town(town)
    before = [process.pid for process in town.serving.processes()]
    for process in town.serving.processes():
        for child in model_children(process):
            child.kill()

    eventually(
        lambda: all(town.serving.predict({"value": 1.0}).status_code == 200 for _ in range(4)),
        within_seconds=15,
        what="the models answer again",
    )

    assert [process.pid for process in town.serving.processes()] == before
    assert town.is_live(first)


def test_a_revoked_token_is_refused_within_a_second(town: Town) -> None:
    first = live_town(town)
    assert town.serving.predict({"value": 1.0}).status_code == 200

    town.publish(route(first), tokens=())
    town.wait_for(first, within_seconds=5)

    assert [town.serving.predict({"value": 1.0}).status_code for _ in range(6)] == [401] * 6


def test_one_bad_model_does_not_touch_another_endpoint(town: Town) -> None:
    """I10: the neighbour of a release that dies all the time answers every request."""
    good, bad = town.odd(1), town.odd(2, offset=100.0)
    neighbour = route(bad, endpoint="bad", fallback=Fallback(kind="unavailable"))
    town.publish(route(good), neighbour)
    town.wait_for(good)
    eventually(lambda: town.is_live(bad, "bad"), within_seconds=30, what="the bad one is live, too")

    with Load(town.serving, clients=2) as load:
        for act in ["exit", "segv", "garbage", "raise", "exit"]:
            assert town.serving.predict({"value": 1.0, "act": act}, endpoint="bad").status_code >= 500

    assert load.failures == []
    assert load.answers
