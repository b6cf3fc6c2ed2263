"""What can go wrong between a question and a server's answer."""

from __future__ import annotations


class Unanswered(Exception):
    """There is no answer to this question; the message says why, in one line."""


class Unavailable(Unanswered):
    """The server was busy, failed, stalled or broke off as often as it was asked."""


class Rejected(Unanswered):
    """The server does not take this question (400, 413, 422): too long, perhaps."""


class Spent(Unanswered):
    """The budget does not allow another request."""


class Unsent(Unanswered):
    """Who asks wants no further request."""


class ServerMisconfigured(ValueError):
    """No question can be answered: wrong key, address or model. The message says what to change."""
