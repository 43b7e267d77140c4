"""Counters of one serving process in the text format of Prometheus (version 0.0.4); every series has its `index`."""

from collections.abc import Iterable, Mapping

from carrara.inference.routing import Address
from carrara.inference.stats import LATENCY_BOUNDS_SECONDS, EndpointStats

MEDIA_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_COUNTERS = (
    ("carrara_serving_requests_total", "requests", "Prediction requests that were let in."),
    ("carrara_serving_rows_total", "rows", "Rows that were answered."),
    ("carrara_serving_errors_total", "errors", "Requests answered with 5xx."),
    ("carrara_serving_model_faults_total", "model_faults", "Requests that failed by the model's fault."),
    ("carrara_serving_overloaded_total", "overloaded", "Requests refused because too many were under way."),
    ("carrara_serving_ignored_values_total", "ignored_values", "Values of extra columns that were left out."),
)


def render(index: int, stats: Mapping[Address, EndpointStats], gauges: Mapping[str, tuple[str, float]]) -> bytes:
    """All of it. `gauges`: help text and value by name, for the process."""
    lines: list[str] = []
    for name, (help_text, value) in gauges.items():
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} gauge", f'{name}{{index="{index}"}} {value:g}']
    for name, attribute, help_text in _COUNTERS:
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} counter"]
        lines += [f"{name}{{{labels}}} {getattr(found, attribute)}" for labels, found in _labelled(index, stats)]
    name = "carrara_serving_refusals_total"
    lines += [f"# HELP {name} Requests refused by the contract or a limit.", f"# TYPE {name} counter"]
    for labels, found in _labelled(index, stats):
        lines += [f'{name}{{{labels},code="{code}"}} {count}' for code, count in sorted(found.refusals.items())]
    name = "carrara_serving_in_flight"
    lines += [f"# HELP {name} Requests under way.", f"# TYPE {name} gauge"]
    lines += [f"{name}{{{labels}}} {found.in_flight}" for labels, found in _labelled(index, stats)]
    lines += _histograms(index, stats)
    return ("\n".join(lines) + "\n").encode()


def _histograms(index: int, stats: Mapping[Address, EndpointStats]) -> Iterable[str]:
    name = "carrara_serving_seconds"
    yield f"# HELP {name} Seconds from a whole request to its answer."
    yield f"# TYPE {name} histogram"
    for labels, found in _labelled(index, stats):
        total = 0
        for bound, count in zip((*map(str, LATENCY_BOUNDS_SECONDS), "+Inf"), found.latency_counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {total}'
        yield f"{name}_sum{{{labels}}} {found.latency_sum:.6f}"
        yield f"{name}_count{{{labels}}} {total}"


def _labelled(index: int, stats: Mapping[Address, EndpointStats]) -> Iterable[tuple[str, EndpointStats]]:
    for (project, endpoint), found in stats.items():  # slugs: nothing to escape
        yield f'index="{index}",project="{project}",endpoint="{endpoint}"', found
