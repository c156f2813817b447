"""Random input functions: what a family of problems varies over."""
