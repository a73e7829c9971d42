/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Makes a domain of libvirt of a restored backup: the definition that is in the backup, with the restored files in the places
 * of the disks, a name of its own, and, unless the old ones are to be kept, a UUID and MAC addresses of its own. The NVRAM is
 * restored beside the disks, as "NAME.nvram"; so is the state of a TPM ("NAME.tpm"), which libvirt has a place of its own for.
 * A disk that was not restored is left out of the domain, and drives for media are empty. Worker threads.
 */
#pragma once

#include "libvirt-link.h"
#include "store.h"

typedef struct {
  BkLibvirtLink *link;
  BkStore *store;
  const char *vm, *backup;
  const BkRestoreRequest *request; /* define, output, keep_identity */
  const char *format; /* of the restored files */
} BkDefineDomain;

/* What can be known before the work. CONFLICT: libvirt has a domain of that name. NOT_FOUND: the backup has no definition. UNREACHABLE. */
gboolean bk_define_domain_check (const BkDefineDomain *define, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Makes the folder for the files, which QEMU, as whoever it runs, can enter; one that is there stays as it is. */
gboolean bk_define_domain_make_folder (const BkDefineDomain *define, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* @outputs: name of a disk to the path of its file. */
gboolean bk_define_domain (const BkDefineDomain *define, GHashTable *outputs, GError **error) G_GNUC_WARN_UNUSED_RESULT;
