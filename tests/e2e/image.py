# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disk images: making those of the guest, and checking restored ones without mounting anything.

The guest writes in a way that can be foretold (tests/guest/init). Writing.expected() says what a disk holds
after step N; whatever a restored disk shows must be that, with the one step allowed for that the guest was in
the middle of.
"""

import dataclasses
import json
import pathlib
import random
import subprocess
import tempfile

import process


@dataclasses.dataclass
class Writing:
    """What the guest was told on its command line, and what was on the disks before it booted."""

    kib: int
    keep: int
    ballast: dict  # disk to bytes

    def content(self, disk, number, step):
        line = b"backupd test guest: disk %s, file %d, written in step %d\n" % (disk.encode(), number, step)
        size = self.kib * 1024
        return (line * (size // len(line) + 1))[:size]

    def ballast_of(self, disk):
        return random.Random(disk).randbytes(self.ballast.get(disk, 4 << 20))

    def written_in(self, number, step):
        """The step in which file NUMBER got the content that it has after STEP."""
        later = number + 5
        return later if later % 3 == 0 and later > 5 and later <= step else number

    def expected(self, disk, step):
        """{file: allowed contents} after STEP. An element None means that the file may be missing."""
        files = {}
        for number in range(max(1, step - self.keep + 1), step + 1):
            name = "f-%06d" % number
            files[name] = [self.content(disk, number, self.written_in(number, step))]
        # What step + 1 may have begun: overwriting one file, deleting another.
        doomed = step + 1 - self.keep
        if "f-%06d" % doomed in files:
            files["f-%06d" % doomed].append(None)
        return files

    def in_flux(self, step):
        """The file that step + 1 overwrites in place, if it does: it may be a mixture."""
        return "f-%06d" % (step - 4) if (step + 1) % 3 == 0 and step + 1 > 5 else None


def make(path, size, disk, writing):
    """A qcow2 image with an ext4 that has some ballast on it, so that a full backup weighs more than an increment."""
    with tempfile.TemporaryDirectory(prefix="backupd-image-") as folder:
        folder = pathlib.Path(folder)
        root = folder / "root"
        root.mkdir()
        (root / "ballast").write_bytes(writing.ballast_of(disk))
        raw = folder / "raw"
        with open(raw, "wb") as file:
            file.truncate(size)
        process.run(["mkfs.ext4", "-q", "-L", disk, "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d", root, raw])
        process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path])


def check_format(path, form):
    """qemu-img check where the format has something to check. Returns what qemu-img info says."""
    if form == "qcow2":
        process.run(["qemu-img", "check", "-q", "-f", "qcow2", path])
    return json.loads(process.run(["qemu-img", "info", "--output=json", "-f", form, path]))


@dataclasses.dataclass
class Content:
    step: int   # the last whole step on it
    files: int  # that were compared


def check_content(path, form, disk, writing):
    """Fails with AssertionError unless the file system on the image is sound and holds what the guest wrote.

    The image is that of a disk in use: a copy of it gets its journal replayed, as a booting guest would do,
    and must be clean then.
    """
    with tempfile.TemporaryDirectory(prefix="backupd-image-") as folder:
        raw = pathlib.Path(folder) / "raw"
        process.run(["qemu-img", "convert", "-f", form, "-O", "raw", path, raw])
        replay = subprocess.run(["e2fsck", "-p", str(raw)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert replay.returncode in (0, 1), "%s: replaying the journal failed: %s" % (path, replay.stdout + replay.stderr)
        fsck = subprocess.run(["fsck.ext4", "-fn", str(raw)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert fsck.returncode == 0, "%s: fsck.ext4 found: %s" % (path, fsck.stdout + fsck.stderr)
        root = pathlib.Path(folder) / "root"
        root.mkdir()
        process.run(["debugfs", "-R", "rdump / %s" % root, raw])
        raw.unlink()
        return _compare(path, root, disk, writing)


def _compare(path, root, disk, writing):
    assert (root / "ballast").read_bytes() == writing.ballast_of(disk), "%s: the ballast has changed" % path
    sequence = root / "sequence"
    step = int(sequence.read_text()) if sequence.exists() else 0
    expected = writing.expected(disk, step)
    flux = writing.in_flux(step)
    for name, allowed in expected.items():
        file = root / name
        content = file.read_bytes() if file.exists() else None
        if name == flux and content is not None and len(content) == writing.kib * 1024:
            continue
        assert content in allowed, "%s: %s is not as the guest had synced it before step %d was over" % (path, name, step)
    strays = {file.name for file in root.iterdir() if file.name.startswith("f-")} - set(expected) - {"f-%06d" % (step + 1)}
    assert not strays, "%s: holds files that were deleted before: %s" % (path, ", ".join(sorted(strays)))
    return Content(step=step, files=len(expected) + 1)


def check_order(contents, synced):
    """contents: {"vda": Content, "vdb": Content} of one point in time; synced: a step known to be safe before it."""
    first, second = contents["vda"].step, contents["vdb"].step
    assert second in (first, first - 1), "not one point in time: vda is at step %d, vdb at step %d" % (first, second)
    assert second >= synced, "vdb is at step %d, but step %d was synced before the backup began" % (second, synced)

