"""From a file or an array to the network's pixels."""
