"""Which of MLflow's routes a client may call, and as what. Pure: what is not listed here is refused.

Aliases, stages, deletes, the gateway, jobs, webhooks, GraphQL and workspaces are left out: what goes live passes
through Carrara's gates, and what is part of a version's lineage stays.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a call does. READ changes nothing; TRACK writes runs and artifacts; REGISTER writes the model registry."""

    READ = "read"
    TRACK = "track"
    REGISTER = "register"


class Body(StrEnum):
    """How the request's body travels: NONE has none, JSON is read and checked, STREAM passes through."""

    NONE = "none"
    JSON = "json"
    STREAM = "stream"


@dataclass(frozen=True)
class Route:
    """One allowed call. `names` says that the body's `name` is that of a model, `creates_version` that it makes one."""

    kind: Kind
    body: Body
    names_model: bool = False
    creates_version: bool = False


_READ = Route(Kind.READ, Body.NONE)
_SEARCH = Route(Kind.READ, Body.JSON)
_TRACK = Route(Kind.TRACK, Body.JSON)
_REGISTER = Route(Kind.REGISTER, Body.JSON, names_model=True)
_CREATE_VERSION = Route(Kind.REGISTER, Body.JSON, names_model=True, creates_version=True)

_ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("GET", r"/health|/version|/api/3\.0/mlflow/server-info", _READ),
    ("GET", r"{api}/experiments/(get|get-by-name)", _READ),
    ("POST", r"{api}/experiments/search", _SEARCH),
    ("POST", r"{api}/experiments/(create|update|set-experiment-tag)", _TRACK),
    ("GET", r"{api}/runs/get", _READ),
    ("POST", r"{api}/runs/search", _SEARCH),
    (
        "POST",
        r"{api}/runs/(create|update|set-tag|delete-tag|log-metric|log-parameter|log-batch|log-inputs|log-model|outputs)",
        _TRACK,
    ),
    ("GET", r"{api}/metrics/get-history(-bulk-interval)?", _READ),
    ("GET", r"{api}/artifacts/list", _READ),
    ("GET", r"{api}/logged-models/{id}(/artifacts/directories)?", _READ),
    ("POST", r"{api}/logged-models/search", _SEARCH),
    ("POST", r"{api}/logged-models(/{id}/params)?", _TRACK),
    ("PATCH", r"{api}/logged-models/{id}(/tags)?", _TRACK),
    ("GET", r"{api}/registered-models/(get|search|alias|get-latest-versions)", _READ),
    ("POST", r"{api}/registered-models/get-latest-versions", _SEARCH),
    ("POST", r"{api}/registered-models/(create|set-tag)", _REGISTER),
    ("PATCH", r"{api}/registered-models/update", _REGISTER),
    ("GET", r"{api}/model-versions/(get|search|get-download-uri)", _READ),
    ("POST", r"{api}/model-versions/create", _CREATE_VERSION),
    ("POST", r"{api}/model-versions/set-tag", _REGISTER),
    ("PATCH", r"{api}/model-versions/update", _REGISTER),
    ("GET", r"{artifacts}(/.+)?", _READ),
    ("PUT", r"{artifacts}/.+", Route(Kind.TRACK, Body.STREAM)),
)
_COMPILED = tuple(
    (
        method,
        re.compile(
            pattern.replace("{api}", r"/api/2\.0/mlflow")
            .replace("{artifacts}", r"/api/2\.0/mlflow-artifacts/artifacts")
            .replace("{id}", r"[A-Za-z0-9-]{1,80}")
        ),
        route,
    )
    for method, pattern, route in _ROUTES
)
_BAD_PATH = re.compile(r"[\x00-\x1f\x7f\\%]|//|(^|/)\.\.?(/|$)")


def route_of(method: str, path: str) -> Route | None:
    """The route for a decoded path below `/mlflow/{project}`; None if it may not be called, or the path is crooked."""
    if _BAD_PATH.search(path):
        return None
    return next((route for verb, pattern, route in _COMPILED if verb == method and pattern.fullmatch(path)), None)
