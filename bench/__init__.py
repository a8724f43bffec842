"""The benchmark: latency and throughput beside a bare echo and Quix Streams. Starts everything it measures itself."""
