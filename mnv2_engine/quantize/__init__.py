"""Eight-bit networks: making them, from float32 ones or from the integers of other programs."""
