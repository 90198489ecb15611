"""The commands of ``python -m workpool``, one module or folder each."""
