"""Programs that both checkers must accept, with the types that must come out of each call."""
