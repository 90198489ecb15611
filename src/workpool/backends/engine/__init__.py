"""What the engines (Dask, Ray) and the interpreters have in common.

One idea a file: `orders` (a unit, made ready to travel), `setups` (what a worker does
first, the same), `remote` (who runs it, over there), `landing` (what came back is
settled), `slots` (the workers of an engine), `clerk` (the one thread here that feeds
them all), `reasons` (what is told of a worker's end), `local` (an engine on this
machine), `backend` (all of it, as a pool has it).
"""
