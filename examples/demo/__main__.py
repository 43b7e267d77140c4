"""`make demo`: the whole story on real data, on an embedded platform of its own, with every claim checked."""

import argparse
import sys
from pathlib import Path

from examples.demo.narrator import Narrator
from examples.demo.platform import DemoPlatform
from examples.demo.story import Broken, tell

from carrara.kernel.errors import CarraraError


def main() -> int:
    """0 if every step held; 1 and the step's reason if one did not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the platform running afterwards")
    parser.add_argument("--data-dir", type=Path, default=Path(".carrara-demo"))
    options = parser.parse_args()
    narrator = Narrator()
    platform = DemoPlatform(options.data_dir.absolute())
    try:
        platform.start(narrator)
        tell(platform, narrator)
    except (Broken, CarraraError) as error:
        narrator.fail(error)
        narrator.note(f"logs: {platform.data_dir / 'logs'}")
        platform.stop()
        return 1
    except BaseException:
        platform.stop()
        raise
    narrator.summary(platform)
    if options.keep:
        narrator.addresses(platform)
    else:
        platform.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
