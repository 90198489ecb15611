"""What users' type checkers have to see: types that must come out, calls that must be refused.

Nothing in ``accepted`` or ``rejected`` is ever run; mypy and pyright read it.
"""
