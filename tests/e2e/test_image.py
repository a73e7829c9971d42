# SPDX-License-Identifier: LGPL-2.1-or-later
"""The checker of images itself: it must see what a bad backup would do to a disk. Needs no guest and no daemon."""

import pytest

import image
import process
from image import Content

WRITING = image.Writing(kib=8, keep=10, ballast={"vda": 100000})


@pytest.fixture
def disk(tmp_path):
    """A function: makes a disk as it is after a step, with changes to some files (None: missing)."""
    def make(step, **changes):
        root = tmp_path / "root"
        root.mkdir()
        files = {name: allowed[0] for name, allowed in WRITING.expected("vda", step).items()}
        files.update({"sequence": b"%d\n" % step, "ballast": WRITING.ballast_of("vda")})
        files.update({name.replace("f_", "f-"): content for name, content in changes.items()})
        for name, content in files.items():
            if content is not None:
                (root / name).write_bytes(content)
        raw = tmp_path / "vda.raw"
        with open(raw, "wb") as file:
            file.truncate(16 << 20)
        process.run(["mkfs.ext4", "-q", "-d", root, raw])
        return raw
    return make


def check(raw):
    return image.check_content(raw, "raw", "vda", WRITING)


def test_sound_disk(disk):
    assert check(disk(23)) == Content(step=23, files=11)


def test_overwritten_files_are_foretold():
    # Step 24 overwrites f-19, step 21 had overwritten f-16.
    assert [WRITING.written_in(number, 24) for number in (15, 16, 17, 18, 19, 20)] == [15, 21, 17, 18, 24, 20]
    assert WRITING.written_in(19, 23) == 19


def test_step_in_progress_is_allowed(disk):
    # Step 24 writes f-24, overwrites f-19, deletes f-14.
    mixture = WRITING.content("vda", 19, 24)[:4096] + WRITING.content("vda", 19, 19)[4096:]
    assert check(disk(23, f_000024=b"half", f_000019=mixture, f_000014=None)).step == 23


@pytest.mark.parametrize("changes", [
    {"f_000020": None},                                  # lost
    {"f_000016": WRITING.content("vda", 16, 16)},        # an older content: a change was missed
    {"f_000020": bytes(8 * 1024)},                       # zeroes where data was
    {"f_000020": WRITING.content("vdb", 20, 20)},        # of another disk
    {"f_000013": WRITING.content("vda", 13, 13)},        # deleted long ago, back again
    {"f_000025": WRITING.content("vda", 25, 25)},        # of a later time
    {"ballast": b"x" * 100000},
])
def test_wrong_content_is_seen(disk, changes):
    with pytest.raises(AssertionError):
        check(disk(23, **changes))


def test_damaged_file_system_is_seen(disk):
    raw = disk(23)
    process.run(["debugfs", "-w", "-R", "clri <2>", raw])
    with pytest.raises(AssertionError, match="fsck|journal"):
        check(raw)


@pytest.mark.parametrize("first, second, synced, good", [
    (8, 8, 8, True), (9, 8, 8, True), (9, 8, 9, False), (10, 8, 5, False), (8, 9, 5, False)])
def test_order_of_disks(first, second, synced, good):
    contents = {"vda": Content(first, 1), "vdb": Content(second, 1)}
    if good:
        image.check_order(contents, synced)
        return
    with pytest.raises(AssertionError):
        image.check_order(contents, synced)
