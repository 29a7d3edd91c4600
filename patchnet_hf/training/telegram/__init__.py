"""Reports of a run to Telegram chats: what is said, the thread that sends it, and whose bot it is."""

from .callback import TelegramCallback
from .credentials import TelegramCredentials, read_credentials
from .sender import Patience, TelegramSender, check_credentials

__all__ = [
    "Patience",
    "TelegramCallback",
    "TelegramCredentials",
    "TelegramSender",
    "check_credentials",
    "read_credentials",
]
