"""What a job's owner is shown of this machine."""

import sysconfig
from pathlib import Path

from carrara.contracts.jobs import ErrorClass, JobError
from carrara.jobs import shown_paths
from carrara.jobs.shown_paths import attempt_places, without_server_paths


def test_tracebacks_name_code_by_whose_it_is() -> None:
    place = Path("/srv/secret/staging/job/1")
    library = sysconfig.get_path("stdlib")
    ours = Path(shown_paths.__file__).resolve()
    error = JobError(
        error_class=ErrorClass.USER,
        reason="raised",
        message=f"no such file {place}/inputs/data/train.parquet",
        traceback=f'File "{ours}"\nFile "{place}/inputs/code/train.py"\nFile "{library}/json/x.py"\nFile "/etc/motd"',
        facts={"path": f"{place}/outputs/model", "n": 1},
    )
    shown = without_server_paths(error, attempt_places(place))
    assert shown.message == "no such file <job>/inputs/data/train.parquet"
    assert shown.traceback == (
        'File "<carrara>/carrara/jobs/shown_paths.py"\nFile "<code>/train.py"\nFile "<python>/json/x.py"\n'
        'File "/etc/motd"'
    )
    assert shown.facts == {"path": "<job>/outputs/model", "n": 1}
    assert (shown.reason, shown.error_class) == ("raised", ErrorClass.USER)
