# SPDX-License-Identifier: LGPL-2.1-or-later
"""One backup for each command that the daemon sends to QEMU, with a fault at that command."""

import scene as scene_module
from scene import VM


def learn(scene, *options):
    """A backup without a fault: the kinds of its commands, in order."""
    scene.proxy.arm()
    scene.backup(*options)
    kinds = list(scene.proxy.kinds)
    assert len(kinds) > 20, kinds
    return kinds


def each_kind(kinds):
    """The number (from 1) of one command of each kind, where what came before it makes a difference; of all in the long run."""
    if scene_module.LONG:
        return list(range(1, len(kinds) + 1))
    seen, chosen = set(), []
    for number, kind in enumerate(kinds, 1):
        key = (kind.replace("vdb", "vda"), kinds[number - 2].replace("vdb", "vda") if kind.startswith("query") and number > 1 else "")
        if key not in seen:
            chosen.append(number)
        seen.add(key)
    return chosen


def share(numbers, part, of):
    """Each @of-th, so that tests of the same commands divide them among themselves; all in the long run."""
    return numbers if scene_module.LONG else numbers[part::of]


def changing(kinds, numbers):
    """Without the questions, which change nothing in QEMU."""
    return [number for number in numbers if not kinds[number - 1].startswith("query") or scene_module.LONG]


def start(scene, *options):
    """start, which may be refused for the fault. Returns the job, or None."""
    scene.pits = {}
    result = scene.daemon.run("--json", "start", "--vm", VM, *options)
    if result.status == 0:
        return result.json
    assert result.err.strip(), "refused without a word: %s" % result
    return None


def check_after(scene, job, what, seconds=60):
    """The job ended in a state that is true, nothing is left, and the next backup is an increment."""
    try:
        if job is not None:
            scene.note(scene.wait_end(job, seconds))
        scene.proxy.arm()
        scene.check_clean()
        scene.check_images(scene.check_next()["backup_id"])
    except Exception as error:
        raise AssertionError("after %s (job %s): %s" % (what, job and job["id"], error)) from error


def run(scene, make_fault, numbers, *options, act=None, seconds=60):
    """@act(fault) does what the fault needs once its command came."""
    struck = 0
    for number in numbers:
        scene.vm.scribble_all(2)
        fault = scene.proxy.arm(make_fault(number))
        job = start_and_act(scene, fault, act, options)
        if job is not None:
            scene.wait_end(job, seconds)
        struck += fault.happened.is_set()
        check_after(scene, job, "%s of command %d, %s" % (type(fault).__name__, number, fault.command and fault.command.kind), seconds)
    assert struck >= len(numbers) - 3, "only %d of %d faults struck" % (struck, len(numbers))


def start_and_act(scene, fault, act, options):
    if act is None:
        return start(scene, *options)
    return act(scene, fault, options)
