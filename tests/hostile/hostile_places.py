"""What may stand where a file is looked for."""

import os
import shutil
import socket
from pathlib import Path

KINDS = ("file", "link", "nothing", "folder", "pipe", "socket", "loop", "dangling", "endless", "full", "below a file")


def put(kind: str, path: Path, content: bytes) -> None:
    """Put one of `KINDS` at a path; "file" and "link" lead to the content. What is there already stays."""
    beside = path.with_name("beside")
    if path.exists() or path.is_symlink() or path == beside:
        return
    match kind:
        case "file":
            path.write_bytes(content)
        case "link":
            beside.write_bytes(content)
            path.symlink_to(beside.name)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(os.fsencode(path))
        case "loop":
            path.symlink_to(path.name)
        case "dangling":
            path.symlink_to(beside.name)
        case "endless":
            path.symlink_to("/dev/zero")
        case "full":
            path.symlink_to("/dev/full")
        case _:
            pass


def emptied(folder: Path) -> Path:
    """A folder with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
