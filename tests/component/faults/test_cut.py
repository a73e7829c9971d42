# SPDX-License-Identifier: LGPL-2.1-or-later
"""The QMP connection breaks at a command: before QEMU got it, or after it was carried out."""

import pytest

import sweep
from proxy import Cut, CutBefore


@pytest.mark.parametrize("fault, of", [(Cut, 1), (CutBefore, 4)])
def test_connection_breaks_at_each_command(make_scene, fault, of):
    scene = make_scene()
    scene.backup()
    kinds = sweep.learn(scene)
    sweep.run(scene, fault, sweep.share(sweep.changing(kinds, sweep.each_kind(kinds)), 0, of))
    scene.check_contents()


def test_connection_breaks_in_direct_mode(make_scene):
    scene = make_scene()
    scene.backup()
    kinds = sweep.learn(scene, "--mode", "push-direct")
    numbers = [number for number in sweep.each_kind(kinds) if not kinds[number - 1].startswith("query")]
    sweep.run(scene, Cut, sweep.share(numbers, 0, 2), "--mode", "push-direct")
    scene.check_contents()
