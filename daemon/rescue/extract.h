/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A disk of a backup to a raw file or a block device. Blocking.
 */
#pragma once

#include "repository.h"

typedef struct {
  const char *vm, *backup, *disk;
  const char *output; /* a file that is made, or a block device */
  bool force;         /* replace a file; needed for a device */
  bool salvage;       /* go on where stored data is damaged */
} BkExtract;

/* A file gets its name when it is complete and on stable storage; before, it is OUTPUT.part. One that an extract left that was killed
 * is removed, with a note on stderr. CONFLICT: the file exists, and force is not set; or its .part is somebody else's. Errors of
 * the repository and the file.
 * With salvage, what cannot be read is zero, and listed in OUTPUT.damaged, "OFFSET LENGTH" in bytes a line;
 * *@damaged counts those bytes, and the call succeeds. */
gboolean bk_extract_run (BkRepository *repository, const BkExtract *extract, uint64_t *damaged, GError **error) G_GNUC_WARN_UNUSED_RESULT;
