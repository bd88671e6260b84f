"""Who runs a network: each module executes the same architecture in its own way."""
