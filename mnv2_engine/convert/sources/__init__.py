"""A reader for each format. Each says what its file holds; none judges and none executes."""
