"""The shared queue, chunks, retries, deadlines and workers' lives; knows no backend by name."""
