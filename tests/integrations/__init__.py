"""workpool where its users already work: each integration, with the real thing."""
