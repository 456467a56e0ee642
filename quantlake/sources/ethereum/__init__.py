"""Data of Ethereum and chains like it, as files and nodes give it."""
