# SPDX-License-Identifier: LGPL-2.1-or-later
"""The frozen point in time of a writing guest, read by programs that are not ours."""

import json

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


def exported(site, identifier):
    export = site.ctl("export", "show", identifier)
    assert export["state"] in ("beginning", "ready"), export
    return export if export["state"] == "ready" else None
