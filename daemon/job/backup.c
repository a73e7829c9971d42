/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backup.h"

#include "backup-checkpoint.h"
#include "backup-manifest.h"
#include "backup-progress.h"
#include "backup-request.h"
#include "backup-target.h"
#include "fsio.h"
#include "ulid.h"

/* --- its form in the catalog --- */

typedef struct {
  char *backup_id;
  GStrv made;
  BkRun *run;
} Stored;

static const BkField stored_fields[] = {
  { "backup_id", BK_FIELD_STRING, offsetof (Stored, backup_id), BK_FIELD_REQUIRED, NULL, NULL },
  { "made", BK_FIELD_STRV, offsetof (Stored, made), 0, NULL, NULL },
  { "run", BK_FIELD_OBJECT, offsetof (Stored, run), 0, &bk_run_struct, NULL },
  { NULL },
};
static const BkStruct stored_struct = { "stored backup job", sizeof (Stored), stored_fields };

json_object *
bk_backup_to_json (gpointer data)
{
  BkBackup *backup = data;
  Stored stored = { backup->id, backup->made, backup->run };
  return bk_struct_to_json (&stored_struct, &stored);
}

static void
set_folder (BkBackup *backup)
{
  g_free (backup->folder);
  backup->folder = backup->store ? bk_store_location (backup->store, backup->request->vm, backup->id) : NULL;
}

static gboolean
read_stored (BkBackup *backup, json_object *run, GError **error)
{
  Stored *stored = bk_struct_from_json_lax (&stored_struct, run, error);
  if (stored == NULL)
    return FALSE;
  g_free (backup->id);
  backup->id = g_steal_pointer (&stored->backup_id);
  backup->made = g_steal_pointer (&stored->made);
  backup->run = g_steal_pointer (&stored->run);
  bk_struct_free (&stored_struct, stored);
  g_autoptr (GError) failure = NULL;
  if (backup->request->target == NULL && backup->makes_backup)
    backup->store = bk_repository_registry_open (backup->repositories, backup->request->repository, &failure);
  if (failure)
    g_warning ("backup '%s': %s", backup->id, failure->message);
  set_folder (backup);
  return TRUE;
}

/* --- life --- */

gboolean
bk_backup_init (BkBackup *backup, const BkBackupContext *context, const BkBackupRequest *request, const char *id, json_object *run, GError **error)
{
  backup->vm = bk_vm_ref (context->vm);
  backup->repositories = context->repositories;
  backup->scratch = g_strdup (context->scratch);
  backup->scratch_reserve = context->scratch_reserve;
  backup->exports = g_strdup (context->exports);
  backup->request = bk_struct_copy (&bk_backup_request_struct, request);
  backup->makes_backup = !context->export;
  backup->id = id ? g_strdup (id) : bk_ulid_new ();
  return run == NULL || read_stored (backup, run, error);
}

void
bk_backup_clear (BkBackup *backup)
{
  g_clear_pointer (&backup->vm, bk_vm_unref);
  g_free (backup->scratch);
  g_free (backup->exports);
  bk_backup_request_free (backup->request);
  g_clear_pointer (&backup->state, bk_vm_state_free);
  g_clear_pointer (&backup->parts, g_ptr_array_unref);
  g_clear_pointer (&backup->store, bk_store_unref);
  g_free (backup->id);
  g_free (backup->folder);
  bk_run_free (backup->run);
  g_strfreev (backup->made);
}

/* --- plan --- */

gboolean
bk_backup_work_plan (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  BkBackup *backup = data;
  backup->state = bk_backend_inspect (bk_vm_backend (backup->vm), cancellable, error);
  if (backup->state && backup->makes_backup && backup->request->target == NULL)
    bk_backup_parts (backup);
  return backup->state != NULL;
}

/* Not worth a failed backup: the disks are what cannot be had again. */
GPtrArray *
bk_backup_parts (BkBackup *backup)
{
  g_autoptr (GError) error = NULL;
  if (backup->parts == NULL)
    backup->parts = bk_backend_describe (bk_vm_backend (backup->vm), &error);
  if (error)
    g_warning ("backup '%s' is without the definition of VM '%s': %s", backup->id, backup->request->vm, error->message);
  if (backup->parts == NULL)
    backup->parts = g_ptr_array_new ();
  return backup->parts;
}

void
bk_backup_show_disks (const BkBackup *backup, BkJobInfo *info)
{
  for (unsigned i = 0; info->disks && i < info->disks->len; i++)
    bk_job_disk_free (info->disks->pdata[i]);
  g_clear_pointer (&info->disks, g_ptr_array_unref);
  info->disks = bk_backup_progress_rows (backup->run);
}

/* The kind was chosen when the job was asked for. */
static gboolean
check_same_kind (const BkJobInfo *info, const BkRun *run, GError **error)
{
  if ((g_strcmp0 (info->mode, "pull") == 0) == bk_run_is_pull (run))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "repository '%s' is of another type than when the backup was asked for; start it again",
               info->repository);
  return FALSE;
}

gboolean
bk_backup_record_plan (BkJob *job, gpointer data, GError **error)
{
  BkBackup *backup = data;
  BkJobInfo *info = bk_job_info (job);
  BkBackupContext context = { backup->vm, backup->repositories, backup->scratch, backup->scratch_reserve, backup->exports, !backup->makes_backup, false };
  g_autofree char *reason = NULL;
  BkRun *run = bk_backup_plan (&context, bk_job_catalog (job), backup->request, backup->state, &backup->store, &reason, NULL, error);
  if (run == NULL)
    return FALSE;
  backup->run = run;
  if (!check_same_kind (info, run, error))
    return FALSE;
  set_folder (backup);
  if (!bk_plan_name (run, backup->request, bk_catalog_instance (bk_job_catalog (job)), bk_job_number (job), backup->folder, error))
    return FALSE;
  g_free (info->mode);
  info->mode = g_strdup (run->mode);
  g_free (info->reason);
  info->reason = g_steal_pointer (&reason);
  g_free (info->backup_id);
  info->backup_id = backup->makes_backup ? g_strdup (backup->id) : NULL;
  run->speed = info->speed; /* it may have been changed since the job was asked for */
  bk_backup_show_disks (backup, info);
  if (!bk_backup_checkpoint_put (job, backup, "provisional", error))
    return FALSE;
  backup->made = bk_backup_target_new_files (run, backup->request);
  return TRUE;
}

/* --- prepare, snapshot --- */

gboolean
bk_backup_work_prepare (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  BkBackup *backup = data;
  return bk_backend_prepare (bk_vm_backend (backup->vm), backup->run, cancellable, error);
}

gboolean
bk_backup_undo_prepare (BkJob *job G_GNUC_UNUSED, gpointer data, GError **error)
{
  BkBackup *backup = data;
  if (backup->run == NULL)
    return TRUE;
  return bk_backend_release (bk_vm_backend (backup->vm), backup->run, error) &&
         bk_backend_rollback (bk_vm_backend (backup->vm), backup->run, true, error);
}

gboolean
bk_backup_work_snapshot (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  BkBackup *backup = data;
  return bk_backend_snapshot (bk_vm_backend (backup->vm), backup->run, cancellable, error);
}

gboolean
bk_backup_record_instant (BkJob *job, gpointer data, GError **error G_GNUC_UNUSED)
{
  BkBackup *backup = data;
  bk_job_info (job)->point_in_time = backup->run->point_in_time;
  return TRUE;
}

/* --- commit --- */

void
bk_backup_end_partial (BkJob *job, const BkBackup *backup)
{
  unsigned failed = 0;
  const BkRunDisk *first = bk_run_first_failed (backup->run, &failed);
  if (failed == 0)
    return;
  g_autoptr (GError) partial = NULL;
  g_set_error (&partial, BK_ERROR, BK_ERROR_PARTIAL, "%u of %u disks are not in it; first %s: %s", failed, backup->run->disks->len,
               first->name, first->error->message);
  bk_job_set_partial (job, partial);
}

gboolean
bk_backup_record_commit (BkJob *job, gpointer data, GError **error)
{
  BkBackup *backup = data;
  g_autoptr (BkBackupInfo) info = bk_backup_manifest_new (backup->run, backup->request, backup->id, bk_job_id (job));
  if (backup->store)
    bk_backup_manifest_locate (info, backup->folder);
  if (!bk_catalog_put_backup (bk_job_catalog (job), info, error) || !bk_backup_checkpoint_commit (job, backup, error))
    return FALSE;
  bk_backup_end_partial (job, backup);
  bk_event_ring_publish (bk_job_events (job), "backup", info->vm, info->job_id, bk_struct_to_json (&bk_backup_info_struct, info));
  return TRUE;
}

void
bk_backup_undone (BkJob *job, gpointer data)
{
  bk_backup_checkpoint_remove (job, data);
  g_clear_pointer (&bk_job_info (job)->backup_id, g_free);
}

/* --- while it copies --- */

gboolean
bk_backup_check_scratch (const BkBackup *backup, GError **error)
{
  uint64_t bytes = 0;
  if (backup->run->scratch == NULL || !bk_fsio_free_space (backup->scratch, &bytes, NULL))
    return TRUE;
  if (bytes >= backup->scratch_reserve / 2)
    return TRUE;
  g_autofree char *have = bk_size_format (bytes);
  g_set_error (error, BK_ERROR, BK_ERROR_NO_SPACE, "scratch space in '%s' is down to %s; the guest writes more than it holds",
               backup->scratch, have);
  return FALSE;
}

gboolean
bk_backup_check_disks (const BkBackup *backup, GError **error)
{
  unsigned failed = 0;
  const BkRunDisk *first = bk_run_first_failed (backup->run, &failed);
  if (failed < backup->run->disks->len)
    return TRUE;
  g_set_error (error, BK_ERROR, bk_error_entry_by_name (first->error->code)->code, "disk %s: %s", first->name, first->error->message);
  return FALSE;
}
