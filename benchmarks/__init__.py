"""Benchmarks beside peers that are measured in the same run. Scripts; nothing imports them."""
