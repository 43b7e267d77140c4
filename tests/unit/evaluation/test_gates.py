"""Every rule, with what makes it pass, fail, and be unable to tell."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from carrara.contracts.documents import parse_document
from carrara.contracts.evaluation import Baseline, EvaluatedData, EvaluationReport, Interval, Latency
from carrara.contracts.gates import GatePolicy, Outcome, Verdict
from carrara.evaluation.gates import Evidence, LiveRelease, default_policy, judge, overall
from carrara.kernel.errors import Invalid

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIVE = LiveRelease("sha256:" + "1" * 64, "delays", 1)
SNAPSHOT = "sha256:" + "5" * 64
ID = UUID(int=7)


def _baseline(**changes: Any) -> Baseline:
    made = {
        "endpoint": "delays",
        "release_id": ID,
        "release_digest": LIVE.digest,
        "model": "delays",
        "version": 1,
        "metrics": {},
        "differences": {
            "roc_auc": Interval(value=0.01, lower=-0.002, upper=0.02),
            "log_loss": Interval(value=0.01, lower=0.005, upper=0.015),
        },
        "shared_rows": 0,
        "same_answers": 900,
    }
    return Baseline.model_validate({**made, **changes})


def _report(**changes: Any) -> EvaluationReport:
    made = {
        "model": "delays",
        "version": 2,
        "artifact_digest": SNAPSHOT,
        "artifact_bytes": 1000,
        "task": "classification",
        "classes": [False, True],
        "positive_class": True,
        "data": _data(),
        "metrics": {
            "roc_auc": Interval(value=0.92, lower=0.91, upper=0.93),
            "ece": Interval(value=0.02),
            "precision": Interval(value=None),
        },
        "resamples": 200,
        "seed": 0,
        "latency": Latency(p50_milliseconds=5, p99_milliseconds=20, calls=100),
        "rows_per_second": 1000,
        "baseline": _baseline(),
    }
    return EvaluationReport.model_validate({**made, **changes})


def _data(**changes: Any) -> EvaluatedData:
    made = {
        "dataset": "flights",
        "snapshot_id": ID,
        "snapshot_number": 3,
        "snapshot_digest": SNAPSHOT,
        "split_id": ID,
        "split_digest": SNAPSHOT,
        "rows": 1000,
        "target": "late",
        "dropped_null_targets": 0,
        "look": 4,
        "shared_rows": 0,
    }
    return EvaluatedData.model_validate({**made, **changes})


EVIDENCE = Evidence(
    report=_report(),
    evaluated_at=NOW - timedelta(days=2),
    artifact_bytes=1000,
    live=LIVE,
    own_release="sha256:" + "2" * 64,
    endpoint="delays",
    now=NOW,
)


def _judged(rule: dict[str, Any], **changes: Any) -> Verdict:
    policy = parse_document(GatePolicy, {"rules": [rule]}, "policy")
    [verdict] = judge(policy, replace(EVIDENCE, **changes))
    return verdict


AUC: dict[str, Any] = {"rule": "metric", "name": "roc_auc"}
NO_WORSE: dict[str, Any] = {"rule": "no_worse_than_live", "metric": "roc_auc"}
ON: dict[str, Any] = {"rule": "evaluated_on"}
PASSED, FAILED, UNTOLD = Outcome.PASSED, Outcome.FAILED, Outcome.COULD_NOT_TELL


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({**AUC, "at_least": 0.92}, PASSED),
        ({**AUC, "at_least": 0.921}, FAILED),
        ({**AUC, "at_most": 0.9}, FAILED),
        ({**AUC, "at_least": 0.9, "at_most": 0.95}, PASSED),
        ({**AUC, "at_least": 0.91, "judge_by": "interval"}, PASSED),
        ({**AUC, "at_least": 0.92, "judge_by": "interval"}, UNTOLD),
        ({**AUC, "at_least": 0.94, "judge_by": "interval"}, FAILED),
        ({**AUC, "at_most": 0.93, "judge_by": "interval"}, PASSED),
        ({**AUC, "at_most": 0.92, "judge_by": "interval"}, UNTOLD),
        ({"rule": "metric", "name": "ece", "at_most": 0.05, "judge_by": "interval"}, UNTOLD),
        ({"rule": "metric", "name": "precision", "at_least": 0.5}, UNTOLD),
        ({"rule": "metric", "name": "roc_acu", "at_least": 0.5}, UNTOLD),
        ({**NO_WORSE}, PASSED),
        ({**NO_WORSE, "judge_by": "interval"}, UNTOLD),
        ({**NO_WORSE, "by_at_most": 0.002, "judge_by": "interval"}, PASSED),
        ({"rule": "no_worse_than_live", "metric": "log_loss"}, FAILED),
        ({"rule": "no_worse_than_live", "metric": "log_loss", "by_at_most": 0.01}, PASSED),
        ({"rule": "no_worse_than_live", "metric": "log_loss", "by_at_most": 0.01, "judge_by": "interval"}, UNTOLD),
        ({"rule": "no_worse_than_live", "metric": "log_loss", "by_at_most": 0.004, "judge_by": "interval"}, FAILED),
        ({"rule": "no_worse_than_live", "metric": "rmse"}, UNTOLD),
        ({"rule": "artifact_size", "at_most_bytes": 1000}, PASSED),
        ({"rule": "artifact_size", "at_most_bytes": 999}, FAILED),
        ({"rule": "latency_p50", "at_most_milliseconds": 5}, PASSED),
        ({"rule": "latency_p99", "at_most_milliseconds": 19}, FAILED),
        ({**ON, "max_age_days": 2}, PASSED),
        ({**ON, "max_age_days": 1.9}, FAILED),
        ({**ON, "snapshot_digest": SNAPSHOT, "min_rows": 1000, "max_looks": 4}, PASSED),
        ({**ON, "snapshot_digest": LIVE.digest}, FAILED),
        ({**ON, "min_rows": 1001}, FAILED),
        ({**ON, "max_looks": 3}, FAILED),
        ({"rule": "shared_rows"}, PASSED),
    ],
)
def test_a_rule_on_this_evidence(rule: dict[str, Any], outcome: Outcome) -> None:
    verdict = _judged(rule)
    assert verdict.outcome is outcome, verdict
    assert verdict.finding
    assert bool(verdict.how_to_pass) is (outcome is not PASSED)


ALL_RULES = [
    {**AUC, "at_least": 0.1},
    {**NO_WORSE},
    {**ON, "min_rows": 1},
    {"rule": "shared_rows"},
    {"rule": "latency_p50", "at_most_milliseconds": 1},
]


@pytest.mark.parametrize("rule", ALL_RULES)
def test_without_an_evaluation_no_rule_can_tell(rule: dict[str, Any]) -> None:
    verdict = _judged(rule, report=None, evaluated_at=None)
    assert verdict.outcome is UNTOLD
    assert "evaluate" in verdict.how_to_pass


def test_a_comparison_with_another_release_than_the_live_one_cannot_tell() -> None:
    other = _judged(NO_WORSE, report=_report(baseline=_baseline(release_digest="sha256:" + "9" * 64)))
    none = _judged(NO_WORSE, report=_report(baseline=None))
    assert (other.outcome, none.outcome) == (UNTOLD, UNTOLD)
    assert "--endpoint delays" in none.how_to_pass


def test_where_nothing_is_live_there_is_nothing_to_be_worse_than() -> None:
    assert _judged(NO_WORSE, live=None, report=_report(baseline=None)).outcome is PASSED
    assert _judged(NO_WORSE, live=None, endpoint=None).outcome is UNTOLD
    assert _judged(NO_WORSE, own_release=LIVE.digest, report=None).outcome is PASSED


def test_shared_rows_of_either_version_fail_and_unknown_ones_cannot_tell() -> None:
    rule = {"rule": "shared_rows", "at_most": 2}
    assert _judged(rule, report=_report(data=_data(shared_rows=3))).outcome is FAILED
    assert _judged(rule, report=_report(baseline=_baseline(shared_rows=3))).outcome is FAILED
    assert _judged(rule, report=_report(data=_data(shared_rows=None))).outcome is UNTOLD
    assert _judged(rule, report=_report(baseline=_baseline(shared_rows=None))).outcome is UNTOLD
    assert _judged(rule, report=_report(data=_data(shared_rows=2))).outcome is PASSED


def test_unknown_size_cannot_tell() -> None:
    assert _judged({"rule": "artifact_size", "at_most_bytes": 1}, artifact_bytes=None).outcome is UNTOLD


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([PASSED, PASSED], PASSED),
        ([PASSED, UNTOLD], UNTOLD),
        ([UNTOLD, FAILED, PASSED], FAILED),
        ([], PASSED),
    ],
)
def test_overall(outcomes: list[Outcome], expected: Outcome) -> None:
    verdicts = [Verdict(rule="metric", asked="", outcome=outcome, finding="") for outcome in outcomes]
    assert overall(verdicts) is expected


def test_the_default_policy_names_metrics_that_the_task_has() -> None:
    rules = {rule.rule: rule for rule in default_policy("classification", has_probabilities=False).rules}
    assert rules["no_worse_than_live"].metric == "accuracy"  # type: ignore[union-attr]  # the rule of that name
    assert overall(judge(default_policy("classification"), EVIDENCE)) is PASSED


@pytest.mark.parametrize(
    ("rules", "where", "says"),
    [
        ([{"rule": "metrc"}], "policy.rules.0", "metric"),
        ([{"rule": "metric", "name": "f1"}], "policy.rules.0", "at_least"),
        ([{"rule": "metric", "nam": "f1", "at_least": 1}], "policy.rules.0.nam", "did you mean 'name'"),
        ([{"rule": "artifact_size", "at_most_bytes": 0}], "policy.rules.0.at_most_bytes", "greater than 0"),
        ([{"rule": "evaluated_on"}], "policy.rules.0", "max_looks"),
        ([], "policy.rules", "at least 1"),
    ],
)
def test_a_faulty_policy_is_refused_where_it_is_wrong(rules: list[Any], where: str, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_document(GatePolicy, {"rules": rules}, "policy")
    assert any(issue.where == where and says in issue.message for issue in caught.value.issues), caught.value.issues
