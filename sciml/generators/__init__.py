"""Batched classical solvers in torch: the data and the references of families of problems."""
