"""Finite elements on cell complexes."""
