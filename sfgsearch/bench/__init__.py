"""Benchmarks: what the harness around trainings costs, as ratios that are measured side by side in one run."""

from sfgsearch.bench._benchmarks import BENCHMARKS, Benchmark, BenchmarkOptions
from sfgsearch.bench._machine import Machine
from sfgsearch.bench._overhead import Overhead, OverheadOptions, measure_overhead
from sfgsearch.bench._result import Goal, Result
from sfgsearch.bench._site import Site, open_site
from sfgsearch.bench._throughput import Throughput, ThroughputOptions, measure_throughput

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkOptions",
    "Goal",
    "Machine",
    "Overhead",
    "OverheadOptions",
    "Result",
    "Site",
    "Throughput",
    "ThroughputOptions",
    "measure_overhead",
    "measure_throughput",
    "open_site",
]
