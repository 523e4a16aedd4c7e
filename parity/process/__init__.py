"""Tasks in another process: start it, send it tasks, limit their time, end it."""

from parity.process.errors import SideEndedError, SideError, StartError, words_of
from parity.process.side import THREAD_SETTINGS, ProcessSide, Side

__all__ = [
    "THREAD_SETTINGS",
    "ProcessSide",
    "Side",
    "SideEndedError",
    "SideError",
    "StartError",
    "words_of",
]
