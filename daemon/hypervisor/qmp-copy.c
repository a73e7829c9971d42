/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The push job on QMP while it copies: follows its jobs in QEMU, carries out pause and speed, and closes the
 * targets of those that are done. Events only wake us up; query-jobs decides.
 */
#include "qmp-backend-private.h"

#include <string.h>

/* An NBD target that takes nothing for so long is dead, though its socket is not. The environment may set another
 * number of seconds. */
#define STALL_SECONDS 60
#define STALL_VARIABLE "BACKUPD_NBD_STALL"
#define FLUSH_TIMEOUT_MS 10000
#define QUERY_TIMEOUT_MS 10000

/* --- wait --- */

static void
fail_disk (const BkRun *run, BkRunDisk *disk, const char *text)
{
  g_autoptr (GError) error = NULL;
  if (strstr (text, "No space left") != NULL)
    g_set_error (&error, BK_ERROR, BK_ERROR_NO_SPACE, "the target '%s' is full", disk->target);
  else if (bk_run_is_snapshot (run) && strstr (text, "Permission denied") != NULL)
    g_set_error (&error, BK_ERROR, BK_ERROR_NO_SPACE,
                 "the snapshot broke: scratch space in '%s' was full or too slow for what the guest wrote meanwhile", run->scratch);
  else
    g_set_error (&error, BK_ERROR, BK_ERROR_FAILED, "QEMU reports: %s (target '%s')", text, disk->target);
  bk_run_disk_fail (disk, error);
}

static const BkQmpJob *
find_job (GPtrArray *jobs, const char *id)
{
  for (unsigned i = 0; i < jobs->len; i++) {
    const BkQmpJob *job = jobs->pdata[i];
    if (strcmp (job->id, id) == 0)
      return job;
  }
  return NULL;
}

static void
update_disk (BkQmpBackend *self, const BkRun *run, BkRunDisk *disk, const BkQmpJob *job)
{
  if (job == NULL) {
    fail_disk (run, disk, "the job is gone; the VM was restarted, or somebody removed it");
    return;
  }
  bk_run_disk_set_progress (disk, job->total, MIN (job->current, job->total));
  if (strcmp (job->status, "pending") == 0) {
    g_autoptr (GError) ignored = NULL;
    if (!bk_qmp_job_finalize (self->client, job->id, NULL, &ignored))
      g_debug ("job-finalize: %s", ignored->message);
  }
  if (strcmp (job->status, "concluded") != 0)
    return;
  if (job->error) {
    fail_disk (run, disk, job->error);
    return;
  }
  g_free (disk->state);
  disk->state = g_strdup ("copied");
}

static bool
still_runs (const BkRunDisk *disk)
{
  return strcmp (disk->state, "running") == 0;
}

/* QEMU has paused it, as on_source_error or on_target_error says. */
static void
note_stopped (BkRun *run, const BkRunDisk *disk, const BkQmpJob *job)
{
  if (run->stopped || job == NULL || !job->user_paused || job->io_status == NULL || strcmp (job->io_status, "ok") == 0)
    return;
  run->stopped = disk;
  run->stopped_full = strcmp (job->io_status, "nospace") == 0;
}

/* Brings the run up to date by query-jobs. */
static gboolean
update_run (BkQmpBackend *self, BkRun *run, bool *done, bool *changed, GCancellable *cancellable, GError **error)
{
  g_autofree char *prefix = g_strconcat (run->prefix, "-j", NULL);
  g_autoptr (GPtrArray) jobs = NULL;
  if (!bk_qmp_query_jobs_of (self->client, prefix, &jobs, cancellable, error))
    return FALSE;
  *done = true;
  *changed = false;
  run->stopped = NULL;
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    if (!still_runs (disk))
      continue;
    g_autofree char *id = bk_run_name (run, "j", disk);
    const BkQmpJob *job = find_job (jobs, id);
    update_disk (self, run, disk, job);
    note_stopped (run, disk, job);
    *changed |= !still_runs (disk);
    *done &= !still_runs (disk);
  }
  return TRUE;
}

static bool
has_nbd (const BkRun *run)
{
  for (unsigned i = 0; i < run->disks->len; i++)
    if (bk_run_disk_is_nbd (run->disks->pdata[i]))
      return true;
  return false;
}

/* Without an answer: a drain may wait for a hung NBD target of ours, which is cut off; QEMU may have ended, and so
 * has the copy; or it is stopped or swapping, and there is nothing to do but wait. */
static gboolean
wait_out_silence (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  bool connected = bk_qmp_client_state (self->client) == BK_QMP_READY;
  if (bk_qmp_backend_vm_has_ended (self)) {
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "the VM ended during the copy: QEMU (process %d) is gone",
                 (int)bk_qmp_client_peer_pid (self->client));
    return FALSE;
  }
  if (has_nbd (run) && connected)
    bk_qmp_backend_cut_targets (self, run, "QEMU does not answer");
  if (bk_qmp_client_wait_ready (self->client, QUERY_TIMEOUT_MS, cancellable, error))
    return TRUE;
  g_prefix_error (error, "QEMU was lost during the copy: ");
  return FALSE;
}

static unsigned
stall_seconds (void)
{
  const char *text = g_getenv (STALL_VARIABLE);
  guint64 seconds = 0;
  return text && g_ascii_string_to_unsigned (text, 10, 1, 86400, &seconds, NULL) ? (unsigned)seconds : STALL_SECONDS;
}

/* A job to an NBD target that makes no progress, unpaused, for so long: the server hangs. */
static void
check_stall (BkQmpBackend *self, BkRun *run)
{
  if (!has_nbd (run))
    return;
  uint64_t sum = 0;
  for (unsigned i = 0; i < run->disks->len; i++) {
    uint64_t total = 0, transferred = 0;
    bk_run_disk_progress (run->disks->pdata[i], &total, &transferred);
    sum += transferred;
  }
  int64_t now = g_get_monotonic_time ();
  if (sum != run->last_sum || run->user_paused || run->stopped || run->last_progress_us == 0) {
    run->last_sum = sum;
    run->last_progress_us = now;
  } else if (now - run->last_progress_us > stall_seconds () * G_USEC_PER_SEC) {
    g_autofree char *why = g_strdup_printf ("no progress for %u s", stall_seconds ());
    run->last_progress_us = now;
    bk_qmp_backend_cut_targets (self, run, why);
  }
}

gboolean
bk_qmp_copy_wait (BkBackend *backend, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  g_autofree char *prefix = g_strconcat (run->prefix, "-", NULL);
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (self->client, prefix);
  bool changed = false;
  *done = false;
  for (int round = 0; round < 2; round++) {
    g_autoptr (GError) failure = NULL;
    if (!update_run (self, run, done, &changed, cancellable, &failure)) {
      if (!g_error_matches (failure, BK_ERROR, BK_ERROR_UNREACHABLE)) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return FALSE;
      }
      return wait_out_silence (self, run, cancellable, error);
    }
    if (*done || changed || round == 1)
      break;
    bk_qmp_watch_wait (watch, timeout_ms, cancellable);
    if (g_cancellable_is_cancelled (cancellable))
      break;
  }
  check_stall (self, run);
  if (!*done && g_cancellable_is_cancelled (cancellable)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled on request");
    return FALSE;
  }
  return TRUE;
}

/* --- verbs --- */

static gboolean
for_each_job (BkQmpBackend *self, BkRun *run, gboolean (*verb) (BkQmpBackend *, const char *, uint64_t, GError **), uint64_t value, GError **error)
{
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    g_autofree char *id = bk_run_name (run, "j", disk);
    g_autoptr (GError) failure = NULL;
    if (!still_runs (disk) || verb (self, id, value, &failure))
      continue;
    /* A job that has just concluded accepts no verb, and needs none. */
    if (g_error_matches (failure, BK_ERROR, BK_ERROR_UNREACHABLE)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    g_debug ("%s: %s", id, failure->message);
  }
  return TRUE;
}

static gboolean
pause_one (BkQmpBackend *self, const char *id, uint64_t value, GError **error)
{
  return value ? bk_qmp_job_pause (self->client, id, NULL, error) : bk_qmp_job_resume (self->client, id, NULL, error);
}

static gboolean
set_speed_one (BkQmpBackend *self, const char *id, uint64_t value, GError **error)
{
  return bk_qmp_job_set_speed (self->client, id, value, NULL, error);
}

gboolean
bk_qmp_copy_pause (BkBackend *backend, BkRun *run, bool pause, GError **error)
{
  run->user_paused = pause;
  return for_each_job ((BkQmpBackend *)backend, run, pause_one, pause, error);
}

gboolean
bk_qmp_copy_set_speed (BkBackend *backend, BkRun *run, uint64_t speed, GError **error)
{
  return for_each_job ((BkQmpBackend *)backend, run, set_speed_one, speed, error);
}

/* --- close --- */

/* A node that is gone already is closed: recovery may come here twice. */
static gboolean
del_if_there (BkQmpBackend *self, json_object *nodes, const char *name, GError **error)
{
  g_autoptr (GPtrArray) found = bk_block_graph_nodes (nodes, name);
  for (unsigned i = 0; i < found->len; i++) {
    const BkNode *node = found->pdata[i];
    if (strcmp (node->name, name) == 0)
      return bk_qmp_del_node (self->client, name, NULL, error);
  }
  return TRUE;
}

static bool
is_there (json_object *nodes, const char *name)
{
  g_autoptr (GPtrArray) found = bk_block_graph_nodes (nodes, name);
  for (unsigned i = 0; i < found->len; i++)
    if (strcmp (((const BkNode *)found->pdata[i])->name, name) == 0)
      return true;
  return false;
}

static bool
has_bitmap (json_object *nodes, const char *name)
{
  g_autoptr (GPtrArray) all = bk_block_graph_nodes (nodes, "");
  for (unsigned i = 0; i < all->len; i++) {
    const BkNode *node = all->pdata[i];
    if (node->bitmaps && g_strv_contains ((const char *const *)node->bitmaps, name))
      return true;
  }
  return false;
}

/* A target that is gone was closed by an earlier daemon, which ended before it could write that down; or QEMU has
 * died, and with it what it had not written yet. A QEMU that died knows neither nodes of ours nor the bitmap. */
static gboolean
check_closed_before (const BkRun *run, const BkRunDisk *disk, json_object *nodes, GError **error)
{
  g_autofree char *prefix = g_strconcat (run->prefix, "-", NULL);
  g_autoptr (GPtrArray) ours = bk_block_graph_nodes (nodes, prefix);
  if (ours->len > 0 || (disk->bitmap && has_bitmap (nodes, disk->bitmap)))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the VM was restarted before target '%s' was closed", disk->target);
  return FALSE;
}

/* QEMU's main loop, and the guest with it, waits for the server's answer to the last flush. */
static gboolean
close_nbd (BkQmpBackend *self, const BkRun *run, const char *node, GError **error)
{
  g_autoptr (GError) failure = NULL;
  if (bk_qmp_del_node_within (self->client, node, FLUSH_TIMEOUT_MS, &failure))
    return TRUE;
  if (g_error_matches (failure, BK_ERROR, BK_ERROR_UNREACHABLE) && bk_qmp_client_state (self->client) == BK_QMP_READY) {
    bk_qmp_backend_cut_targets (self, run, "the last flush is not answered");
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the NBD server did not answer the last flush within %d s", FLUSH_TIMEOUT_MS / 1000);
    return FALSE;
  }
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

/* blockdev-del writes qcow2's cached tables but cannot tell when that fails; becoming read-only can. */
static gboolean
close_target (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, bool can_reopen, GError **error)
{
  g_autofree char *target = bk_run_name (run, "t", disk);
  g_autofree char *file = bk_run_name (run, "tf", disk);
  g_autoptr (json_object) nodes = NULL;
  if (!bk_qmp_query_nodes (self->client, &nodes, NULL, error))
    return FALSE;
  if (!is_there (nodes, target) && !check_closed_before (run, disk, nodes, error))
    return FALSE;
  if (bk_run_disk_is_nbd (disk) && is_there (nodes, target))
    return close_nbd (self, run, target, error);
  if (can_reopen && strcmp (disk->target_format, "qcow2") == 0 && is_there (nodes, target) &&
      !bk_qmp_reopen_read_only (self->client, "qcow2", target, file, BK_QMP_CACHE_NO_FLUSH, NULL, error))
    return FALSE;
  return del_if_there (self, nodes, target, error) && del_if_there (self, nodes, file, error);
}

static void
dismiss (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk)
{
  g_autofree char *id = bk_run_name (run, "j", disk);
  g_autoptr (GError) ignored = NULL;
  if (!bk_qmp_job_dismiss (self->client, id, NULL, &ignored))
    g_debug ("job-dismiss: %s", ignored->message);
}

gboolean
bk_qmp_copy_close (BkBackend *backend, BkRun *run, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  BkQmpFeatures features;
  if (!bk_qmp_features (self->client, &features, NULL, error))
    return FALSE;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->graph);
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    g_autoptr (GError) failure = NULL;
    if (strcmp (disk->state, "copied") != 0)
      continue;
    dismiss (self, run, disk);
    if (close_target (self, run, disk, features.reopen, &failure))
      continue;
    if (g_error_matches (failure, BK_ERROR, BK_ERROR_UNREACHABLE)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    fail_disk (run, disk, failure->message);
  }
  return TRUE;
}
