"""The catalogue of faults in a training spec: each named where it is, with what was meant."""

from typing import Any

import pytest

from carrara.contracts.datasets import ColumnProfile, ColumnSchema, StoredType, TableProfile
from carrara.contracts.documents import parse_document
from carrara.contracts.training import TrainingSpec
from carrara.kernel.errors import Invalid
from carrara.training.spec import chosen_features, spec_issues

DIGEST = "sha256:" + "0" * 64
SPEC: dict[str, Any] = {
    "model": "delays",
    "dataset": "flights",
    "split": {"kind": "time", "column": "at", "holdout_from": "2013-03-01"},
    "target": "late",
    "task": "classification",
    "trainer": {"builtin": "logistic"},
}


def _parsed(**changes: Any) -> TrainingSpec:
    return parse_document(TrainingSpec, {**SPEC, **changes}, "spec")


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"tranier": {}}, "spec.tranier", "did you mean 'trainer'"),
        ({"task": "clustering"}, "spec.task", "'classification' or 'regression'"),
        ({"model": "../../x"}, "spec.model", "pattern"),
        ({"snapshot": "newest"}, "spec.snapshot", "number of a snapshot"),
        ({"snapshot": 0}, "spec.snapshot", "number of a snapshot"),
        ({"snapshot": True}, "spec.snapshot", "number of a snapshot"),
        ({"trainer": "logistic"}, "spec.trainer", "dictionary"),
        ({"trainer": {"builtin": "xgboost"}}, "spec.trainer.builtin", "hist_gradient_boosting"),
        ({"trainer": {"builtn": "ridge"}}, "spec.trainer.builtn", "did you mean 'builtin'"),
        ({"trainer": {"entry": "train:train"}}, "spec.trainer.bundle", "missing"),
        ({"trainer": {"entry": "train.py", "bundle": DIGEST}}, "spec.trainer.entry", "pattern"),
        ({"trainer": {"builtin": "ridge"}}, "spec", "ridge"),
        ({"target": {"colum": "late"}}, "spec.target.colum", "did you mean 'column'"),
        ({"target": {"column": "late", "greater_than": 1}, "task": "regression"}, "spec", "greater_than"),
        ({"features": []}, "spec.features", "at least 1"),
        ({"features": ["a"], "exclude": ["b"]}, "spec", "not both"),
        ({"seed": -1}, "spec.seed", "greater than or equal to 0"),
        ({"memory_bytes": 1}, "spec.memory_bytes", "greater than or equal"),
        ({"split": {"kind": "random"}}, "spec.split", "'time', 'key'"),
        ({"split": {"kind": "time", "column": "at"}}, "spec.split.holdout_from", "missing"),
        ({"evaluate": False, "endpoint": "delays"}, "spec", "evaluat"),
    ],
)
def test_a_malformed_spec_is_refused_where_it_is_wrong(changes: dict[str, Any], where: str, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        _parsed(**changes)
    assert any(issue.where == where and says in issue.message for issue in caught.value.issues), caught.value.issues


@pytest.mark.parametrize("missing", ["model", "dataset", "split", "target", "task", "trainer"])
def test_a_missing_key_is_named(missing: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_document(TrainingSpec, {key: value for key, value in SPEC.items() if key != missing}, "spec")
    assert [(issue.where, issue.code) for issue in caught.value.issues] == [(f"spec.{missing}", "missing_key")]


@pytest.mark.parametrize("document", [[], "spec", 3, None])
def test_what_is_no_mapping_is_refused(document: Any) -> None:
    with pytest.raises(Invalid, match="expected keys and values"):
        parse_document(TrainingSpec, document, "spec")


SCHEMA = [
    ColumnSchema(name=name, type=kind, nullable=False, digest=DIGEST)
    for name, kind in [
        ("at", StoredType.TIMESTAMP),
        ("late", StoredType.BOOLEAN),
        ("delay", StoredType.INTEGER),
        ("carrier", StoredType.TEXT),
        ("same", StoredType.TEXT),
        ("nothing", StoredType.NUMBER),
    ]
]


def _profile() -> TableProfile:
    columns = [
        ColumnProfile(name=column.name, type=column.type, count=100, nulls=0, distinct=2, minimum=0, maximum=50)
        for column in SCHEMA
    ]
    facts: dict[str, dict[str, Any]] = {"same": {"distinct": 1, "minimum": "x"}, "nothing": {"nulls": 100}}
    return TableProfile(rows=100, columns=[c.model_copy(update=facts.get(c.name, {})) for c in columns])


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"target": "lates"}, "spec.target", "did you mean 'late'"),
        ({"features": ["carier"]}, "spec.features.0", "did you mean 'carrier'"),
        ({"exclude": ["at", "delays"]}, "spec.exclude.1", "did you mean 'delay'"),
        ({"features": ["carrier", "carrier"]}, "spec.features.1", "twice"),
        ({"features": ["late", "carrier"]}, "spec.features.0", "is the target"),
        ({"exclude": ["at", "delay", "carrier", "same", "nothing"]}, "spec.exclude", "no feature is left"),
        ({"target": "same"}, "spec.target", "nothing to learn"),
        ({"target": "nothing", "task": "regression", "trainer": {"builtin": "ridge"}}, "spec.target", "null in every"),
        ({"target": "carrier", "task": "regression", "trainer": {"builtin": "ridge"}}, "spec.target", "needs numbers"),
        ({"target": "at"}, "spec.target", "not a class"),
        ({"target": {"column": "carrier", "greater_than": 1}}, "spec.target.greater_than", "needs numbers"),
        ({"target": {"column": "delay", "greater_than": 50}}, "spec.target.greater_than", "same label"),
        ({"target": {"column": "delay", "greater_than": -1}}, "spec.target.greater_than", "same label"),
        ({"params": {"c": 1}}, "spec.params.c", "possible here"),
        ({"params": {"max_itr": 1}}, "spec.params.max_itr", "did you mean 'max_iter'"),
        ({"params": {"C": -1}}, "spec.params.C", "greater than 0"),
        ({"params": {"high_cardinality": "ignore"}}, "spec.params.high_cardinality", "'group', 'hash' or 'drop'"),
    ],
)
def test_a_spec_that_does_not_fit_the_snapshot_is_refused(changes: dict[str, Any], where: str, says: str) -> None:
    found = spec_issues(_parsed(**changes), SCHEMA, _profile())
    assert any(issue.where == where and says in issue.message for issue in found), found


def test_a_sound_spec_has_no_issues() -> None:
    assert spec_issues(_parsed(), SCHEMA, _profile()) == []
    assert spec_issues(_parsed(target={"column": "delay", "greater_than": 0}), SCHEMA, _profile()) == []


def test_features_are_all_columns_but_the_target_and_the_excluded() -> None:
    assert chosen_features(_parsed(exclude=["at"]), SCHEMA) == ["delay", "carrier", "same", "nothing"]
    assert chosen_features(_parsed(features=["same", "delay"]), SCHEMA) == ["same", "delay"]
