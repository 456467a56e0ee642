"""Whatever arrives, and however often a refresh is killed: a home that is refreshed on and on equals one built at once."""
