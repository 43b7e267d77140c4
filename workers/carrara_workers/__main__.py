"""`python -m carrara_workers`: one worker process, as `carrara worker` starts it."""

from carrara.bootstrap.worker import main
from carrara.kernel.config import Settings

if __name__ == "__main__":
    main(Settings())
