"""`make bench`: every benchmark in turn. Run it on an otherwise idle machine, and read ratios before times."""

import runpy

BENCHMARKS = ("platform_start", "job_dispatch", "rollback", "registry_listing")


def main() -> None:
    for name in BENCHMARKS:
        print(f"\n== {name} ==", flush=True)
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
