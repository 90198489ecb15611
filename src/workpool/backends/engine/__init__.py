"""What the engines (Dask, Ray) and the interpreters have in common.

One idea a file: `orders` (a unit, made ready to travel), `remote` (who runs it, over
there), `landing` (what came back is settled), `slots` (the workers of an engine, and
the one thread here that feeds them all).
"""
