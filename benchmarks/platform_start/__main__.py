"""`python -m benchmarks.platform_start`: how long `carrara up` takes, first and again, and what it weighs idle."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

CARRARA = [sys.executable, "-m", "carrara.cli.main"]
STARTS = 3
SETTLE_SECONDS = 20


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="carrara-bench-"))
    folder.chmod(0o711)
    data = folder / "data"
    try:
        print(f"load before: {psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores")
        print(f"first start: {start(data):.1f} s")
        for number in range(STARTS):
            print(f"stop: {stop(data):.1f} s")
            print(f"start again ({number + 1}): {start(data):.1f} s")
        time.sleep(SETTLE_SECONDS)
        weigh(data)
    finally:
        stop(data)
        shutil.rmtree(folder, ignore_errors=True)


def start(data: Path) -> float:
    """Seconds until `carrara up --detach` says that everything is ready."""
    return timed("up", "--detach", "--data-dir", str(data))


def stop(data: Path) -> float:
    return timed("down", "--data-dir", str(data))


def timed(*arguments: str) -> float:
    began = time.monotonic()
    subprocess.run([*CARRARA, *arguments], check=True, capture_output=True)
    return time.monotonic() - began


def weigh(data: Path) -> None:
    """Proportional set size: shared pages are counted once, over all processes."""
    status = subprocess.run(
        [*CARRARA, "status", "--json", "--data-dir", str(data)], check=True, capture_output=True, text=True
    )
    supervisor = psutil.Process(json.loads(status.stdout)["supervisor_pid"])
    total = 0
    named: dict[str, int] = {}
    for process in [supervisor, *supervisor.children(recursive=True)]:
        pss = process.memory_full_info().pss
        total += pss
        name = " ".join(process.cmdline())[-60:] or process.name()
        named[name] = named.get(name, 0) + pss
    for name, pss in sorted(named.items(), key=lambda item: -item[1])[:12]:
        print(f"  {pss / 2**20:6.0f} MiB  {name}")
    print(f"idle, all processes: {total / 2**20:.0f} MiB PSS (goal 1536)")


if __name__ == "__main__":
    main()
