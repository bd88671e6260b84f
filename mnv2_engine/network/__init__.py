"""What a network is: its layers, and the papers' tables that make them."""
