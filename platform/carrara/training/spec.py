"""What is wrong with a training spec, as far as the snapshot's schema and profile can tell. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from carrara.contracts.datasets import ColumnProfile, ColumnSchema, TableProfile
from carrara.contracts.documents import did_you_mean
from carrara.contracts.training import BuiltinTrainer, TrainingSpec
from carrara.datasets.labelled import check_target_type
from carrara.kernel.errors import Invalid, Issue
from carrara.training.builtin_params import builtin_params

MAX_FEATURES = 1000


def spec_issues(spec: TrainingSpec, schema: Sequence[ColumnSchema], profile: TableProfile) -> list[Issue]:
    """Each fault of the spec, named where it is; empty if nothing speaks against running it."""
    columns = {column.name: column for column in schema}
    profiles = {column.name: column for column in profile.columns}
    return [*_column_issues(spec, columns), *_target_issues(spec, columns, profiles), *_param_issues(spec)]


def chosen_features(spec: TrainingSpec, schema: Sequence[ColumnSchema]) -> list[str]:
    """The features in their order: as listed, or as the snapshot has its columns."""
    left_out = {spec.target.column, *spec.exclude}
    return spec.features or [column.name for column in schema if column.name not in left_out]


def _column_issues(spec: TrainingSpec, columns: Mapping[str, ColumnSchema]) -> Iterator[Issue]:
    for key, names in (("features", spec.features or []), ("exclude", spec.exclude)):
        for position, name in enumerate(names):
            where = f"spec.{key}.{position}"
            if name not in columns:
                yield Issue(where, f"there is no column {name!r}{did_you_mean(name, columns)}", code="unknown_column")
            elif name in names[:position]:
                yield Issue(where, f"column {name!r} is there twice", code="repeated_column")
            elif name == spec.target.column and key == "features":
                what = f"{name!r} is the target: a model that is given the answer learns nothing else"
                yield Issue(where, what, code="target_in_features")
    features = chosen_features(spec, list(columns.values()))
    if not features:
        yield Issue("spec.exclude", "no feature is left", code="no_features")
    if len(features) > MAX_FEATURES:
        yield Issue("spec.features", f"{len(features)} features; at most {MAX_FEATURES}", code="too_many_features")


def _target_issues(
    spec: TrainingSpec, columns: Mapping[str, ColumnSchema], profiles: Mapping[str, ColumnProfile]
) -> Iterator[Issue]:
    target = spec.target
    column = columns.get(target.column)
    if column is None:
        what = f"there is no column {target.column!r}{did_you_mean(target.column, columns)}"
        yield Issue("spec.target", what, code="unknown_column")
        return
    wrong = check_target_type(target, spec.task, column.type)
    if wrong is not None:
        yield wrong
        return
    profile = profiles.get(target.column)
    if profile is None:
        return
    if profile.nulls == profile.count:
        yield Issue("spec.target", f"column {target.column!r} is null in every row", code="constant_target")
    elif target.greater_than is None and profile.distinct_is_exact and profile.distinct == 1:
        what = f"column {target.column!r} is {profile.minimum!r} in every row: there is nothing to learn"
        yield Issue("spec.target", what, code="constant_target")
    elif target.greater_than is not None and not _is_inside(target.greater_than, profile):
        what = (
            f"{target.greater_than:g} does not divide column {target.column!r}, which goes from {profile.minimum} to"
            f" {profile.maximum}: every row has the same label"
        )
        yield Issue("spec.target.greater_than", what, code="constant_target")


def _is_inside(limit: float, profile: ColumnProfile) -> bool:
    low, high = profile.minimum, profile.maximum
    return not (isinstance(low, int | float) and isinstance(high, int | float)) or low <= limit < high


def _param_issues(spec: TrainingSpec) -> Sequence[Issue]:
    if not isinstance(spec.trainer, BuiltinTrainer):
        return ()
    try:
        builtin_params(spec.trainer.builtin, spec.params)
    except Invalid as error:
        return error.issues
    return ()
