"""The benchmarks by name: to add one, write its module and add it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sfgsearch.bench._overhead import OverheadOptions, measure_overhead
from sfgsearch.bench._result import Result
from sfgsearch.bench._site import Site
from sfgsearch.bench._throughput import ThroughputOptions, measure_throughput


@dataclass(frozen=True)
class BenchmarkOptions:
    """The options of all benchmarks.

    Args:
        throughput: Of sleeping trials.
        overhead: Of training trials.
    """

    throughput: ThroughputOptions = field(default_factory=ThroughputOptions)
    overhead: OverheadOptions = field(default_factory=OverheadOptions)


Benchmark = Callable[[Site, BenchmarkOptions], Result]
"""Measures something at a site."""

BENCHMARKS: dict[str, Benchmark] = {
    "throughput": lambda site, options: measure_throughput(site, options.throughput),
    "overhead": lambda site, options: measure_overhead(site, options.overhead),
}
