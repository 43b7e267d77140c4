"""SQL of the route table's generation."""

from sqlalchemy import text
from sqlalchemy.orm import Session

_BUMP = text("UPDATE route_generation SET generation = generation + 1 WHERE id = 1 RETURNING generation")
_TELL = text("SELECT pg_notify('carrara_routes', :generation)")


def bump_generation(session: Session) -> int:
    """A new number for the route table; serving is told when the transaction commits.

    Every change of what serving must know calls it: endpoints, releases, tokens, members. It takes the row lock that
    all such changes share, so call it late.
    """
    generation: int = session.execute(_BUMP).scalar_one()
    session.execute(_TELL, {"generation": str(generation)})
    return generation
