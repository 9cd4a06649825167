"""How a verb ends: its exit status, and a sentence for a foreseen mistake, never a traceback."""

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import typer

from limbeck.cli import standard_output
from limbeck.cli.refusals import refusal
from limbeck.core import plug_ins, wording
from limbeck.core.errors import Interrupted
from limbeck.core.system import launch

# Exit statuses.
DONE = 0
VERDICT_FAILED = 1
MISTAKE = 2  # the user's, as click answers a wrong command
RESUMABLE = 3
INTERRUPTED = 130  # what a shell gives a command that Ctrl-C ended: 128 + SIGINT

# What a process waits for `torchrun` to end it, once process 0 has left. Processes that meet the
# same mistake meet it within a second or two, but leaving can take several where cores are few.
OTHERS_FIRST_SECONDS = 15.0

# What threads have once a command is done.
THREADS_SECONDS = 5.0

STOPPED = "stopped; the same command goes on from here"
# Why is known to the process that ended first; one that was killed has said nothing.
STOPPED_WITH_OTHERS = (
    "stopped, as all processes of this run are where one has ended. What another one says is why; "
    "where none says more it was ended from outside, and the same command goes on from here"
)

# click's. Newer versions of typer carry a click of their own inside, whose class is another one.
UsageError: Any = typer.BadParameter.__base__


def exit_status(command: Callable[[], Any], verb: str | None = None) -> int:
    """Run a command, tell what stopped it on stderr, and give its exit status.

    `verb`: what the command is called, for the cure of what the system refuses.
    An exception that is no foreseen mistake goes on: its traceback is what a bug report needs.
    """
    try:
        result = command()
        # Here, where a full disk is told: Python does it last, and with a traceback.
        sys.stdout.flush()
    except typer.Exit as leaving:
        return leaving.exit_code
    except UsageError as error:
        if is_ours_to_tell():
            error.show()
        return MISTAKE
    except (KeyboardInterrupt, typer.Abort):
        return interrupted()
    except BrokenPipeError:  # `limbeck list | head` has read enough
        return output_closed()
    except Interrupted as error:
        # Process 0 has mostly said why it left, and the others are ended for that; of one that was
        # killed `torchrun` tells.
        if launch.process_index() == 0:
            typer.echo(f"limbeck: {error}", err=True)
        return RESUMABLE
    except ValueError as error:
        tell(plug_ins.words_of(error))
        return MISTAKE
    except SystemExit as error:
        # click answers a closed pipe by leaving with 1.
        if isinstance(error.__context__, BrokenPipeError):
            return output_closed()
        # Ours leave by `typer.Exit`; a plug-in's `sys.exit(0)` would be taken for success.
        tell(mistake(error))
        return MISTAKE
    except OSError as error:
        if error.filename == standard_output.NAME:
            output_closed()
        tell(refusal(error, verb))
        return MISTAKE
    except plug_ins.PASSING:
        raise
    # A plug-in may raise what is no Exception, to leave the program.
    except BaseException as error:
        tell(mistake(error))
        return MISTAKE
    # Newer versions of typer answer Ctrl-C themselves, and give the status back.
    if result == INTERRUPTED:
        return interrupted()
    return result if isinstance(result, int) else DONE


def output_closed() -> int:
    """The exit status where who reads standard output has read enough.

    What is left goes nowhere: Python writes it once more when it leaves, and would tell of the
    closed pipe with an exit status of its own.
    """
    # Without a file behind it, as in a test, there is nothing to write to.
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return DONE


def tell(message: str) -> None:
    """Print why a command was refused, on stderr; once for all processes of a run."""
    if is_ours_to_tell():
        typer.echo(f"limbeck: {message}", err=True)


def is_ours_to_tell() -> bool:
    """Whether no other process of this run tells what stopped this one.

    What stops all of them is told by process 0, and `torchrun` ends the others once it has left. A
    process that is still there after a while was stopped by something of its own, such as a GPU
    that is not there.
    """
    if launch.process_index() == 0:
        return True
    try:
        time.sleep(OTHERS_FIRST_SECONDS)
    except KeyboardInterrupt:
        return False
    return True


def interrupted() -> int:
    """Tell that Ctrl-C ended a command that has nothing to go on from."""
    typer.echo("interrupted", err=True)
    return INTERRUPTED


def mistake(error: BaseException) -> str:
    """A mistake in a sentence. Raises the error itself where it was not foreseen."""
    told = plug_ins.blame(error)
    if told is not None:
        return told
    if isinstance(error, ModuleNotFoundError):
        # Of a package in parts, such as OpenTelemetry's, one part may be there.
        package = str(error.name).split(".")[0]
        if package not in wording.OF_THE_EXTRA_TRAIN and package not in wording.EXTRAS:
            raise error
        return wording.needs_package("this", package)
    raise error


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Answer Ctrl-C in the `with` block as an interruption that the same command goes on from."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(STOPPED_WITH_OTHERS if launch.is_one_of_several() else STOPPED) from None


def end_in_time(status: int) -> None:
    """Let the process end with `status` a few seconds from now, whatever threads still run: Python
    would wait for each that is no daemon, such as one that a plug-in started.

    Threads that end by themselves, or once Python asks them to, are not disturbed.
    """
    if any(not each.daemon for each in threading.enumerate() if each != threading.main_thread()):
        threading.Thread(target=_end, args=(status,), daemon=True).start()


def _end(status: int) -> None:
    """End the process, once its main thread has had the time to."""
    time.sleep(THREADS_SECONDS)
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread.daemon or thread is threading.main_thread():
            continue
        codes = [frame.f_code for frame, _ in traceback.walk_stack(frames.get(thread.ident or 0))]
        # The outermost function that is not Python's own is what the thread runs.
        own = [code for code in codes if code.co_filename != threading.__file__]
        where = ""
        if own:
            where = f", which runs `{own[-1].co_name}` ({own[-1].co_filename}:"
            where += f"{own[-1].co_firstlineno}),"
        told = f"the thread `{thread.name}`{where} still runs; the process ends without it"
        typer.echo(f"limbeck: {told}", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def answer_sigterm_as_ctrl_c() -> None:
    """A batch system stops a job by SIGTERM, which would end it without a word."""
    signal.signal(signal.SIGTERM, _interrupt)


def leave_sigterm_to_the_system() -> None:
    """The command has ended: a SIGTERM that comes now ends the process, without a word."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
