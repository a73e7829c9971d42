/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A run on a domain of libvirt: the domain's one backup job, which is told from others by the names of its files.
 *
 *   pull   snapshot begins the job: that is the instant. Its scratch is qcow2 on the disk itself, and what readers see is
 *          found there (see qmp-pull.c); while it cannot be written, the guest's writes fail, and never the snapshot: what was read
 *          while the job is there is the point in time. Ended by virDomainAbortJob.
 *   push   start begins it. It ends by itself; libvirt tells how.
 *
 * A checkpoint is made with the job, in one transaction. Nothing of earlier ones is changed by that.
 */
#include "libvirt-backend-private.h"

#include "libvirt-place.h"

#include <string.h>

#define DIRTY_CONTEXT "qemu:dirty-bitmap:"
/* Until a libvirtd that was restarted has found its domains again. */
#define LOST_TIMEOUT_US (60 * G_USEC_PER_SEC)
#define END_TIMEOUT_US (30 * G_USEC_PER_SEC)
#define IDLE_TIMEOUT_US (5 * G_USEC_PER_SEC)
#define POLL_MS 500
/* libvirt cannot pause a backup. With this little it does not end, and hears of nothing but cancel and speed. */
#define PAUSED_SPEED 1

static void
set_state (BkRunDisk *disk, const char *state)
{
  g_free (disk->state);
  disk->state = g_strdup (state);
}

static bool
still_runs (const BkRunDisk *disk)
{
  return strcmp (disk->state, "running") == 0;
}

/* --- prepare --- */

static bool
is_stale_here (const BkRun *run, const char *target, const char *bitmap)
{
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    if (strcmp (disk->name, target) == 0)
      return disk->stale_bitmaps && g_strv_contains ((const char *const *)disk->stale_bitmaps, bitmap);
  }
  return false;
}

/* A checkpoint goes as a whole, so only when it is good for nothing on all its disks. */
static bool
is_stale (const BkRun *run, const BkLibvirtCheckpointXml *checkpoint)
{
  for (unsigned i = 0; i < checkpoint->disks->len; i++) {
    const BkLibvirtCheckpointDisk *disk = checkpoint->disks->pdata[i];
    if (!is_stale_here (run, disk->disk, disk->bitmap))
      return false;
  }
  return checkpoint->disks->len > 0;
}

static void
remove_stale (BkLibvirtBackend *self, const BkRun *run, const BkLibvirtLook *look)
{
  for (unsigned i = 0; i < look->checkpoints->len; i++) {
    const BkLibvirtCheckpointXml *checkpoint = look->checkpoints->pdata[i];
    g_autoptr (GError) error = NULL;
    if (is_stale (run, checkpoint) && !bk_libvirt_checkpoint_delete (self->link, self->uuid, checkpoint->name, &error))
      g_warning ("cannot remove the useless checkpoint '%s': %s", checkpoint->name, error->message);
  }
}

/* QEMU opens them itself, as whom it is. */
static gboolean
check_targets (const BkLibvirtBackend *self, const BkRun *run, const BkLibvirtLook *look, GError **error)
{
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    const char *obstacle = bk_run_disk_is_nbd (disk) ? "libvirt does not push to NBD servers; use mode pull for that target"
                           : self->remote            ? "its libvirt is on another machine, which has other files than this one"
                                                     : NULL;
    if (obstacle) {
      g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "disk %s: %s", disk->name, obstacle);
      return FALSE;
    }
    bk_libvirt_place_open (disk->target, run->own_folders, look->xml->owner);
    if (!bk_libvirt_place_check (disk->target, look->xml->owner, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
bk_libvirt_backup_prepare (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  g_autoptr (BkLibvirtLook) look = bk_libvirt_backend_look_active (self, cancellable, error);
  if (look == NULL || (!bk_run_is_pull (run) && !check_targets (self, run, look, error)))
    return FALSE;
  if (run->tls) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_INVALID, "an export of a domain of libvirt cannot have TLS keys of its own; leave TLS out");
    return FALSE;
  }
  run->guest_running = strcmp (look->domain.state, "running") == 0;
  run->stops_guest = false;
  remove_stale (self, run, look);
  return TRUE;
}

/* --- snapshot, start --- */

static gboolean
begin (BkLibvirtBackend *self, BkRun *run, const BkLibvirtLook *look, const char *xml, GCancellable *cancellable, GError **error)
{
  g_autofree char *checkpoint = bk_libvirt_xml_checkpoint (run, look->xml);
  bk_libvirt_backend_set_running (self, run->prefix);
  if (!bk_run_before_instant (run, cancellable, error))
    return FALSE;
  run->point_in_time = g_get_real_time ();
  gboolean ok = bk_libvirt_backup_begin (self->link, self->uuid, xml, checkpoint, !bk_run_is_pull (run), cancellable, error);
  bk_run_after_instant (run);
  return ok;
}

static char *
socket_of (const char *folder)
{
  return g_build_filename (folder, "nbd", NULL);
}

gboolean
bk_libvirt_backup_snapshot (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  if (!bk_run_is_pull (run))
    return TRUE;
  g_autoptr (BkLibvirtLook) look = bk_libvirt_backend_look_active (self, cancellable, error);
  g_autofree char *scratch = look ? bk_libvirt_place_make (run->scratch, run->prefix, look->xml->owner, error) : NULL;
  g_autofree char *sockets = scratch ? bk_libvirt_place_make (run->export_folder, run->prefix, look->xml->owner, error) : NULL;
  if (sockets == NULL)
    return FALSE;
  g_autofree char *socket = socket_of (sockets);
  g_autofree char *xml = bk_libvirt_xml_pull (run, look->xml, socket, scratch);
  g_free (run->nbd_server);
  run->nbd_server = g_steal_pointer (&socket);
  return begin (self, run, look, xml, cancellable, error);
}

gboolean
bk_libvirt_backup_start (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  g_autoptr (BkLibvirtLook) look = bk_libvirt_backend_look_active (self, cancellable, error);
  g_autofree char *xml = look ? bk_libvirt_xml_push (run, look->xml) : NULL;
  if (xml == NULL || !begin (self, run, look, xml, cancellable, error))
    return FALSE;
  for (unsigned i = 0; i < run->disks->len; i++)
    set_state (run->disks->pdata[i], "running");
  return run->speed == 0 || bk_libvirt_backup_set_speed (backend, run, run->speed, error);
}

/* --- whose job it is --- */

/* That of @run, by what it writes to. */
static bool
is_job_of (const BkRun *run, const BkLibvirtBackupXml *backup)
{
  for (unsigned i = 0; backup && i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    const char *path = g_hash_table_lookup (backup->paths, disk->name);
    g_autofree char *part = g_strdup_printf ("/%s-", run->prefix);
    if (path == NULL || !(bk_run_is_pull (run) ? strstr (path, part) != NULL : g_strcmp0 (path, disk->target) == 0))
      return false;
  }
  return backup != NULL;
}

/* --- wait --- */

static void
fail_running (BkRun *run, const char *why)
{
  g_autoptr (GError) error = NULL;
  bool full = strstr (why, "No space left") != NULL;
  g_set_error (&error, BK_ERROR, full ? BK_ERROR_NO_SPACE : BK_ERROR_FAILED, "the backup job in libvirt has failed: %s", why);
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    if (still_runs (disk))
      bk_run_disk_fail (disk, error);
  }
}

static const char *
how_it_failed (const BkLibvirtJob *job)
{
  if (!job->active)
    return "the domain was shut off";
  return job->failure ? job->failure : "libvirt does not know any more how it ended";
}

static void
take_progress (BkRun *run, const BkLibvirtJob *job)
{
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    const BkLibvirtProgress *progress = g_hash_table_lookup (job->progress, disk->name);
    if (progress && still_runs (disk))
      bk_run_disk_set_progress (disk, progress->total, MIN (progress->done, progress->total));
  }
}

static void
end_copy (BkRun *run, const BkLibvirtJob *job)
{
  if (!job->ended_well) {
    fail_running (run, how_it_failed (job));
    return;
  }
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    uint64_t total = 0, transferred = 0;
    bk_run_disk_progress (disk, &total, &transferred);
    if (total == 0)
      total = strcmp (disk->sync, "bitmap") == 0 ? disk->estimated : disk->size;
    if (!still_runs (disk))
      continue;
    bk_run_disk_set_progress (disk, total, total);
    set_state (disk, "copied");
  }
}

static bool
any_runs (const BkRun *run)
{
  for (unsigned i = 0; i < run->disks->len; i++)
    if (still_runs (run->disks->pdata[i]))
      return true;
  return false;
}

/* The job, however long libvirtd is away; it goes on without it. */
static BkLibvirtJob *
get_job (BkLibvirtBackend *self, GCancellable *cancellable, GError **error)
{
  int64_t deadline = g_get_monotonic_time () + LOST_TIMEOUT_US;
  for (;;) {
    g_autoptr (GError) failure = NULL;
    BkLibvirtJob *job = bk_libvirt_get_job (self->link, self->uuid, cancellable, &failure);
    if (job)
      return job;
    if (!g_error_matches (failure, BK_ERROR, BK_ERROR_UNREACHABLE) || g_get_monotonic_time () > deadline) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return NULL;
    }
    g_usleep (POLL_MS * 1000);
  }
}

/* A transient domain is no more when it is shut off. */
static BkLibvirtJob *
gone_job (GError **failure)
{
  if (!g_error_matches (*failure, BK_ERROR, BK_ERROR_NOT_FOUND))
    return NULL;
  g_clear_error (failure);
  BkLibvirtJob *job = g_new0 (BkLibvirtJob, 1);
  job->progress = g_hash_table_new (g_str_hash, g_str_equal);
  return job;
}

static BkLibvirtJob *
get_job_or_gone (BkLibvirtBackend *self, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) failure = NULL;
  BkLibvirtJob *job = get_job (self, cancellable, &failure);
  if (job == NULL)
    job = gone_job (&failure);
  if (job == NULL)
    g_propagate_error (error, g_steal_pointer (&failure));
  return job;
}

gboolean
bk_libvirt_backup_wait (BkBackend *backend, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable, GError **error)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  uint64_t seen = 0;
  bk_libvirt_backend_set_running (self, run->prefix);
  bk_libvirt_link_wait_news (self->link, &seen, 0, NULL);
  for (int round = 0; round < 2 && any_runs (run); round++) {
    g_autoptr (BkLibvirtJob) job = get_job_or_gone (self, cancellable, error);
    if (job == NULL)
      return FALSE;
    if (is_job_of (run, job->backup))
      take_progress (run, job);
    else
      end_copy (run, job);
    if (round == 0 && any_runs (run))
      bk_libvirt_link_wait_news (self->link, &seen, timeout_ms, cancellable);
    if (g_cancellable_is_cancelled (cancellable))
      break;
  }
  *done = !any_runs (run);
  if (*done || !g_cancellable_is_cancelled (cancellable))
    return TRUE;
  g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled on request");
  return FALSE;
}

/* --- verbs --- */

gboolean
bk_libvirt_backup_set_speed (BkBackend *backend, BkRun *run, uint64_t speed, GError **error)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    if (still_runs (disk) && !bk_libvirt_set_speed (self->link, self->uuid, disk->name, run->user_paused ? PAUSED_SPEED : speed, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
bk_libvirt_backup_pause (BkBackend *backend, BkRun *run, bool pause, GError **error)
{
  run->user_paused = pause;
  return bk_libvirt_backup_set_speed (backend, run, run->speed, error);
}

/* libvirt closes targets by itself, before it tells of the end. */
gboolean
bk_libvirt_backup_close (BkBackend *backend G_GNUC_UNUSED, BkRun *run G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  return TRUE;
}

/* --- export --- */

gboolean
bk_libvirt_backup_export (BkBackend *backend G_GNUC_UNUSED, BkRun *run, GCancellable *cancellable G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  g_autofree char *bitmap = bk_run_name (run, "inc", NULL);
  g_free (run->nbd_address);
  run->nbd_address = run->nbd_listen ? g_strdup (run->nbd_listen) : g_strconcat ("unix:", run->nbd_server, NULL);
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    g_free (disk->export_name);
    disk->export_name = bk_run_name (run, "x", disk);
    g_clear_pointer (&disk->dirty_context, g_free);
    if (strcmp (disk->sync, "bitmap") == 0)
      disk->dirty_context = g_strconcat (DIRTY_CONTEXT, bitmap, NULL);
    set_state (disk, "running");
  }
  return TRUE;
}

gboolean
bk_libvirt_backup_check_frozen (BkBackend *backend, BkRun *run, GError **error)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  g_autoptr (BkLibvirtJob) job = get_job_or_gone (self, NULL, error);
  if (job == NULL)
    return FALSE;
  if (is_job_of (run, job->backup))
    return TRUE;
  g_autoptr (GError) lost = NULL;
  g_set_error (&lost, BK_ERROR, BK_ERROR_FAILED, "the backup job in libvirt was ended by somebody else: %s", how_it_failed (job));
  for (unsigned i = 0; i < run->disks->len; i++)
    bk_run_disk_fail (run->disks->pdata[i], lost);
  return TRUE;
}

/* --- release --- */

/* libvirt takes its files away after the backup cannot be seen any more, and the job ends after that. */
static gboolean
wait_idle (BkLibvirtBackend *self, bool busy)
{
  int64_t deadline = g_get_monotonic_time () + IDLE_TIMEOUT_US;
  uint64_t seen = 0;
  while (busy && g_get_monotonic_time () < deadline) {
    bk_libvirt_link_wait_news (self->link, &seen, POLL_MS / 10, NULL);
    g_autoptr (BkLibvirtJob) job = bk_libvirt_get_job (self->link, self->uuid, NULL, NULL);
    busy = job && job->backup == NULL && job->busy;
  }
  return TRUE;
}

static gboolean
end_job (BkLibvirtBackend *self, const BkRun *run, GError **error)
{
  int64_t deadline = g_get_monotonic_time () + END_TIMEOUT_US;
  uint64_t seen = 0;
  bool asked = false;
  for (;;) {
    g_autoptr (GError) failure = NULL;
    g_autoptr (BkLibvirtJob) job = bk_libvirt_get_job (self->link, self->uuid, NULL, &failure);
    if (job == NULL)
      job = gone_job (&failure);
    if (job == NULL) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    if (!is_job_of (run, job->backup))
      return wait_idle (self, job->busy);
    if (!asked && !bk_libvirt_abort_job (self->link, self->uuid, &failure))
      g_debug ("%s: %s", run->prefix, failure->message); /* it may have ended just now: looked at again */
    else
      asked = true;
    if (g_get_monotonic_time () > deadline) {
      g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "libvirt does not end the backup job of %s", run->prefix);
      return FALSE;
    }
    bk_libvirt_link_wait_news (self->link, &seen, POLL_MS, NULL);
  }
}

gboolean
bk_libvirt_backup_release (BkBackend *backend, BkRun *run, GError **error)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  if (!end_job (self, run, error))
    return FALSE;
  bk_libvirt_backend_set_running (self, NULL);
  if (bk_run_is_pull (run) && !self->remote) {
    bk_libvirt_place_remove (run->scratch, run->prefix);
    bk_libvirt_place_remove (run->export_folder, run->prefix);
  }
  return TRUE;
}

/* --- checkpoints --- */

/* It may be away with its domain; one that is left of a domain that does not run is stale, and goes with the next backup. */
static gboolean
delete_checkpoint (BkLibvirtBackend *self, const char *name, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (BkLibvirtDomain) domain = bk_libvirt_get_domain (self->link, self->uuid, NULL, &failure);
  if (domain && !domain->active)
    return TRUE;
  if (domain && bk_libvirt_checkpoint_delete (self->link, self->uuid, name, &failure))
    return TRUE;
  if (g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

/* A checkpoint is of all its disks. Of one that failed it has a bitmap that no backup goes with: that does no harm. */
gboolean
bk_libvirt_backup_rollback (BkBackend *backend, BkRun *run, bool all, GError **error)
{
  const char *name = NULL;
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    if (disk->bitmap == NULL)
      continue;
    if (!all && !bk_run_disk_has_failed (disk))
      return TRUE;
    name = disk->bitmap;
  }
  return name == NULL || delete_checkpoint ((BkLibvirtBackend *)backend, name, error);
}

gboolean
bk_libvirt_backup_checkpoint_create (BkBackend *backend, BkRun *run, GError **error)
{
  BkLibvirtBackend *self = (BkLibvirtBackend *)backend;
  g_autoptr (BkLibvirtLook) look = bk_libvirt_backend_look_active (self, NULL, error);
  g_autofree char *xml = look ? bk_libvirt_xml_checkpoint (run, look->xml) : NULL;
  if (look == NULL)
    return FALSE;
  run->point_in_time = g_get_real_time ();
  return xml == NULL || bk_libvirt_checkpoint_create (self->link, self->uuid, xml, error);
}

/* Its bits are in its parent's bitmap anyway: that has recorded all the time. */
gboolean
bk_libvirt_backup_checkpoint_delete (BkBackend *backend, const char *disk G_GNUC_UNUSED, const char *bitmap, const char *parent, bool newest G_GNUC_UNUSED,
                                     bool *merged, GError **error)
{
  *merged = parent != NULL;
  return delete_checkpoint ((BkLibvirtBackend *)backend, bitmap, error);
}
