"""The confined side of the Python runtime: loads one model, then answers one request after the other.

Messages are msgpack maps. To us: `{"id", "columns"}`. From us: first `{"ready": true}` or `{"failed": code,
"message"}`, then for each request `{"id", "outputs"}` or `{"id", "failed": code, "message"}`.
"""

from pathlib import Path
from typing import Any

from carrara.contracts.contract import ModelContract
from carrara.inference.python_model import PythonModel, load_model
from carrara.kernel.errors import CarraraError
from carrara.sandbox.child import ChildChannel
from carrara.sandbox.frames import decode_message

_MAX_MESSAGE = 2000


def serve(channel: ChildChannel) -> None:
    """Entry of the child. Returns when the parent hangs up."""
    argument = channel.argument
    try:
        model = load_model(
            Path(argument["path"]),
            ModelContract.model_validate(argument["contract"]),
            argument["flavor"],
            serialization=argument["serialization"],
        )
    except CarraraError as error:
        channel.emit(_failure(error))
        return
    channel.emit({"ready": True})
    while (frame := channel.receive()) is not None:
        request = decode_message(frame)
        reply = _answer(model, request)
        try:
            channel.emit({"id": request["id"], **reply})
        except (TypeError, ValueError, OverflowError) as error:  # a value that msgpack cannot carry
            message = f"the model's answer cannot be sent: {error}"[:_MAX_MESSAGE]
            channel.emit({"id": request["id"], "failed": "bad_model_output", "message": message})


def _answer(model: PythonModel, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"outputs": model.predict(request["columns"])}
    except CarraraError as error:
        return _failure(error)


def _failure(error: CarraraError) -> dict[str, Any]:
    message = error.message.encode("utf-8", "replace").decode()
    return {"failed": error.code, "message": message[:_MAX_MESSAGE]}
