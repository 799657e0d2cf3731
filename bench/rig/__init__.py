"""What the benchmarks share: processes on their CPUs, the origin, the proxies, the load, and the report."""
