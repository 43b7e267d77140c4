"""What a hostile model or training code would try. Each attack gives a text when it got through, and nothing when not.

An exception means that it was held. The target is what `drive_attacks.py` has laid out.
"""

from typing import Any

import hostile_power
import hostile_reach
from hostile_calls import Attack, attacks_in

ATTACKS: dict[str, Attack] = {**attacks_in(hostile_reach), **attacks_in(hostile_power)}


def run(channel: Any) -> None:
    """The entry: runs the attack that the argument names and tells how it went."""
    target = channel.argument
    try:
        detail = ATTACKS[target["attack"]](target)
    except Exception as error:  # noqa: BLE001  # however it was held
        channel.emit({"breached": False, "detail": f"{type(error).__name__}: {error}"})
    else:
        channel.emit({"breached": detail is not None, "detail": detail or ""})
