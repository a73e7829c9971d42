# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starting and ending processes so that none outlives us, whatever happens to us."""

import ctypes
import os
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
# mkfs.ext4 and its like need no root on a file of ours, but an ordinary user's PATH does not lead to them.
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start(arguments, as_child=None, **options):
    """subprocess.Popen, but the process is killed when we die. @as_child() runs in it first."""
    def prepare():
        _die_with_parent()
        if as_child:
            as_child()
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen([str(argument) for argument in arguments], preexec_fn=prepare, **options)


def end(process, seconds=20):
    """SIGTERM, and SIGKILL when that does not help. Returns the exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            kill(process)
    return process.returncode


def kill(process):
    if process.poll() is None:
        process.kill()
    process.wait()


def wait_until(condition, seconds, what):
    """Calls condition() until it returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError("waited %d s in vain for %s" % (seconds, what))
        time.sleep(0.05)


def run(arguments, **options):
    """Runs a program to its end; its output is in the exception when it fails. Returns stdout."""
    done = subprocess.run([str(argument) for argument in arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError("'%s' failed with status %d: %s" % (" ".join(done.args), done.returncode, (done.stdout + done.stderr).strip()))
    return done.stdout
