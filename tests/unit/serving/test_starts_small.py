"""A serving process must not pay for what it does not use."""

import json
import subprocess
import sys

import pytest

FORBIDDEN = {"sqlalchemy", "fastapi", "starlette", "pandas", "numpy", "mlflow", "sklearn", "celery", "boto3", "skops"}


@pytest.mark.parametrize(
    "module", ["carrara.serving.process", "carrara.serving.parent", "carrara.inference.data_plane"]
)
def test_no_large_library_is_imported_at_start(module: str) -> None:
    code = f"import sys, json, {module}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert not FORBIDDEN & set(json.loads(done.stdout))
