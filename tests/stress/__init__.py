"""Long and heavy runs, left out unless asked for."""
