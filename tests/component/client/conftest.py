# SPDX-License-Identifier: LGPL-2.1-or-later
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from fake_daemon import FakeDaemon  # noqa: E402

PROGRAM = os.environ['BACKUPCTL']


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@pytest.fixture
def folder():
    path = tempfile.mkdtemp(prefix='bkctl-')
    yield path
    shutil.rmtree(path)


@pytest.fixture
def daemon(folder):
    fake = FakeDaemon(folder + '/s')
    yield fake
    fake.stop()


class Client:
    def __init__(self, folder):
        self.folder = folder
        self.env = dict(os.environ, BACKUPD_HOST='unix:' + folder + '/s', LC_ALL='C.UTF-8', TZ='UTC',
                        BACKUPCTL_TIMEOUT='10')
        self.env.pop('NO_COLOR', None)

    def __call__(self, *words, env=None, cwd=None):
        return subprocess.run([PROGRAM, *words], env=dict(self.env, **(env or {})), cwd=cwd or self.folder, text=True,
                              encoding='utf-8', stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                              preexec_fn=die_with_parent)

    def spawn(self, *words, env=None, **more):
        return subprocess.Popen([PROGRAM, *words], env=dict(self.env, **(env or {})), cwd=self.folder,
                                preexec_fn=die_with_parent, **more)


@pytest.fixture
def ctl(folder):
    return Client(folder)
