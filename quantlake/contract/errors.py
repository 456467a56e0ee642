"""The error a person is meant to read."""


class QuantLakeError(Exception):
    """Something a person can act on: the message says what was found and what to do, in one line."""
