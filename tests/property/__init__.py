"""What must hold for any input and any interleaving, found by Hypothesis."""
