"""What the documentation says, run and compared."""
