"""A resident client of a chain's nodes: follows the head, fills a range of blocks, and says which block is the chain's."""
