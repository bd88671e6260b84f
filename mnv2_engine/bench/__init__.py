"""Speed and memory of this engine, measured so that they can be believed. Nothing here is imported
by the engine."""
