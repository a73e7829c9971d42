/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The backend for a domain of libvirt. What is different from QMP:
 *
 *  1. A domain has one backup job at a time, whatever disks it is of (ops->one_job).
 *  2. The bitmap of a checkpoint records for ever, also beside those of later ones (BkBitmap.cumulative): nothing needs to be
 *     merged when a checkpoint goes, a failed run costs no dirty bit, and checkpoints of others do no harm.
 *  3. Bitmaps are in qcow2 images only (BkDisk.untracked).
 *  4. A push goes from the disk itself (mode push-direct): libvirt offers no filter for it.
 *  5. A domain that is shut off is known all the same, with its disks.
 *
 * A checkpoint of ours that libvirt has forgotten, for the domain was transient or has moved here, is made known to it
 * again as long as its bitmaps are sound. Those of others are never touched.
 */
#pragma once

#include "libvirt-link.h"

/* @uuid: of the domain, which keeps it when it is renamed. */
BkBackend *bk_libvirt_backend_new (BkLibvirt *libvirt, const char *uri, const char *uuid);

/* Names of its parts: see bk_backend_describe(). */
#define BK_LIBVIRT_DEFINITION "domain.xml"
#define BK_LIBVIRT_NVRAM "nvram"
#define BK_LIBVIRT_TPM "tpm"
