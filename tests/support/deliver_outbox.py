"""Delivers every message that waits, with the real composition, then ends; for tests that kill it half-way."""

from carrara.bootstrap.platform import build
from carrara.kernel.config import Settings
from carrara.persistence.outbox import deliver_next

if __name__ == "__main__":
    services = build(Settings())
    while deliver_next(services.database, services.registry.outbox):
        pass
    services.database.close()
