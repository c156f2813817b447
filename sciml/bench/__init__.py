"""Benchmarks: the tables of the README, made by `sciml bench` and never by hand."""




