"""Why etcd has not done what it was asked.

    EtcdFailure
    ├── Unanswered       ask again, or another member; `sent`: it may have been done
    ├── NotSignedIn      no token, or not any more; nothing was done
    ├── Refused          it will not be done, whoever is asked; nothing was done
    │   └── NoRoom       etcd's quota is used up; the one that used it up was done, and is refused
    ├── AnswerTooLarge   the question, or what was asked for, is too much for one message; nothing was done
    ├── Compacted        the revision is not kept any more
    └── LeaseLost        a lease has ended while it was needed

None of these leaves this folder.
"""

from __future__ import annotations

from flowcore.errors import FlowError


class EtcdFailure(FlowError):
    """The root of them."""


class Unanswered(EtcdFailure):
    """No answer that one can rely on. `sent` tells whether what was asked may be done nevertheless."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class NotSignedIn(EtcdFailure):
    """The token is missing, wrong or too old."""


class Refused(EtcdFailure):
    """etcd says no."""


class NoRoom(Refused):
    """There is no room. etcd does what uses up its quota, and refuses it nevertheless (`quotaApplierV3`)."""


class AnswerTooLarge(EtcdFailure):
    """The gateway cannot carry the answer."""


class Compacted(EtcdFailure):
    """The revision is gone."""


class LeaseLost(EtcdFailure):
    """What was held is held no more."""
