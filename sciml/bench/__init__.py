"""Benchmarks: the tables of the README, made by `sciml bench` and never by hand."""

from .suite import SUITES, run_suite

__all__ = ["SUITES", "run_suite"]
