/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backup-manifest.h"

#include "backup-request.h"

static BkBackupDisk *
describe_disk (const BkRunDisk *disk, bool in_repository, const char *id)
{
  BkBackupDisk *row = g_new0 (BkBackupDisk, 1);
  bool failed = bk_run_disk_has_failed (disk);
  row->name = g_strdup (disk->name);
  row->level = g_strdup (disk->level);
  row->state = g_strdup (failed ? "failed" : "completed");
  row->size = disk->size;
  row->qdev = g_strdup (disk->qdev);
  row->node = g_strdup (disk->node);
  row->source_format = g_strdup (disk->format);
  row->source_file = g_strdup (disk->file);
  row->error = bk_struct_copy (&bk_problem_struct, disk->error);
  if (failed)
    return row;
  row->bytes_different = disk->bytes_different;
  row->bytes_new = disk->bytes_new;
  row->checkpoint = disk->bitmap ? g_strdup (id) : NULL;
  row->bytes_transferred = disk->bytes_transferred;
  row->bytes_zero = disk->bytes_zero;
  row->bytes_stored = disk->bytes_stored;
  if (disk->target == NULL)
    return row; /* in packs: no file of its own, and stands on no other */
  row->file = in_repository ? g_path_get_basename (disk->target) : g_strdup (disk->target);
  row->format = g_strdup (disk->target_format);
  row->parent = g_strdup (disk->parent_backup);
  return row;
}

BkBackupInfo *
bk_backup_manifest_new (const BkRun *run, const BkBackupRequest *request, const char *id, const char *job)
{
  unsigned failed = 0;
  bk_run_first_failed (run, &failed);
  BkBackupInfo *info = g_new0 (BkBackupInfo, 1);
  info->version = 1;
  info->id = g_strdup (id);
  info->vm = g_strdup (request->vm);
  info->job_id = g_strdup (job);
  info->repository = g_strdup (bk_backup_request_repository (request));
  info->location = g_strdup ("");
  info->state = g_strdup (failed ? "partial" : "completed");
  info->mode = g_strdup (run->mode);
  info->qemu_version = g_strdup (run->qemu_version);
  info->point_in_time = run->point_in_time;
  info->completed_at = g_get_real_time ();
  info->guest_running = run->guest_running;
  info->quiesced = run->quiesce && run->quiesce->quiesced;
  info->disks = g_ptr_array_new ();
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkBackupDisk *disk = describe_disk (run->disks->pdata[i], request->target == NULL, id);
    info->size += disk->size;
    info->bytes_stored += disk->bytes_stored;
    g_ptr_array_add (info->disks, disk);
  }
  return info;
}

void
bk_backup_manifest_locate (BkBackupInfo *manifest, const char *folder)
{
  g_free (manifest->location);
  manifest->location = g_strdup (folder);
  for (unsigned i = 0; i < manifest->disks->len; i++) {
    BkBackupDisk *disk = manifest->disks->pdata[i];
    g_autofree char *file = g_steal_pointer (&disk->file);
    disk->file = file ? g_build_filename (folder, file, NULL) : NULL;
  }
}
