"""What the programs here share: how a file is written, and how a program ends.

A program imports this before anything else: from then on Ctrl-C ends it with one line.
"""

import contextlib
import errno
import os
import sys


class Refused(Exception):
    """One line for the user: what was found, what is expected, what to do."""


# ---- files ---------------------------------------------------------------------------------------

def write(path, content):
    """The whole file or none, also after a power failure, a full disk or Ctrl-C, and with another
    process that writes the same. A text becomes UTF-8, what has no UTF-8 an escape."""
    temporary = f"{path}.{os.getpid()}.tmp"
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError):          # of the file that the user knows
            raise OSError(error.errno, error.strerror, path) from None
        raise


# ---- ends ----------------------------------------------------------------------------------------

def line(text):
    """A text as one line: what cannot be printed, such as a newline in a name, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def brief(text, most=40):
    """What was found in a file, for a message: one line, not longer than this."""
    return line(text[:most]) + ("..." if len(text) > most else "")


def interrupted(kind, error, trace):
    """Python calls it where nobody caught an exception."""
    if kind is not KeyboardInterrupt:
        sys.__excepthook__(kind, error, trace)
        return
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(130)


def reason(error):
    """What an OSError says: FILE: why. Of the files that are written only a printed text has no
    name."""
    name, why = error.filename, error.strerror or str(error) or type(error).__name__
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    if name is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF):
        name = "standard output"
    return why if name is None else f"{name}: {why}"


def ended(name, main):
    """Calls main with the command line. Returns the exit code; every error is one line."""
    for stream in (sys.stdout, sys.stderr):     # no name is too strange to be printed
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is None:                      # it was closed
        sys.stdout = open(os.devnull, "w")
    error = None
    try:
        try:
            code = main(sys.argv[1:])
        except SystemExit as end:               # --help
            code = end.code
        sys.stdout.flush()
        return code
    except Refused as refused:
        error = str(refused)
    except BrokenPipeError:
        pass
    except OSError as failed:
        error = reason(failed)
    try:
        sys.stdout.flush()
    except OSError as failed:                   # else Python tries it again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(failed, BrokenPipeError):
            error = reason(failed)
    if error:
        print(f"{name}: error: {line(error)}", file=sys.stderr)
    return 1


sys.excepthook = interrupted
