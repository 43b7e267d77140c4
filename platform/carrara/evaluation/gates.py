"""Judges a version by a policy. Pure: what is known goes in, verdicts come out; what is not known cannot pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from carrara.contracts.documents import did_you_mean
from carrara.contracts.evaluation import EvaluationReport, Interval
from carrara.contracts.gates import (
    ArtifactSize,
    EvaluatedOn,
    GatePolicy,
    LatencyP50,
    LatencyP99,
    MetricRule,
    NoWorseThanLive,
    Outcome,
    Rule,
    SharedRows,
    Verdict,
)
from carrara.evaluation.metrics import HIGHER_IS_BETTER

_SECONDS_A_DAY = 86400.0


@dataclass(frozen=True)
class LiveRelease:
    """What the endpoint answers with now."""

    digest: str
    model: str
    version: int


@dataclass(frozen=True)
class Evidence:
    """All that gates may know. `report` is None before the first evaluation; `live` None where nothing is live;
    `endpoint` None when nobody asked for one."""

    report: EvaluationReport | None
    evaluated_at: datetime | None
    artifact_bytes: int | None
    live: LiveRelease | None
    own_release: str | None
    endpoint: str | None
    now: datetime


@dataclass(frozen=True)
class Finding:
    """The answer of one rule, before it is put into words for the report."""

    outcome: Outcome
    text: str
    evidence: Mapping[str, Any]
    how_to_pass: str = ""


def judge(policy: GatePolicy, evidence: Evidence) -> list[Verdict]:
    """One verdict for each rule, in the policy's order."""
    return [_verdict(rule, evidence) for rule in policy.rules]


def overall(verdicts: Sequence[Verdict]) -> Outcome:
    """Failed if any failed, else could not tell if any could not, else passed."""
    found = {verdict.outcome for verdict in verdicts}
    return next((o for o in (Outcome.FAILED, Outcome.COULD_NOT_TELL) if o in found), Outcome.PASSED)


def default_policy(task: Literal["classification", "regression"], has_probabilities: bool = True) -> GatePolicy:
    """What a version must meet where nobody has said: about as good as live, on rows it was not trained on."""
    classifier = "log_loss" if has_probabilities else "accuracy"
    metric = classifier if task == "classification" else "r2"
    return GatePolicy(
        rules=[
            NoWorseThanLive(rule="no_worse_than_live", metric=metric, by_at_most=0.01),
            SharedRows(rule="shared_rows", at_most=0),
            EvaluatedOn(rule="evaluated_on", min_rows=100, max_looks=50, max_age_days=90),
            LatencyP50(rule="latency_p50", at_most_milliseconds=500),
        ]
    )


def _verdict(rule: Rule, evidence: Evidence) -> Verdict:
    finding = _JUDGES[type(rule)](rule, evidence)
    return Verdict(
        rule=rule.rule,
        asked=_asked(rule),
        outcome=finding.outcome,
        finding=finding.text,
        evidence=dict(finding.evidence),
        how_to_pass=finding.how_to_pass,
    )


def _asked(rule: Rule) -> str:
    given = rule.model_dump(exclude={"rule"}, exclude_none=True)
    return " ".join([rule.rule, ", ".join(f"{key} {value}" for key, value in given.items())]).strip()


def _not_evaluated(evidence: Evidence) -> Finding:
    how = "evaluate it: `carrara evaluate MODEL VERSION`" + (
        f" --endpoint {evidence.endpoint}" if evidence.live else ""
    )
    return Finding(Outcome.COULD_NOT_TELL, "this version has no evaluation", {}, how)


def _metric(rule: MetricRule, evidence: Evidence) -> Finding:
    if evidence.report is None:
        return _not_evaluated(evidence)
    known = evidence.report.metrics
    measured = known.get(rule.name)
    if measured is None:
        return Finding(
            Outcome.COULD_NOT_TELL,
            f"the evaluation has no metric {rule.name!r}{did_you_mean(rule.name, known)}",
            {"metrics": sorted(known)},
            "name one of the metrics in the evidence, for this task",
        )
    if measured.value is None:
        return Finding(
            Outcome.COULD_NOT_TELL,
            f"{rule.name} is not defined on this holdout",
            {},
            "take a holdout that holds every class and enough rows",
        )
    band = (measured.value, measured.value) if rule.judge_by == "value" else _band(measured)
    if band is None:
        return _without_interval(rule.name)
    lower, upper = band
    figures = {"value": measured.value, "lower": measured.lower, "upper": measured.upper}
    limits = [(rule.at_least, lower, upper), (None if rule.at_most is None else -rule.at_most, -upper, -lower)]
    outcomes = [_against(limit, worst, best) for limit, worst, best in limits if limit is not None]
    outcome = next((o for o in (Outcome.FAILED, Outcome.COULD_NOT_TELL) if o in outcomes), Outcome.PASSED)
    shown = f"{rule.name} is {measured.value:.6g}" + _interval_text(measured)
    how = {
        Outcome.PASSED: "",
        Outcome.FAILED: f"train a version with {rule.name} {_wanted(rule)} on this holdout",
        Outcome.COULD_NOT_TELL: "the interval reaches over the limit: evaluate on more rows",
    }
    return Finding(outcome, shown, figures, how[outcome])


def _no_worse(rule: NoWorseThanLive, evidence: Evidence) -> Finding:
    live = evidence.live
    if evidence.endpoint is None:
        return Finding(Outcome.COULD_NOT_TELL, "no endpoint was named, so nothing is live", {}, "name an endpoint")
    if live is None:
        return Finding(Outcome.PASSED, "nothing is live, so there is nothing to be worse than", {})
    if live.digest == evidence.own_release:
        return Finding(Outcome.PASSED, "this version is what is live", {"live": live.digest})
    if evidence.report is None:
        return _not_evaluated(evidence)
    again = f"evaluate it against what is live now: `carrara evaluate MODEL VERSION --endpoint {evidence.endpoint}`"
    baseline = evidence.report.baseline
    named = f"{live.model} version {live.version}"
    if baseline is None or baseline.release_digest != live.digest:
        compared = "nothing" if baseline is None else f"{baseline.model} version {baseline.version}"
        return Finding(
            Outcome.COULD_NOT_TELL,
            f"{named} is live, but the evaluation compared with {compared}",
            {"live": live.digest, "compared_with": baseline.release_digest if baseline else None},
            again,
        )
    difference = baseline.differences.get(rule.metric)
    better = HIGHER_IS_BETTER.get(rule.metric)
    if difference is None or difference.value is None or better is None:
        known = sorted(baseline.differences)
        return Finding(
            Outcome.COULD_NOT_TELL,
            f"the evaluation has no difference in {rule.metric!r}{did_you_mean(rule.metric, known)}",
            {"metrics": known},
            "name one of the metrics in the evidence, for this task",
        )
    band = (difference.value, difference.value) if rule.judge_by == "value" else _band(difference)
    if band is None:
        return _without_interval(rule.metric)
    worst, best = band if better else (-band[1], -band[0])
    outcome = _against(-rule.by_at_most, worst, best)
    figures = {
        "difference": difference.value,
        "lower": difference.lower,
        "upper": difference.upper,
        "live": live.digest,
    }
    shown = f"{rule.metric} differs from {named} by {difference.value:+.6g}" + _interval_text(difference)
    how = {
        Outcome.PASSED: "",
        Outcome.FAILED: f"train a version that is at most {rule.by_at_most:g} worse in {rule.metric} on the same rows",
        Outcome.COULD_NOT_TELL: "the interval reaches over the limit: evaluate on more rows",
    }
    return Finding(outcome, shown, figures, how[outcome])


def _artifact_size(rule: ArtifactSize, evidence: Evidence) -> Finding:
    size = evidence.artifact_bytes
    if size is None:
        return Finding(Outcome.COULD_NOT_TELL, "the size of the artifact is not known", {}, "validate the version")
    how = f"make the saved model at most {rule.at_most_bytes} bytes: fewer or shallower trees, fewer levels"
    return _at_most("the model folder", size, rule.at_most_bytes, "bytes", how)


def _latency(rule: LatencyP50 | LatencyP99, evidence: Evidence) -> Finding:
    if evidence.report is None:
        return _not_evaluated(evidence)
    latency = evidence.report.latency
    found = latency.p50_milliseconds if isinstance(rule, LatencyP50) else latency.p99_milliseconds
    how = "train a smaller model: fewer or shallower trees, fewer columns"
    return _at_most(f"one row takes {rule.rule[-3:]}", found, rule.at_most_milliseconds, "ms", how)


def _shared_rows(rule: SharedRows, evidence: Evidence) -> Finding:
    if evidence.report is None:
        return _not_evaluated(evidence)
    own = evidence.report.data.shared_rows
    baseline = evidence.report.baseline
    of_live = baseline.shared_rows if baseline is not None else 0
    figures = {"candidate": own, "live": of_live, "rows": evidence.report.data.rows}
    if own is None or of_live is None:
        who = "this version" if own is None else "the live version"
        how = "train it here, so that its training rows are known, or leave this rule out of the policy"
        return Finding(Outcome.COULD_NOT_TELL, f"it is not known on which rows {who} was trained", figures, how)
    if max(own, of_live) <= rule.at_most:
        return Finding(Outcome.PASSED, f"{own} rows of the holdout were trained on, {of_live} by the live one", figures)
    who = "this version" if own > rule.at_most else "the live version"
    return Finding(
        Outcome.FAILED,
        f"{max(own, of_live)} of {evidence.report.data.rows} holdout rows are among the training rows of {who}",
        figures,
        "choose a split whose holdout neither version was trained on, or remove duplicate rows",
    )


def _evaluated_on(rule: EvaluatedOn, evidence: Evidence) -> Finding:
    report, at = evidence.report, evidence.evaluated_at
    if report is None or at is None:
        return _not_evaluated(evidence)
    age_days = (evidence.now - at).total_seconds() / _SECONDS_A_DAY
    data = report.data
    faults = []
    if rule.max_age_days is not None and age_days > rule.max_age_days:
        faults.append((f"it is {age_days:.1f} days old", "evaluate again"))
    if rule.snapshot_digest not in (None, data.snapshot_digest):
        faults.append((f"it used snapshot {data.snapshot_number} of {data.dataset}", "evaluate on the asked snapshot"))
    if rule.min_rows is not None and data.rows < rule.min_rows:
        faults.append((f"it scored {data.rows} rows", "take a larger holdout"))
    if rule.max_looks is not None and data.look > rule.max_looks:
        faults.append((f"it was look {data.look} at this holdout", "hold out rows that were not looked at so often"))
    figures = {"age_days": round(age_days, 3), "snapshot": data.snapshot_digest, "rows": data.rows, "look": data.look}
    if not faults:
        return Finding(Outcome.PASSED, f"{data.rows} rows, look {data.look}, {age_days:.1f} days ago", figures)
    return Finding(
        Outcome.FAILED, "; ".join(found for found, _ in faults), figures, "; ".join(how for _, how in faults)
    )


def _at_most(what: str, found: float, limit: float, unit: str, how: str) -> Finding:
    outcome = Outcome.PASSED if found <= limit else Outcome.FAILED
    figures = {"found": found, "at_most": limit, "unit": unit}
    return Finding(outcome, f"{what}: {found:g} {unit}", figures, "" if outcome is Outcome.PASSED else how)


def _against(limit: float, worst: float, best: float) -> Outcome:
    """Higher is better here. A band that reaches over the limit cannot tell."""
    if worst >= limit:
        return Outcome.PASSED
    return Outcome.FAILED if best < limit else Outcome.COULD_NOT_TELL


def _band(measured: Interval) -> tuple[float, float] | None:
    return None if measured.lower is None or measured.upper is None else (measured.lower, measured.upper)


def _without_interval(name: str) -> Finding:
    return Finding(Outcome.COULD_NOT_TELL, f"{name} has no interval", {}, "evaluate with resamples of 200 or more")


def _interval_text(measured: Interval) -> str:
    band = _band(measured)
    return "" if band is None else f" (95 % interval {band[0]:.6g} to {band[1]:.6g})"


def _wanted(rule: MetricRule) -> str:
    limits = [("at least", rule.at_least), ("at most", rule.at_most)]
    return " and ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)


_JUDGES: Mapping[type, Callable[[Any, Evidence], Finding]] = {
    MetricRule: _metric,
    NoWorseThanLive: _no_worse,
    ArtifactSize: _artifact_size,
    LatencyP50: _latency,
    LatencyP99: _latency,
    EvaluatedOn: _evaluated_on,
    SharedRows: _shared_rows,
}
