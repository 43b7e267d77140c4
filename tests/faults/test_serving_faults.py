"""What a real serving does when its models, its processes, its store or its platform fail."""

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.support.odd_model import OddModel
from tests.support.releases import ODD_CONTRACT, Golden, broken_release, pickled_folder, store_release
from tests.support.serving import LIVE_PATH, Serving, route
from tests.support.serving_fixtures import Town, live_town, open_town
from tests.support.waiting import eventually

from carrara.contracts.routes import Fallback
from carrara.storage.blobs import PREFIX

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Shared by the tests that leave serving as they found it; each publishes its own releases."""
    settings = {"CARRARA_MODEL_LOAD_TIMEOUT_SECONDS": "3", "CARRARA_PREDICT_TIMEOUT_SECONDS": "3"}
    with open_town(tmp_path_factory.mktemp("town"), settings=settings) as opened:
        yield opened


@pytest.fixture
def own_town(tmp_path: Path) -> Iterator[Town]:
    """For tests that kill; with one process, since the forkserver of each costs seconds to start."""
    with open_town(tmp_path, workers=1) as opened:
        yield opened


class Load:
    """Clients that ask without a pause, in threads, until they are stopped."""

    def __init__(self, serving: Serving, clients: int = 4) -> None:
        self.answers: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(serving,), daemon=True) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)

    def _ask(self, serving: Serving) -> None:
        with serving.client() as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(LIVE_PATH, json={"instances": [{"value": 1.0}]})
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.answers.append(answer.json())
                else:
                    self.failures.append(answer.text)


def path_of_blob(town: Town, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return town.folder / "store" / PREFIX / name[:2] / name[2:]


def flip_a_byte(path: Path) -> None:
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)


def model_children(process: psutil.Process) -> list[psutil.Process]:
    """The innermost processes below a serving process: those that hold models."""
    below = process.children(recursive=True)
    return [child for child in below if not child.children()]


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


def metric(town: Town, name: str) -> float:
    text = httpx.get(f"{town.serving.url}/metrics", trust_env=False).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{"))


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


def test_kill_9_of_a_serving_process_is_mended_while_its_sibling_answers(tmp_path: Path) -> None:
    with open_town(tmp_path) as town:
        first = live_town(town)
        victim, sibling = town.serving.processes()

        victim.kill()
        answers = [town.serving.predict({"value": 1.0}) for _ in range(20)]

        assert [answer.text for answer in answers if answer.status_code != 200 and "not_ready" not in answer.text] == []
        eventually(
            lambda: len([found for found in town.serving.processes() if found.pid != victim.pid]) == 2,
            within_seconds=15,
            what="there are two processes again",
        )
        town.wait_for(first)
        assert sibling.is_running()


def test_kill_9_of_the_parent_leaves_nothing_and_the_next_start_takes_the_port(own_town: Town) -> None:
    first = live_town(own_town)
    assert own_town.serving.process is not None
    family = psutil.Process(own_town.serving.process.pid).children(recursive=True)

    own_town.serving.kill()
    own_town.platform.reports.clear()
    own_town.serving.start()
    own_town.wait_for(first)

    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
    assert own_town.serving.predict({"value": 1.0}).status_code == 200


def test_fault_f20_sigterm_server(tmp_path: Path) -> None:
    with open_town(tmp_path, workers=1) as town:
        live_town(town)
        answers: list[httpx.Response] = []
        threads = [
            threading.Thread(target=lambda: answers.append(town.serving.predict({"value": 1.0, "seconds": 0.5})))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        eventually(lambda: metric(town, "carrara_serving_in_flight") == 6, within_seconds=5, what="all are under way")
        assert town.serving.process is not None
        boot_ids = {str(report.boot_id) for report in town.platform.newest_reports(1)}

        town.serving.process.send_signal(signal.SIGTERM)
        late = eventually(
            lambda: (answer := town.serving.predict({"value": 1.0})).status_code == 503 and answer,
            within_seconds=3,
            what="new requests are sent elsewhere",
        )
        for thread in threads:
            thread.join(30)

        assert [answer.status_code for answer in answers] == [200] * 6
        assert late.headers["retry-after"] == "1"
        assert town.serving.process.wait(30) == 0
        assert boot_ids <= town.platform.left


def test_with_the_platform_away_serving_goes_on_also_after_a_restart(own_town: Town) -> None:
    first = live_town(own_town)

    own_town.platform.go_away()
    assert own_town.serving.predict({"value": 1.0}).json()["release"] == first.digest
    own_town.serving.kill()
    own_town.serving.start()
    answer = eventually(
        lambda: (found := own_town.serving.predict({"value": 2.0})).status_code == 200 and found,
        within_seconds=30,
        what="it serves by the table on disk",
    )

    assert answer.json()["release"] == first.digest
    ready = httpx.get(f"{own_town.serving.url}/readyz", trust_env=False).json()
    assert ready["stale_seconds"] > 0
    assert "cannot be reached" in ready["trouble"]
    (saved,) = (own_town.folder / "data" / "serving").glob("*/routes.json")
    assert saved.stat().st_mode & 0o777 == 0o600

    second = own_town.odd(2, offset=100.0)
    own_town.platform.reports.clear()
    own_town.platform.come()
    own_town.publish(route(second, warm=[first], target=first))
    own_town.wait_for(second)


def test_tokens_are_believed_for_a_limited_time_without_the_platform(tmp_path: Path) -> None:
    with open_town(tmp_path, workers=1, settings={"CARRARA_MAX_STALE_AUTH_SECONDS": "2"}) as town:
        live_town(town)
        town.platform.go_away()

        answer = eventually(
            lambda: (found := town.serving.predict({"value": 1.0})).status_code == 503 and found,
            within_seconds=10,
            what="the token is no longer believed",
        )

        assert answer.json()["code"] == "auth_stale"
        town.platform.come()
        eventually(
            lambda: town.serving.predict({"value": 1.0}).status_code == 200, within_seconds=10, what="it is again"
        )


def test_a_revoked_token_is_refused_within_a_second(town: Town) -> None:
    first = live_town(town)
    assert town.serving.predict({"value": 1.0}).status_code == 200

    town.publish(route(first).model_copy(update={"token_hashes": []}))
    town.wait_for(first, within_seconds=5)

    assert [town.serving.predict({"value": 1.0}).status_code for _ in range(6)] == [401] * 6


def test_a_route_table_of_another_schema_keeps_the_last_good_one(own_town: Town) -> None:
    first = live_town(own_town)

    own_town.platform.publish_raw({"schema_version": 2, "generation": 99, "everything": "else"})
    notes = eventually(
        lambda: [report.notes for report in own_town.platform.newest_reports(1) if "schema 2" in str(report.notes)],
        within_seconds=10,
        what="it is reported",
    )

    assert "Upgrade serving" in notes[0]["trouble"]
    assert own_town.serving.predict({"value": 1.0}).json()["release"] == first.digest


def test_a_wrong_secret_is_told(tmp_path: Path) -> None:
    with open_town(tmp_path, workers=1, settings={"CARRARA_SERVING_SECRET": "another"}) as town:
        town.publish(route(town.odd(1)))

        ready = eventually(
            lambda: (found := httpx.get(f"{town.serving.url}/readyz", trust_env=False).json())["trouble"] and found,
            within_seconds=10,
            what="it says so",
        )

        assert "CARRARA_SERVING_SECRET" in ready["trouble"]
        assert ready["ready"] is False


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
