"""What a real serving does when its processes die or its platform goes away."""

import signal
import threading
from pathlib import Path

import httpx
import psutil
import pytest
from tests.support.serving import route
from tests.support.serving_fixtures import Town, live_town, open_town
from tests.support.serving_load import metric
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults


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
