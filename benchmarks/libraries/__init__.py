"""Adapters: how each library is asked to do what a workload needs; ``catalogue.py`` lists them."""
