/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "export-job.h"

#include "backup-checkpoint.h"
#include "backup-progress.h"
#include "cancel.h"
#include "fsio.h"

#include <string.h>

/* How long the waiting worker sleeps at most. */
#define WAIT_US (G_USEC_PER_SEC / 4)
#define CHECK_US G_USEC_PER_SEC
#define DEFAULT_SECONDS (24 * 60 * 60)

typedef enum { OPEN, SUCCESS, FAILED } Ending;

typedef struct {
  BkBackup backup; /* first */
  BkExportRequest *request;
  int64_t expires_at;
  int ending;       /* atomic; Ending */
  bool ready;       /* main thread: it can be read, and nobody has said how it ended */
  GPtrArray *shown; /* main thread: BkExportDisk, once it can be read */
} Export;

/* --- what others see --- */

/* With the file that holds the client's key or certificates, which only it knows, still to be added. */
static char *
uri_of (const BkRun *run, const char *name)
{
  g_autofree char *escaped = g_uri_escape_string (name, NULL, FALSE);
  const char *scheme = run->nbd_tls ? "nbds" : "nbd";
  if (g_str_has_prefix (run->nbd_address, "tcp:"))
    return g_strdup_printf ("%s://%s/%s", scheme, run->nbd_address + strlen ("tcp:"), escaped);
  g_autofree char *path = g_uri_escape_string (run->nbd_address + strlen ("unix:"), "/", FALSE);
  return g_strdup_printf ("%s+unix:///%s?socket=%s", scheme, escaped, path);
}

static BkExportDisk *
show_disk (const BkRun *run, const BkRunDisk *disk)
{
  BkExportDisk *shown = g_new0 (BkExportDisk, 1);
  shown->name = g_strdup (disk->name);
  shown->size = disk->size;
  shown->level = g_strdup (disk->level);
  shown->reason = g_strdup (disk->reason);
  shown->error = bk_struct_copy (&bk_problem_struct, disk->error);
  if (disk->export_name == NULL || bk_run_disk_has_failed (disk))
    return shown;
  shown->export_name = g_strdup (disk->export_name);
  shown->uri = uri_of (run, disk->export_name);
  shown->dirty_context = g_strdup (disk->dirty_context);
  return shown;
}

static GPtrArray *
show_disks (const BkRun *run)
{
  GPtrArray *shown = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_export_disk_free);
  for (unsigned i = 0; run && i < run->disks->len; i++)
    g_ptr_array_add (shown, show_disk (run, run->disks->pdata[i]));
  return shown;
}

static void
show (Export *export)
{
  g_clear_pointer (&export->shown, g_ptr_array_unref);
  export->shown = show_disks (export->backup.run);
}

/* --- life --- */

static void
export_free (gpointer data)
{
  Export *export = data;
  bk_backup_clear (&export->backup);
  bk_export_request_free (export->request);
  g_clear_pointer (&export->shown, g_ptr_array_unref);
  g_free (export);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Export, export_free)

BkBackupRequest *
bk_export_job_backup_request (const BkExportRequest *request)
{
  BkBackupRequest *wanted = g_new0 (BkBackupRequest, 1);
  wanted->id = g_strdup (request->id);
  wanted->vm = g_strdup (request->vm);
  wanted->disks = g_strdupv (request->disks);
  wanted->since = g_strdup (request->since);
  wanted->mode = g_strdup ("pull");
  wanted->quiesce = g_strdup (request->quiesce);
  wanted->quiesce_mounts = g_strdupv (request->quiesce_mounts);
  wanted->hook = g_strdup (request->hook);
  wanted->hook_failure = g_strdup (request->hook_failure);
  return wanted;
}

static gboolean
check_request (const BkExportRequest *request, GError **error)
{
  const char *listen = request->listen;
  if (listen && strcmp (listen, "unix") != 0 && !g_str_has_prefix (listen, "tcp:")) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/listen: '%s' is no address; use unix or tcp:HOST:PORT", listen);
    return FALSE;
  }
  if (request->tls && !g_path_is_absolute (request->tls)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/tls: must be an absolute path of a folder on QEMU's host");
    return FALSE;
  }
  return TRUE;
}

static int64_t
expiry (const BkExportRequest *request, int64_t created_at)
{
  uint64_t seconds = request->timeout_seconds ? request->timeout_seconds : DEFAULT_SECONDS;
  return created_at + (int64_t)MIN (seconds, G_MAXINT32) * G_USEC_PER_SEC;
}

gpointer
bk_export_job_data_new (const BkBackupContext *context, const BkExportRequest *request, const char *id, int64_t created_at, json_object *run,
                        GError **error)
{
  g_autoptr (BkBackupRequest) wanted = bk_export_job_backup_request (request);
  g_autoptr (Export) export = g_new0 (Export, 1);
  export->request = bk_struct_copy (&bk_export_request_struct, request);
  export->expires_at = expiry (request, created_at);
  if (!bk_backup_init (&export->backup, context, wanted, id, run, error) || !check_request (request, error))
    return NULL;
  show (export);
  return g_steal_pointer (&export);
}

/* --- plan, export --- */

static gboolean
record_plan (BkJob *job, gpointer data, GError **error)
{
  Export *export = data;
  if (!bk_backup_record_plan (job, data, error))
    return FALSE;
  BkRun *run = export->backup.run;
  run->export = true;
  run->nbd_listen = g_strcmp0 (export->request->listen, "unix") == 0 ? NULL : g_strdup (export->request->listen);
  run->tls = g_strdup (export->request->tls);
  show (export);
  return TRUE;
}

static gboolean
record_export (BkJob *job G_GNUC_UNUSED, gpointer data, GError **error G_GNUC_UNUSED)
{
  Export *export = data;
  show (export);
  export->ready = true;
  return TRUE;
}

/* --- ready --- */

static gboolean
check_frozen (Export *export, GError **error)
{
  BkBackup *backup = &export->backup;
  g_autoptr (GError) failure = NULL;
  if (!bk_backend_check_frozen (bk_vm_backend (backup->vm), backup->run, &failure)) {
    /* Nothing is proven; the VM may come back with what it serves. */
    if (g_error_matches (failure, BK_ERROR, BK_ERROR_UNREACHABLE))
      return TRUE;
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  return bk_backup_check_disks (backup, error);
}

static gboolean
fail_as_told (GError **error)
{
  g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "ended as failed on request: the changes count as not backed up");
  return FALSE;
}

static gboolean
fail_as_expired (const Export *export, GError **error)
{
  uint64_t seconds = export->request->timeout_seconds ? export->request->timeout_seconds : DEFAULT_SECONDS;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "nobody ended the export within %" G_GUINT64_FORMAT " seconds", seconds);
  return FALSE;
}

/* Success is for what was read until now, and it has to be proven. */
static gboolean
end_with_success (Export *export, GError **error)
{
  BkBackup *backup = &export->backup;
  return bk_backend_check_frozen (bk_vm_backend (backup->vm), backup->run, error) && bk_backup_check_disks (backup, error);
}

static gboolean
work_ready (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  Export *export = data;
  for (int64_t checked = 0; bk_cancel_check (cancellable, error); g_usleep (WAIT_US)) {
    Ending ending = g_atomic_int_get (&export->ending);
    if (ending == SUCCESS)
      return end_with_success (export, error);
    if (ending == FAILED)
      return fail_as_told (error);
    if (g_get_real_time () > export->expires_at)
      return fail_as_expired (export, error);
    if (g_get_monotonic_time () < checked + CHECK_US)
      continue;
    checked = g_get_monotonic_time ();
    if (!bk_backup_check_scratch (&export->backup, error) || !check_frozen (export, error))
      return FALSE;
  }
  return FALSE;
}

static gboolean
work_export (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  BkBackup *backup = data;
  return bk_fsio_make_folder (backup->run->export_folder, error) &&
         bk_backend_export (bk_vm_backend (backup->vm), backup->run, cancellable, error);
}

/* --- the end --- */

static void
complete_disks (BkRun *run)
{
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    if (bk_run_disk_has_failed (disk))
      continue;
    g_free (disk->state);
    disk->state = g_strdup ("completed");
  }
}

static gboolean
work_release (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  BkBackup *backup = data;
  BkBackend *backend = bk_vm_backend (backup->vm);
  complete_disks (backup->run);
  return bk_backend_release (backend, backup->run, error) && bk_backend_rollback (backend, backup->run, false, error);
}

static gboolean
record_commit (BkJob *job, gpointer data, GError **error)
{
  Export *export = data;
  if (!bk_backup_checkpoint_commit (job, &export->backup, error))
    return FALSE;
  bk_backup_end_partial (job, &export->backup);
  show (export);
  return TRUE;
}

bool
bk_export_job_end (BkJob *job, bool success)
{
  Export *export = bk_job_data (job);
  if (!export->ready || !g_atomic_int_compare_and_exchange (&export->ending, OPEN, success ? SUCCESS : FAILED))
    return false;
  export->ready = false;
  return true;
}

/* --- the job as an export --- */

static const char *
state_of (const BkJobInfo *info, const Export *live)
{
  if (strcmp (info->state, "completed") == 0 || strcmp (info->state, "partial") == 0)
    return "ended";
  if (bk_job_state_is_end (info->state))
    return "failed";
  if (strcmp (info->state, "running") != 0)
    return strcmp (info->state, "finalizing") == 0 ? "ending" : "beginning";
  return live && live->ready && info->actions && info->actions[0] ? "ready" : "ending";
}

static void
add_disks (BkExportInfo *shown, GPtrArray *disks)
{
  shown->disks = g_ptr_array_new ();
  for (unsigned i = 0; i < disks->len; i++)
    g_ptr_array_add (shown->disks, bk_struct_copy (&bk_export_disk_struct, disks->pdata[i]));
}

/* As they were when it ended. */
static void
add_stored_disks (BkExportInfo *shown, json_object *stored)
{
  json_object *run = NULL;
  g_autoptr (BkRun) known = NULL;
  if (stored && json_object_object_get_ex (stored, "run", &run) && run)
    known = bk_struct_from_json_lax (&bk_run_struct, run, NULL);
  g_autoptr (GPtrArray) disks = known && known->nbd_address ? show_disks (known) : g_ptr_array_new ();
  add_disks (shown, disks);
}

BkExportInfo *
bk_export_job_describe (BkJob *job, const BkJobInfo *info, json_object *request, json_object *run)
{
  const Export *live = job ? bk_job_data (job) : NULL;
  g_autoptr (BkExportRequest) asked = bk_struct_from_json_lax (&bk_export_request_struct, request, NULL);
  BkExportInfo *shown = g_new0 (BkExportInfo, 1);
  shown->id = g_strdup (info->id);
  shown->vm = g_strdup (info->vm);
  shown->state = g_strdup (state_of (info, live));
  shown->checkpoint_id = g_strdup (info->checkpoint_id);
  shown->created_at = info->created_at;
  shown->point_in_time = info->point_in_time;
  shown->expires_at = asked ? expiry (asked, info->created_at) : 0;
  shown->ended_at = info->ended_at;
  shown->quiesce = bk_struct_copy (&bk_quiesce_info_struct, info->quiesce);
  shown->error = bk_struct_copy (&bk_problem_struct, info->error);
  if (live)
    add_disks (shown, live->shown);
  else
    add_stored_disks (shown, run);
  return shown;
}

/* --- the kind --- */

static void
progress (BkJob *job, gpointer data)
{
  BkBackup *backup = data;
  Export *export = data;
  BkJobInfo *info = bk_job_info (job);
  bk_backup_progress_update (info, backup->run, bk_job_is_working (job));
  if (!bk_job_is_working (job))
    bk_backup_show_instant (job, backup);
  info->bytes_total = 0; /* what others read is not known */
  /* Also of one that is taken up again. */
  if (g_strcmp0 (info->step, "ready") == 0 && g_atomic_int_get (&export->ending) == OPEN)
    export->ready = true;
}

static const BkStep steps[] = {
  { "plan", "preparing", bk_backup_work_plan, record_plan, NULL },
  { "prepare", "preparing", bk_backup_work_prepare, NULL, bk_backup_undo_prepare },
  { "snapshot", "preparing", bk_backup_work_snapshot, bk_backup_record_instant, bk_backup_undo_snapshot },
  { "export", "preparing", work_export, record_export, NULL },
  { "ready", "running", work_ready, NULL, NULL },
  { "release", "finalizing", work_release, NULL, NULL },
  { "commit", "finalizing", NULL, record_commit, NULL },
  { NULL },
};

const BkJobKind bk_export_job_kind = {
  .name = "export",
  .steps = steps,
  .adopt_from = "ready",
  .why_undone = "the daemon was stopped before the export could be read; nothing was lost: begin it again",
  .verbs = 1 << BK_VERB_CANCEL,
  .to_json = bk_backup_to_json,
  .progress = progress,
  .undone = bk_backup_undone,
  .free = export_free,
};
