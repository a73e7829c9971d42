# SPDX-License-Identifier: LGPL-2.1-or-later
"""The frozen point in time of a writing guest, read by programs that are not ours."""

import json
import os
import subprocess

import daemon
import image
import process
from conftest import VM


def test_export_for_others(site):
    first = site.ctl("export", "begin", "--vm", VM)
    ready = process.wait_until(lambda: exported(site, first["id"]), 60, "the export to be ready")
    for disk in ready["disks"]:
        info = json.loads(process.run(["nbdinfo", "--json", disk["uri"]]))
        assert info["exports"][0]["export-size"] == disk["size"]
    copy = site.folder / "copy.raw"
    process.run(["nbdcopy", ready["disks"][0]["uri"], copy])
    image.check_content(copy, "raw", "vda", site.guest.writing)
    site.guest.wait_steps(2)
    ended = site.ctl("export", "end", first["id"], "--success")
    process.wait_until(lambda: site.ctl("export", "show", first["id"])["state"] == "ended", 30, "the export to end")
    second = site.ctl("export", "begin", "--vm", VM, "--since", ended["checkpoint_id"])
    ready = process.wait_until(lambda: exported(site, second["id"]), 60, "the export to be ready")
    for disk in ready["disks"]:
        assert disk["level"] == "differential" and disk["dirty_context"]
        changes = json.loads(process.run(["nbdinfo", "--json", "--map=" + disk["dirty_context"], disk["uri"]]))
        dirty = sum(extent["length"] for extent in changes if extent["type"] == 1)
        assert 0 < dirty < disk["size"] // 2
    site.ctl("export", "end", second["id"], "--failed")
    process.wait_until(lambda: site.ctl("export", "show", second["id"])["state"] == "failed", 30, "the export to end")


def test_the_readme_is_right(site):
    """Its commands, as they are, in a folder where vda.raw may be written."""
    lines = (daemon.ROOT / "README.md").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if "backupctl export begin" in line)
    last = next(i for i, line in enumerate(lines) if "backupctl export end" in line)
    script = "set -e\n" + "\n".join(line.strip() for line in lines[first:last + 1])
    environment = dict(daemon.environment(), BACKUPD_HOST=site.daemon.address, PATH="%s:%s" % (site.daemon.backupctl.parent, os.environ["PATH"]))
    done = subprocess.run(["sh", "-c", script], cwd=site.folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, "%s\n%s%s" % (script, done.stdout, done.stderr)
    image.check_content(site.folder / "vda.raw", "raw", "vda", site.guest.writing)


def exported(site, identifier):
    export = site.ctl("export", "show", identifier)
    assert export["state"] in ("beginning", "ready"), export
    return export if export["state"] == "ready" else None
