/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"

#include "bk-json-table.h"

#include <inttypes.h>
#include <string.h>

static const BkField bk_run_disk_fields[] = {
  STRING (BkRunDisk, name, BK_FIELD_REQUIRED),
  UINT64 (BkRunDisk, index, BK_FIELD_REQUIRED),
  STRING (BkRunDisk, qdev, 0),
  STRING (BkRunDisk, root, 0),
  STRING (BkRunDisk, node, 0),
  STRING (BkRunDisk, format, 0),
  STRING (BkRunDisk, file, 0),
  STRING (BkRunDisk, path, 0),
  UINT64 (BkRunDisk, size, 0),
  STRING (BkRunDisk, level, 0),
  STRING (BkRunDisk, reason, 0),
  STRING (BkRunDisk, class_name, 0),
  BOOL (BkRunDisk, in_iothread, 0),
  STRING (BkRunDisk, sync, 0),
  STRV (BkRunDisk, base_bitmaps, 0),
  STRING (BkRunDisk, base_checkpoint, 0),
  BOOL (BkRunDisk, checkpoint, 0),
  STRING (BkRunDisk, bitmap, 0),
  STRING (BkRunDisk, parent_bitmap, 0),
  STRING (BkRunDisk, parent_checkpoint, 0),
  BOOL (BkRunDisk, persistent, 0),
  STRV (BkRunDisk, stale_bitmaps, 0),
  STRING (BkRunDisk, target_driver, 0),
  STRING (BkRunDisk, target, 0),
  STRING (BkRunDisk, target_format, 0),
  STRING (BkRunDisk, parent_backup, 0),
  STRING (BkRunDisk, backing, 0),
  UINT64 (BkRunDisk, estimated, 0),
  STRING (BkRunDisk, export_name, 0),
  STRING (BkRunDisk, dirty_context, 0),
  STRING (BkRunDisk, frozen_path, 0),
  STRING (BkRunDisk, canary_path, 0),
  STRING (BkRunDisk, map_export, 0),
  STRING (BkRunDisk, state, 0),
  OBJECT (BkRunDisk, error, bk_problem_struct, 0),
  UINT64 (BkRunDisk, bytes_total, 0),
  UINT64 (BkRunDisk, bytes_transferred, 0),
  UINT64 (BkRunDisk, bytes_zero, 0),
  UINT64 (BkRunDisk, bytes_stored, 0),
  UINT64 (BkRunDisk, bytes_different, 0),
  UINT64 (BkRunDisk, bytes_new, 0),
  END,
};
STRUCT (BkRunDisk, bk_run_disk, "disk of a run");

static const BkField bk_run_fields[] = {
  STRING (BkRun, prefix, BK_FIELD_REQUIRED),
  STRING (BkRun, mode, BK_FIELD_REQUIRED),
  STRING (BkRun, scratch, 0),
  UINT64 (BkRun, speed, 0),
  BOOL (BkRun, compress, 0),
  STRING (BkRun, on_source_error, 0),
  STRING (BkRun, on_target_error, 0),
  BOOL (BkRun, offline, 0),
  STRV (BkRun, watches, 0),
  BOOL (BkRun, guest_running, 0),
  BOOL (BkRun, stops_guest, 0),
  UINT64 (BkRun, pause_us, 0),
  INT64 (BkRun, point_in_time, 0), /* with its microseconds */
  STRING (BkRun, qemu_version, 0),
  ARRAY (BkRun, disks, bk_run_disk_struct, BK_FIELD_REQUIRED),
  STRING (BkRun, agent, 0),
  STRV (BkRun, quiesce_mounts, 0),
  BOOL (BkRun, must_quiesce, 0),
  BOOL (BkRun, may_be_frozen, 0),
  OBJECT (BkRun, quiesce, bk_quiesce_info_struct, 0),
  STRING (BkRun, export_folder, 0),
  BOOL (BkRun, export, 0),
  STRING (BkRun, nbd_listen, 0),
  STRING (BkRun, tls, 0),
  STRING (BkRun, nbd_address, 0),
  STRING (BkRun, nbd_tls, 0),
  STRING (BkRun, nbd_server, 0),
  END,
};
STRUCT (BkRun, bk_run, "run");

bool
bk_run_is_snapshot (const BkRun *run)
{
  return strcmp (run->mode, "push") == 0 || bk_run_is_pull (run);
}

bool
bk_run_is_pull (const BkRun *run)
{
  return strcmp (run->mode, "pull") == 0;
}

bool
bk_run_disk_is_nbd (const BkRunDisk *disk)
{
  return strcmp (disk->target_driver, "nbd") == 0;
}

gboolean
bk_run_before_instant (const BkRun *run, GCancellable *cancellable, GError **error)
{
  return run->instant == NULL || run->instant->before (run->instant->data, cancellable, error);
}

void
bk_run_after_instant (const BkRun *run)
{
  if (run->instant)
    run->instant->after (run->instant->data);
}

char *
bk_run_name (const BkRun *run, const char *role, const BkRunDisk *disk)
{
  if (disk == NULL)
    return g_strdup_printf ("%s-%s", run->prefix, role);
  return g_strdup_printf ("%s-%s%" PRIu64, run->prefix, role, disk->index);
}

/* The total is written before and read after what was transferred, so that a reader who comes in between never
 * sees more than all of it. */
void
bk_run_disk_progress (BkRunDisk *disk, uint64_t *total, uint64_t *transferred)
{
  *transferred = __atomic_load_n (&disk->bytes_transferred, __ATOMIC_ACQUIRE);
  *total = __atomic_load_n (&disk->bytes_total, __ATOMIC_ACQUIRE);
}

void
bk_run_disk_set_progress (BkRunDisk *disk, uint64_t total, uint64_t transferred)
{
  __atomic_store_n (&disk->bytes_total, total, __ATOMIC_RELEASE);
  __atomic_store_n (&disk->bytes_transferred, transferred, __ATOMIC_RELEASE);
}

void
bk_run_disk_fail (BkRunDisk *disk, const GError *error)
{
  if (bk_run_disk_has_failed (disk))
    return;
  g_free (disk->state);
  disk->state = g_strdup ("failed");
  bk_problem_free (disk->error);
  disk->error = bk_problem_new (error);
}

bool
bk_run_disk_has_failed (const BkRunDisk *disk)
{
  return g_strcmp0 (disk->state, "failed") == 0;
}

const BkRunDisk *
bk_run_first_failed (const BkRun *run, unsigned *failed)
{
  const BkRunDisk *first = NULL;
  *failed = 0;
  for (unsigned i = run->disks->len; i-- > 0;) {
    if (!bk_run_disk_has_failed (run->disks->pdata[i]))
      continue;
    first = run->disks->pdata[i];
    ++*failed;
  }
  return first;
}
