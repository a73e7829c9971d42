/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backup.h"

#include "backup-checkpoint.h"
#include "backup-manifest.h"
#include "backup-progress.h"
#include "backup-request.h"
#include "backup-target.h"
#include "fsio.h"
#include "hook.h"
#include "quiesce.h"
#include "ulid.h"

/* --- its form in the catalog --- */

typedef struct {
  char *backup_id;
  GStrv made;
  BkRun *run;
  bool hook_due;
  GPtrArray *hooks;
} Stored;

static const BkField stored_fields[] = {
  { "backup_id", BK_FIELD_STRING, offsetof (Stored, backup_id), BK_FIELD_REQUIRED, NULL, NULL },
  { "made", BK_FIELD_STRV, offsetof (Stored, made), 0, NULL, NULL },
  { "run", BK_FIELD_OBJECT, offsetof (Stored, run), 0, &bk_run_struct, NULL },
  { "hook_due", BK_FIELD_BOOL, offsetof (Stored, hook_due), 0, NULL, NULL },
  { "hooks", BK_FIELD_ARRAY, offsetof (Stored, hooks), 0, &bk_hook_run_struct, NULL },
  { NULL },
};
static const BkStruct stored_struct = { "stored backup job", sizeof (Stored), stored_fields };

json_object *
bk_backup_to_json (gpointer data)
{
  BkBackup *backup = data;
  Stored stored = { backup->id, backup->made, backup->run, backup->hook_due, backup->hooks };
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
  backup->hook_due = stored->hook_due;
  for (unsigned i = 0; stored->hooks && i < stored->hooks->len; i++)
    g_ptr_array_add (backup->hooks, bk_struct_copy (&bk_hook_run_struct, stored->hooks->pdata[i]));
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
  backup->freeze_limit_ms = context->freeze_limit_ms;
  backup->hooks_dir = g_strdup (context->hooks_dir);
  backup->hook_seconds = context->hook_seconds;
  backup->hooks = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_hook_run_free);
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
  g_free (backup->hooks_dir);
  g_clear_pointer (&backup->hooks, g_ptr_array_unref);
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
  BkBackupContext context = { backup->vm, backup->repositories, backup->scratch, backup->scratch_reserve, backup->exports, !backup->makes_backup, false, backup->freeze_limit_ms,
                              backup->hooks_dir, backup->hook_seconds };
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
  info->reason = backup->vm_ended ? g_strdup_printf ("the VM ended in the middle, and the backup was begun anew; %s", reason) : g_steal_pointer (&reason);
  g_free (info->backup_id);
  info->backup_id = backup->makes_backup ? g_strdup (backup->id) : NULL;
  run->speed = info->speed; /* it may have been changed since the job was asked for */
  bk_backup_show_disks (backup, info);
  if (!bk_backup_checkpoint_put (job, backup, "provisional", error))
    return FALSE;
  backup->made = bk_backup_target_new_files (run, backup->request);
  backup->hook_due = backup->request->hook != NULL;
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

/* "after" does not wait for the undo, which comes for those that an earlier daemon has left. */
gboolean
bk_backup_take_instant (BkJob *job, BkBackup *backup, BkTakeInstant take, GCancellable *cancellable, GError **error)
{
  gboolean ok = bk_hook_before (backup, bk_job_id (job), cancellable, error) && bk_quiesce_take (backup, take, cancellable, error);
  bk_hook_after (backup, bk_job_id (job), ok);
  return ok;
}

gboolean
bk_backup_work_snapshot (BkJob *job, gpointer data, GCancellable *cancellable, GError **error)
{
  BkBackup *backup = data;
  if (!bk_run_is_snapshot (backup->run)) /* the instant is that of the start */
    return bk_backend_snapshot (bk_vm_backend (backup->vm), backup->run, cancellable, error);
  return bk_backup_take_instant (job, backup, bk_backend_snapshot, cancellable, error);
}

gboolean
bk_backup_undo_snapshot (BkJob *job, gpointer data, GError **error G_GNUC_UNUSED)
{
  BkBackup *backup = data;
  bk_quiesce_undo (backup->run);
  if (backup->run)
    bk_hook_after (backup, bk_job_id (job), false);
  return TRUE;
}

void
bk_backup_show_instant (BkJob *job, const BkBackup *backup)
{
  BkJobInfo *info = bk_job_info (job);
  bk_quiesce_info_free (info->quiesce);
  info->quiesce = backup->run ? bk_struct_copy (&bk_quiesce_info_struct, backup->run->quiesce) : NULL;
  for (unsigned i = 0; info->hooks && i < info->hooks->len; i++)
    bk_hook_run_free (info->hooks->pdata[i]);
  g_clear_pointer (&info->hooks, g_ptr_array_unref);
  info->hooks = g_ptr_array_new ();
  for (unsigned i = 0; i < backup->hooks->len; i++)
    g_ptr_array_add (info->hooks, bk_struct_copy (&bk_hook_run_struct, backup->hooks->pdata[i]));
}

gboolean
bk_backup_record_instant (BkJob *job, gpointer data, GError **error G_GNUC_UNUSED)
{
  BkBackup *backup = data;
  bk_job_info (job)->point_in_time = backup->run->point_in_time;
  bk_backup_show_instant (job, backup);
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

bool
bk_backup_again (BkJob *job G_GNUC_UNUSED, gpointer data)
{
  BkBackup *backup = data;
  if (backup->vm_ended || backup->run == NULL || backup->run->offline || !bk_backend_is_off (bk_vm_backend (backup->vm)))
    return false;
  backup->vm_ended = true;
  g_clear_pointer (&backup->state, bk_vm_state_free);
  g_clear_pointer (&backup->store, bk_store_unref);
  g_clear_pointer (&backup->folder, g_free);
  g_clear_pointer (&backup->run, bk_run_free);
  g_clear_pointer (&backup->made, g_strfreev);
  return true;
}

void
bk_backup_undone (BkJob *job, gpointer data)
{
  bk_backup_checkpoint_remove (job, data);
  bk_backup_show_instant (job, data);
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
