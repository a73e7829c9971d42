# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU answers one command, or three in a row, with an error."""

import pytest

import sweep
from proxy import Refuse


@pytest.mark.parametrize("options, of", [((), 1), (("--mode", "push-direct"), 3)], ids=["push", "direct"])
def test_each_command_fails(make_scene, options, of):
    scene = make_scene()
    scene.backup(*options)
    kinds = sweep.learn(scene, *options)
    sweep.run(scene, Refuse, sweep.share(sweep.each_kind(kinds), 0, of), *options)
    scene.check_contents()


def test_three_commands_fail_in_a_row(make_scene):
    """The undo fails then, too: it must be tried again."""
    scene = make_scene()
    scene.backup()
    kinds = sweep.learn(scene)
    numbers = [number for number in sweep.each_kind(kinds) if not kinds[number - 1].startswith(("query", "remove-fd", "add-fd"))]
    sweep.run(scene, lambda n: Refuse(n, times=3), sweep.share(numbers, 1, 2))
    scene.check_contents()
