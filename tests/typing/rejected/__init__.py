"""Calls that both checkers must refuse: each line that ends in ``# E``, and no other.

These files are left out of every other check of types; `test_rejected` reads them.
"""
