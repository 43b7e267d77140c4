"""What a client may say in a body that writes: no tag of ours, no model name that is no slug. Pure."""

from typing import Any

from carrara.kernel.errors import Forbidden, Invalid
from carrara.kernel.ids import UserId
from carrara.kernel.names import check_slug
from carrara.mlflow_proxy.routes import Kind, Route
from carrara.registry.domain import AUTHOR_TAG, TAG_PREFIX

_PROMPT_TAG = "mlflow.prompt.is_prompt"


def checked_body(route: Route, body: Any, author_id: UserId) -> dict[str, Any]:
    """The body to pass on. `Forbidden` for tags that begin with `carrara.`, `Invalid` for names and shapes.

    A new version gets the tag that says who registered it.
    """
    if not isinstance(body, dict):
        raise Invalid(f"the body is a {type(body).__name__}; expected a JSON object")
    if route.kind is Kind.READ:
        return body
    keys = _tag_keys(body)
    ours = sorted({key for key in keys if key.lower().startswith(TAG_PREFIX)})
    if ours:
        raise Forbidden(f"tags that begin with {TAG_PREFIX!r} are Carrara's own: {', '.join(ours)[:200]}")
    if route.names_model:
        if _PROMPT_TAG in keys:
            raise Invalid("prompts cannot be kept in this registry: it holds models only", code="no_prompts")
        check_slug(str(body.get("name", "")), "model")
    if route.creates_version:
        return {**body, "tags": [*(body.get("tags") or []), {"key": AUTHOR_TAG, "value": str(author_id)}]}
    return body


def _tag_keys(body: dict[str, Any]) -> list[str]:
    tags = body.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, dict) for tag in tags):
        raise Invalid("tags: expected a list of {key, value}")
    named = [tag.get("key", "") for tag in tags] + ([body["key"]] if "key" in body else [])
    if not all(isinstance(key, str) for key in named):
        raise Invalid("the key of a tag is text")
    return named
