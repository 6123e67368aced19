"""The hard state: typed commands, put into one order by consensus, applied by a deterministic state machine.

    async with open_state(consensus, path) as state:
        stored = await state.do(PutPatterns((PutPattern(namespace="notes", key="a", value=b'{"n": 1}'),)))
        found = await state.pattern("notes", "a")
        await state.do(GiveFeedback((Feedback(text="what time is it", expert="time.now", reward=1.0),)))

`do` returns when the command is durable and applied here; it raises the typed errors of `flowcore.errors`.
Whoever keeps a copy follows it:

    position = index.position                             # 0: everything
    while True:
        changes = await state.pattern_changes(position)   # TooOld: clear the copy, and begin at 0
        ...                                               # take changes.changed in, and changes.removed out
        position = changes.position
        if changes.complete:
            await state.wait_applied(position)

`feedback_after` is followed in the same way, from the position of a gate's snapshot. Reads take
`level=ReadLevel.STALE` where what this node has applied is good enough; it costs no question to others. In a
flow, `flow.state` is the open state.
"""

from flowcore.state.archive import About, check_archive, packed, read_about, unpacked
from flowcore.state.clock import ClockTold, StateClock, agreed
from flowcore.state.commands import (
    CloseSession,
    Command,
    Entry,
    Feedback,
    GiveFeedback,
    OpenSession,
    PutPattern,
    PutPatterns,
    Reembed,
    ReembedFeedback,
    RemovePatterns,
    Retrain,
    SetLimits,
    Tidy,
    Touch,
    decode_entry,
    encode_entry,
)
from flowcore.state.exchange import PatternLine, line_of, pattern_of
from flowcore.state.files import FILE as STATE_FILE
from flowcore.state.interfaces import (
    Ahead,
    BeginsAppends,
    ChecksCommands,
    Committed,
    Consensus,
    Describes,
    HandsOver,
    Installed,
    KnowsMembers,
    LogEntry,
    Shown,
    ShowsLog,
    SnapshotInfo,
    SnapshotSource,
    Storage,
    TakesRestored,
    TakesSnapshots,
)
from flowcore.state.limits import VALUE_SIZE, Limits
from flowcore.state.opening import open_state
from flowcore.state.records import (
    Changes,
    Counts,
    Lesson,
    Lessons,
    NamespaceCount,
    Page,
    Pattern,
    ReadLevel,
)
from flowcore.state.results import (
    Done,
    HolderLost,
    KeyTold,
    Learned,
    LeaseTold,
    Reembedded,
    Refusal,
    Reinstated,
    Removed,
    Result,
    SessionOpened,
    Stored,
    StoredPattern,
    TaskClaimed,
    TaskTold,
    Touched,
)
from flowcore.state.sealed import HasSeals, Seals
from flowcore.state.settings import StateSettings, WorkSettings
from flowcore.state.state import State
from flowcore.state.timing import ahead_of
from flowcore.state.work import (
    AcquireLease,
    CancelTask,
    ClaimTask,
    DeclareLost,
    EndTask,
    ProgressTask,
    Reinstate,
    ReleaseLease,
    RenewClaims,
    RenewLease,
    ReserveKey,
    Revoke,
    SettleKey,
    SetWorkLimits,
    SubmitTask,
    WorkCommand,
    WorkLimits,
)
from flowcore.state.work_reads import Claim, KeyState, Lease, Revocation, Task, TaskPage

__all__ = [
    "STATE_FILE",
    "VALUE_SIZE",
    "About",
    "AcquireLease",
    "Ahead",
    "BeginsAppends",
    "CancelTask",
    "Changes",
    "ChecksCommands",
    "Claim",
    "ClaimTask",
    "ClockTold",
    "CloseSession",
    "Command",
    "Committed",
    "Consensus",
    "Counts",
    "DeclareLost",
    "Describes",
    "Done",
    "EndTask",
    "Entry",
    "Feedback",
    "GiveFeedback",
    "HandsOver",
    "HasSeals",
    "HolderLost",
    "Installed",
    "KeyState",
    "KeyTold",
    "KnowsMembers",
    "Learned",
    "Lease",
    "LeaseTold",
    "Lesson",
    "Lessons",
    "Limits",
    "LogEntry",
    "NamespaceCount",
    "OpenSession",
    "Page",
    "Pattern",
    "PatternLine",
    "ProgressTask",
    "PutPattern",
    "PutPatterns",
    "ReadLevel",
    "Reembed",
    "ReembedFeedback",
    "Reembedded",
    "Refusal",
    "Reinstate",
    "Reinstated",
    "ReleaseLease",
    "RemovePatterns",
    "Removed",
    "RenewClaims",
    "RenewLease",
    "ReserveKey",
    "Result",
    "Retrain",
    "Revocation",
    "Revoke",
    "Seals",
    "SessionOpened",
    "SetLimits",
    "SetWorkLimits",
    "SettleKey",
    "Shown",
    "ShowsLog",
    "SnapshotInfo",
    "SnapshotSource",
    "State",
    "StateClock",
    "StateSettings",
    "Storage",
    "Stored",
    "StoredPattern",
    "SubmitTask",
    "TakesRestored",
    "TakesSnapshots",
    "Task",
    "TaskClaimed",
    "TaskPage",
    "TaskTold",
    "Tidy",
    "Touch",
    "Touched",
    "WorkCommand",
    "WorkLimits",
    "WorkSettings",
    "agreed",
    "ahead_of",
    "check_archive",
    "decode_entry",
    "encode_entry",
    "line_of",
    "open_state",
    "packed",
    "pattern_of",
    "read_about",
    "unpacked",
]
