"""What tests share: the table of backends, gates, task functions, scripts and lying locks.

Worker processes import from here, so nothing in it imports pytest.
"""
