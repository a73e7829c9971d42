/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backup-checkpoint.h"

#include "checkpoint-forget.h"

static void
add_disk (BkCheckpointInfo *checkpoint, const BkRunDisk *planned, const char *state)
{
  BkCheckpointDisk *disk = g_new0 (BkCheckpointDisk, 1);
  disk->name = g_strdup (planned->name);
  disk->bitmap = g_strdup (planned->bitmap);
  disk->parent = g_strdup (planned->parent_checkpoint);
  disk->state = g_strdup (state);
  disk->size = planned->size;
  disk->persistent = planned->persistent;
  g_ptr_array_add (checkpoint->disks, disk);
}

gboolean
bk_backup_checkpoint_put (BkJob *job, const BkBackup *backup, const char *state, GError **error)
{
  g_autoptr (BkCheckpointInfo) checkpoint = g_new0 (BkCheckpointInfo, 1);
  checkpoint->id = g_strdup (backup->id);
  checkpoint->vm = g_strdup (backup->request->vm);
  checkpoint->backup_id = backup->makes_backup ? g_strdup (backup->id) : NULL;
  checkpoint->job_id = g_strdup (bk_job_id (job));
  checkpoint->created_at = backup->run->point_in_time ? backup->run->point_in_time : g_get_real_time ();
  checkpoint->disks = g_ptr_array_new ();
  for (unsigned i = 0; i < backup->run->disks->len; i++) {
    const BkRunDisk *planned = backup->run->disks->pdata[i];
    if (planned->bitmap && !bk_run_disk_has_failed (planned))
      add_disk (checkpoint, planned, state);
  }
  if (checkpoint->disks->len == 0)
    return TRUE;
  BkJobInfo *info = bk_job_info (job);
  g_free (info->checkpoint_id);
  info->checkpoint_id = g_strdup (checkpoint->id);
  return bk_catalog_put_checkpoint (bk_job_catalog (job), checkpoint, error);
}

static gboolean
forget_broken_chains (BkJob *job, const BkBackup *backup, GError **error)
{
  for (unsigned i = 0; i < backup->run->disks->len; i++) {
    const BkRunDisk *disk = backup->run->disks->pdata[i];
    if (disk->bitmap == NULL || disk->parent_checkpoint || bk_run_disk_has_failed (disk))
      continue;
    if (!bk_checkpoint_forget_before (bk_job_catalog (job), backup->request->vm, disk->name, backup->id, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
bk_backup_checkpoint_commit (BkJob *job, const BkBackup *backup, GError **error)
{
  return bk_backup_checkpoint_put (job, backup, "committed", error) && forget_broken_chains (job, backup, error);
}

void
bk_backup_checkpoint_remove (BkJob *job, const BkBackup *backup)
{
  g_autoptr (GError) error = NULL;
  if (backup->run && !bk_catalog_remove_checkpoint (bk_job_catalog (job), backup->id, &error) &&
      !g_error_matches (error, BK_ERROR, BK_ERROR_NOT_FOUND))
    g_warning ("job %s: %s", bk_job_id (job), error->message);
  g_clear_pointer (&bk_job_info (job)->checkpoint_id, g_free);
}
