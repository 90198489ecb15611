"""One file (or folder) a backend, behind the small protocol of ``base``."""
