"""The story: two people take a model from a table to a live endpoint, replace it, go back, and prove what happened."""

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from examples.demo.narrator import Bar, Narrator
from examples.demo.platform import DemoPlatform
from examples.demo.traffic import Row, SteadyTraffic, ask_all
from examples.flights.prepare import data_folder, flights

from carrara.contracts.deployments import RolloutView
from carrara.contracts.gates import GateReport, Outcome
from carrara.contracts.jobs import JobState, JobView
from carrara.contracts.registry import VersionState, VersionView
from carrara.contracts.routes import Fallback
from carrara.kernel.errors import Forbidden, Refused
from carrara.sdk.project import ProjectClient

FLIGHTS = Path(__file__).parents[1] / "flights"
MODEL = ENDPOINT = "delays"
COMPARED = 5000


class Broken(Exception):  # noqa: N818  # it reads as a sentence: raise Broken("...")
    """A claim of the story that did not hold."""


def tell(platform: DemoPlatform, narrator: Narrator) -> None:
    """Every step in order; `Broken` or a CarraraError at the first that does not hold."""
    with tempfile.TemporaryDirectory(prefix="carrara-demo-") as folder:
        table = Path(folder) / "flights.parquet"
        meet(platform, narrator)
        ada, grace = platform.project_as("ada"), platform.project_as("grace")
        push(ada, table, narrator)
        first = train(ada, "spec-v1.yaml", narrator)
        make_endpoint(platform, narrator)
        judge(ada, first, narrator)
        approve(ada, grace, first, narrator)
        promote_first(ada, first, table, narrator)
        compare(ada, first, table, Path(folder), narrator)
        second = train(ada, "spec-v2.yaml", narrator)
        judge(ada, second, narrator)
        approve(ada, grace, second, narrator)
        replace_and_return(ada, first, second, table, narrator)
        look_back(platform, ada, narrator)


def meet(platform: DemoPlatform, narrator: Narrator) -> None:
    with narrator.step("a project and two people"):
        admin = platform.as_("admin")
        project = admin.create_project("flights", tier=2, description="Will this flight arrive late?")
        for name in ("ada", "grace"):
            admin.create_user(name)
            platform.secrets[name] = admin.issue_token("demo", user=name).secret
        members = platform.project_as("admin")
        members.set_roles("ada", ["data_scientist", "approver"])  # so that only four eyes stop her
        members.set_roles("grace", ["approver"])
        narrator.outcome(f"project {project.name}, tier {project.tier}; ada trains, grace approves; nobody their own")


def push(ada: ProjectClient, table: Path, narrator: Narrator) -> None:
    with narrator.step("join flights, weather and planes, and push the table") as bar:
        bar.show(None, "joining")
        flights(data_folder()).to_parquet(table, index=False)
        bar.show(0.3, "pushing")
        pushed = ada.datasets.push("flights", table, time_column="time_hour").snapshot
        narrator.outcome(f"{pushed.row_count:,} rows, {len(pushed.columns)} columns, {pushed.digest[:19]}…")


def train(ada: ProjectClient, spec: str, narrator: Narrator) -> VersionView:
    with narrator.step(f"train from {spec}") as bar:
        job = ada.training.start(FLIGHTS / spec)
        ended = ada.jobs.wait(job.id, on_change=lambda now: show_job(now, bar))
        if ended.state is not JobState.SUCCEEDED:
            raise Broken(f"training ended {ended.state}: {ended.error.message if ended.error else ''}")
        narrator.outcome(f"fitted on {(ended.result or {}).get('train_rows', 0):,} flights in a confined child")
    with narrator.step("register, validate in a clean child, evaluate on the holdout") as bar:
        version = ada.models.wait_for_job(MODEL, job.id, on_change=lambda now: bar.show(None, f"is {now.state}"))
        if version.state is not VersionState.EVALUATED:
            raise Broken(f"{MODEL} {version.number} is {version.state}: {version.rejection}")
        evaluation = ada.evaluations.newest(MODEL, version.number)
        if evaluation is None:
            raise Broken("an evaluated version without evaluation")
        auc = evaluation.report.metrics["roc_auc"]
        baseline = evaluation.report.baseline
        against = f", live version on the same rows {baseline.metrics['roc_auc'].value:.4f}" if baseline else ""
        narrator.outcome(
            f"{MODEL} {version.number}: AUC {auc.value:.4f} [{auc.lower:.4f}, {auc.upper:.4f}]"
            f" on {evaluation.report.data.rows:,} flights{against}"
        )
    return version


def show_job(job: JobView, bar: Bar) -> None:
    bar.show(job.progress.fraction, job.progress.message or job.state.value)


def make_endpoint(platform: DemoPlatform, narrator: Narrator) -> None:
    with narrator.step("an endpoint with a gate policy"):
        admin = platform.project_as("admin")
        policy = admin.evaluations.put_policy(FLIGHTS / "policy.yaml")
        admin.endpoints.create(ENDPOINT, policy=policy.digest)
        narrator.outcome(f"{platform.serving_url}/endpoints/flights/{ENDPOINT}/predict")


def judge(ada: ProjectClient, version: VersionView, narrator: Narrator) -> None:
    with narrator.step(f"gates for version {version.number}"):
        report = ada.evaluations.gates(MODEL, version.number, endpoint=ENDPOINT)
        if failed := failures(report):
            raise Broken(f"gates of version {version.number}: {failed}")
        live = "" if report.live_release is None else ", one of them against the live version on the same rows"
        narrator.outcome(f"{len(report.verdicts)} rules passed{live}")


def failures(report: GateReport) -> str:
    return "; ".join(f"{v.asked}: {v.finding}" for v in report.verdicts if v.outcome is Outcome.FAILED)


def approve(ada: ProjectClient, grace: ProjectClient, version: VersionView, narrator: Narrator) -> None:
    with narrator.step(f"approval of version {version.number}"):
        try:
            ada.endpoints.decide(ENDPOINT, MODEL, version.number)
        except (Forbidden, Refused) as refusal:
            narrator.note(f"ada tries to approve her own version: {refusal.message}")
        else:
            raise Broken("the author of a version could approve it")
        grace.endpoints.decide(ENDPOINT, MODEL, version.number, comment="the evidence is good")
        narrator.outcome("refused to its author ada, given by grace")


def promote_first(ada: ProjectClient, version: VersionView, table: Path, narrator: Narrator) -> None:
    with narrator.step(f"promote version {version.number}") as bar:
        fallback = Fallback(kind="constant", prediction=False)
        rollout = promote(ada, version, bar, reason="first version", fallback=fallback)
        ada.predictions.predict(ENDPOINT, rows_of(version, table, [0]))
        narrator.mark_first_prediction()
        narrator.outcome(f"loaded, self-tested and confirmed by {rollout.reason}")


def promote(ada: ProjectClient, version: VersionView, bar: Bar, *, reason: str, **options: Any) -> RolloutView:
    started = ada.endpoints.promote(ENDPOINT, MODEL, version.number, reason=reason, **options)
    if started.rollout is None:
        raise Broken(f"not promoted: {[check.finding for check in started.checks if check.outcome != 'passed']}")
    steps = {"preparing": 0.25, "rehearsing": 0.5, "switching": 0.75}
    rollout = ada.endpoints.wait_for_rollout(
        ENDPOINT,
        started.rollout.id,
        on_change=lambda now: bar.show(steps.get(now.state, 1.0), f"{now.state}: {now.reason}"),
    )
    if rollout.state != "confirmed":
        raise Broken(f"the rollout {rollout.state}: {rollout.reason}")
    return rollout


def compare(ada: ProjectClient, version: VersionView, table: Path, folder: Path, narrator: Narrator) -> None:
    with narrator.step(f"{COMPARED:,} real March flights through the endpoint, against the offline scores") as bar:
        evaluation = ada.evaluations.newest(MODEL, version.number)
        if evaluation is None:
            raise Broken("an evaluated version without evaluation")
        scored = folder / "scored.parquet"
        ada.evaluations.download_predictions(evaluation, scored)
        offline = pq.read_table(scored).slice(0, COMPARED).to_pylist()
        rows = rows_of(version, table, [row["row"] for row in offline])
        online = ask_all(ada.predictions, ENDPOINT, rows, bar)
        classes = [name for name in offline[0] if name.startswith("probability_")]
        differences = 0
        for expected, label, given in zip(offline, online.labels, online.probabilities, strict=True):
            same = all(expected[name] == given[name.removeprefix("probability_")] for name in classes)
            differences += expected["prediction"] != label or not same
        if differences or online.releases != {version.release}:
            raise Broken(f"{differences} of {len(rows)} answers differ; releases {online.releases}")
        narrator.outcome(f"{len(rows):,} compared, labels and probabilities to the last bit: 0 differences")


def replace_and_return(
    ada: ProjectClient, first: VersionView, second: VersionView, table: Path, narrator: Narrator
) -> None:
    rows = rows_of(second, table, range(100_000, 100_400))
    old, new = f"{MODEL} {first.number}", f"{MODEL} {second.number}"
    with SteadyTraffic(ada.predictions, ENDPOINT, rows) as traffic:
        with narrator.step(f"promote version {second.number} while requests keep coming") as bar:
            promote(ada, second, bar, reason="better on the same flights")
            wait_for(lambda: traffic.versions[new] > 20, "answers by the new version")
            narrator.outcome(f"{traffic.requests:,} requests, {len(traffic.failures)} failed")
        with narrator.step("roll back, still under traffic"):
            called = time.monotonic()
            ada.endpoints.roll_back(ENDPOINT, reason="the story wants to see the way back")
            ada.endpoints.wait_until_confirmed(ENDPOINT)
            seen = traffic.versions[old]
            wait_for(lambda: traffic.versions[old] > seen + 20, "answers by the old version again")
            last = max(0.0, traffic.last_seen[new] - called)
            narrator.outcome(
                f"last answer by version {second.number} {last * 1000:.0f} ms after the call;"
                f" {traffic.requests:,} requests, {len(traffic.failures)} failed"
            )
    if traffic.failures:
        raise Broken(f"{len(traffic.failures)} requests failed, first: {traffic.failures[0]}")


def look_back(platform: DemoPlatform, ada: ProjectClient, narrator: Narrator) -> None:
    with narrator.step("history and audit"):
        entries = ada.endpoints.history(ENDPOINT)
        for entry in reversed(entries):
            release = entry.release
            live = f"{release.model} {release.version}" if release else "fallback"
            narrator.note(f"{entry.since:%H:%M:%S}  {entry.kind:<9}  {live:<10}  by {entry.by}: {entry.reason}")
        if [entry.kind for entry in reversed(entries)] != ["promotion", "promotion", "rollback"]:
            raise Broken(f"the history says {[entry.kind for entry in entries]}")
        report = platform.as_("admin").verify_audit()
        if not report.holds:
            raise Broken(f"the audit chain is broken: {report}")
        narrator.outcome(f"{len(entries)} ledger entries; {report.checked} audit records sealed, the chain is whole")


def rows_of(version: VersionView, table: Path, numbers: Iterable[int]) -> list[Row]:
    """These rows of the table as requests: the columns of the version's contract, null for what is missing."""
    if version.contract is None:
        raise Broken("a validated version without contract")
    columns = [column.name for column in version.contract.inputs]
    taken = pq.read_table(table, columns=columns).take(list(numbers)).to_pylist()
    return [{name: None if value != value else value for name, value in row.items()} for row in taken]


def wait_for(check: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise Broken(f"no {what} within {seconds:g} s")
        time.sleep(0.02)
