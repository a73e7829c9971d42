/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is kept of the disks of a VM for the time when it is shut off and cannot be asked: how they are called, and where
 * their images are. What is in the images (size, bitmaps) is read from them then. Pure, but for the clock.
 */
#pragma once

#include "disk.h"

typedef struct {
  int64_t recorded_at;
  char *process;    /* of the QEMU that had them, as by bk_pid_identity(); NULL = not known */
  GPtrArray *disks; /* BkDisk, without bitmaps */
} BkRecordedDisks;
void bk_recorded_disks_free (BkRecordedDisks *recorded);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkRecordedDisks, bk_recorded_disks_free)

/* @disks: BkDisk, as just seen in @process, which may be NULL. (transfer full) */
json_object *bk_recorded_disks_write (GPtrArray *disks, const char *process, int64_t recorded_at);

/* INVALID for what is none. (transfer full) */
BkRecordedDisks *bk_recorded_disks_read (json_object *recorded, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* True when both tell of the same disks in the same process. NULL is none. */
bool bk_recorded_disks_equal (json_object *one, json_object *other);
