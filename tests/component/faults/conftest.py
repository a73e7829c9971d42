# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixture: scenes, which are taken down and looked at when the test is over."""

import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
# Daemon, processes and QMP are the same as in the tests of the whole.
sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent.parent / "e2e"))

import pytest  # noqa: E402

import scene as scene_module  # noqa: E402


@pytest.fixture
def tmp_path():
    """Short, as paths of sockets must be, and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bkd-faults-") as folder:
        yield pathlib.Path(folder)


@pytest.fixture
def make_scene(tmp_path, request):
    scenes = []

    def make(**options):
        folder = tmp_path / str(len(scenes))
        folder.mkdir()
        scenes.append(scene_module.Scene(folder, **options))
        return scenes[-1].start()
    failed_before = request.session.testsfailed
    yield make
    statuses = []
    for scene in scenes:
        statuses.append(scene.close())
        sys.stdout.write("--- log of QEMU:\n%s\n" % scene.vm.log.read_text(errors="replace")[-2000:])
        sys.stdout.write("--- log of backupd:\n%s\n" % scene.daemon.tail(200))
    if request.session.testsfailed == failed_before:
        assert set(statuses) <= {0}, "backupd ended with status %s: %s" % (statuses, scenes[-1].daemon.tail())
        for scene in scenes:
            scene.check_disks()
