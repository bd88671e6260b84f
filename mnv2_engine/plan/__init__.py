"""How a network runs: steps with every byte of the arena placed."""
