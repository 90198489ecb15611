"""What pools of processes do when something goes wrong: the same faults for workpool and its peers.

``python -m benchmarks.faults`` makes each fault really happen, in a program of its own for
each library, and prints a table of what was seen.
"""
