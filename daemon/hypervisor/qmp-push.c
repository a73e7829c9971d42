/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The push job on QMP, the way forward. Two modes:
 *
 * push: a copy-before-write filter goes above each disk while the guest runs; swapping it in for all disks,
 * with the guest stopped for some milliseconds if there are several, is the point in time. What the guest
 * overwrites from then on is first copied to a scratch file; the job reads the frozen content through a
 * snapshot-access node. When scratch is full or slow the snapshot breaks and the job fails: the guest's
 * writes go on. The target is not in the guest's way at all.
 *
 * push-direct: blockdev-backup reads the disk's node itself. One transaction is the point in time; no
 * scratch is needed, but a guest write to what is not copied yet waits for the target.
 *
 * The checkpoint's bitmap is added before the point in time and its parent stops after it, so that both hold
 * a superset of the changes between; the increment is copied by a temporary bitmap, the union of the chain.
 * No job ever owns a persistent bitmap, so no failure of a job can lose a dirty bit.
 */
#include "qmp-backend-private.h"

#include "fsio.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define PUSH_WORKERS 8
/* One cluster of the copy-before-write filter. Before 8.0 QEMU answers a read or a question for zeroes that begins in
 * clusters which the guest has overwritten, and ends in others, with the guest's new content (hbitmap_status() tells
 * "clean" for "dirty up to here"). Requests of one cluster are never mixed. */
#define SNAPSHOT_CHUNK 65536

/* An NBD target that takes nothing for so long is dead, though its socket is not. The environment may set another
 * number of seconds. */
#define STALL_SECONDS 60
#define STALL_VARIABLE "BACKUPD_NBD_STALL"
#define QUERY_TIMEOUT_MS 10000
#define FLUSH_TIMEOUT_MS 10000

static bool
is_snapshot_mode (const BkRun *run)
{
  return strcmp (run->mode, "push") == 0;
}

static bool
is_nbd (const BkRunDisk *disk)
{
  return strcmp (disk->target_driver, "nbd") == 0;
}

static void
disk_prefix_error (GError **error, const BkRunDisk *disk)
{
  if (error && *error)
    g_prefix_error (error, "disk %s: ", disk->name);
}

/* --- prepare --- */

static void
remove_stale_bitmaps (BkQmpBackend *self, const BkRunDisk *disk)
{
  for (size_t i = 0; disk->stale_bitmaps && disk->stale_bitmaps[i]; i++) {
    g_autoptr (GError) error = NULL;
    if (!bk_qmp_bitmap_remove (self->client, disk->node, disk->stale_bitmaps[i], NULL, &error))
      g_warning ("disk %s: cannot remove the broken bitmap '%s': %s", disk->name, disk->stale_bitmaps[i], error->message);
  }
}

static gboolean
add_checkpoint_bitmaps (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) actions = json_object_new_array ();
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    if (disk->bitmap)
      bk_qmp_action_bitmap_add (actions, disk->node, disk->bitmap, disk->persistent, false);
  }
  return bk_qmp_transaction (self->client, g_steal_pointer (&actions), cancellable, error);
}

/* Opens "/dev/fdset/N" as two nodes: the file, and a format above it. QEMU needs no right to the path, and
 * an unlinked file works as well. */
static gboolean
add_fd_nodes (BkQmpBackend *self, int fd, const char *driver, const char *file_node, const char *format, const char *node,
              GCancellable *cancellable, GError **error)
{
  int64_t fdset = 0;
  if (!bk_qmp_add_fd (self->client, fd, node, &fdset, cancellable, error))
    return FALSE;
  g_autofree char *name = g_strdup_printf ("/dev/fdset/%" G_GINT64_FORMAT, fdset);
  gboolean added = bk_qmp_add_file (self->client, driver, file_node, name, BK_QMP_CACHE_NO_FLUSH, cancellable, error);
  /* The node has its own duplicate by now; a set without users goes by itself when we disconnect. */
  g_autoptr (GError) ignored = NULL;
  if (!bk_qmp_remove_fd (self->client, fdset, NULL, &ignored))
    g_debug ("remove-fd: %s", ignored->message);
  return added && bk_qmp_add_format (self->client, format, node, file_node, BK_QMP_CACHE_NO_FLUSH, cancellable, error);
}

static gboolean
add_filter (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autofree char *scratch_file = bk_run_name (run, "sf", disk);
  g_autofree char *scratch = bk_run_name (run, "s", disk);
  g_autofree char *filter = bk_run_name (run, "c", disk);
  int fd = bk_fsio_open_scratch (run->scratch, disk->size, error);
  if (fd < 0)
    return FALSE;
  gboolean ok = add_fd_nodes (self, fd, "file", scratch_file, "raw", scratch, cancellable, error) &&
                bk_qmp_add_filter (self->client, filter, disk->root, scratch, cancellable, error);
  close (fd);
  return ok;
}

static gboolean
prepare_disks (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  for (unsigned i = 0; i < run->disks->len; i++)
    remove_stale_bitmaps (self, run->disks->pdata[i]);
  if (!is_snapshot_mode (run))
    return TRUE;
  if (!add_checkpoint_bitmaps (self, run, cancellable, error))
    return FALSE;
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    if (!add_filter (self, run, disk, cancellable, error)) {
      disk_prefix_error (error, disk);
      return FALSE;
    }
  }
  return TRUE;
}

gboolean
bk_qmp_push_prepare (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  g_autofree char *status = NULL;
  if (!bk_qmp_client_wait_ready (self->client, QUERY_TIMEOUT_MS, cancellable, error) ||
      !bk_qmp_query_status (self->client, &status, cancellable, error))
    return FALSE;
  run->guest_running = strcmp (status, "running") == 0;
  run->stops_guest = run->guest_running && run->disks->len > 1 && is_snapshot_mode (run);
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->graph);
  return prepare_disks (self, run, cancellable, error);
}

/* --- snapshot --- */

static gboolean
first_error (const BkQmpCall *calls, unsigned n, GError **error)
{
  for (unsigned i = 0; i < n; i++) {
    if (calls[i].error) {
      g_propagate_error (error, g_error_copy (calls[i].error));
      return FALSE;
    }
  }
  return TRUE;
}

/* stop, one qom-set for each disk, cont: sent in one piece, so that the guest stands still only as long as
 * QEMU itself needs, and cont is already with QEMU whatever happens to us. */
static gboolean
swap_in_filters (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  unsigned n = 0;
  g_autofree BkQmpCall *calls = g_new0 (BkQmpCall, run->disks->len + 2);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  if (run->stops_guest)
    calls[n++] = bk_qmp_call_stop ();
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    g_ptr_array_add (names, bk_run_name (run, "c", disk));
    g_autofree char *qdev = bk_disk_qdev_path (disk->qdev);
    calls[n++] = bk_qmp_call_set_drive (qdev, names->pdata[i]);
  }
  if (run->stops_guest)
    calls[n++] = bk_qmp_call_cont ();
  int64_t before = g_get_monotonic_time ();
  run->point_in_time = g_get_real_time ();
  gboolean ok = bk_qmp_client_call_all (self->client, calls, n, 0, cancellable, error);
  run->pause_us = run->stops_guest ? (uint64_t)(g_get_monotonic_time () - before) : 0;
  ok = ok && first_error (calls, n, error);
  for (unsigned i = 0; i < n; i++)
    bk_qmp_call_clear (&calls[i]);
  /* It runs again. Who stops it from here on has reasons of his own. */
  run->stops_guest = run->stops_guest && !ok;
  return ok;
}

gboolean
bk_qmp_push_snapshot (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  if (!is_snapshot_mode (run))
    return TRUE;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->graph);
  return swap_in_filters (self, run, cancellable, error);
}

/* --- start --- */

static gboolean
open_file_target (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autofree char *file_node = bk_run_name (run, "tf", disk);
  g_autofree char *node = bk_run_name (run, "t", disk);
  int fd = open (disk->target, O_RDWR | O_CLOEXEC);
  if (fd < 0)
    return bk_error_set_errno (error, errno, "cannot open target '%s'", disk->target);
  gboolean ok = add_fd_nodes (self, fd, disk->target_driver, file_node, disk->target_format, node, cancellable, error);
  close (fd);
  return ok;
}

static gboolean
open_target (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autofree char *node = bk_run_name (run, "t", disk);
  if (is_nbd (disk))
    return bk_qmp_add_nbd (self->client, node, disk->target, 0, cancellable, error);
  return open_file_target (self, run, disk, cancellable, error);
}

static void
add_increment (json_object *actions, const BkRunDisk *disk, const char *node, const char *bitmap)
{
  bk_qmp_action_bitmap_add (actions, node, bitmap, false, true);
  bk_qmp_action_bitmap_merge (actions, node, bitmap, disk->node, (const char *const *)disk->base_bitmaps);
}

static void
add_backup (json_object *actions, const BkRun *run, const BkRunDisk *disk, const char *source, const char *bitmap)
{
  g_autofree char *job = bk_run_name (run, "j", disk);
  g_autofree char *target = bk_run_name (run, "t", disk);
  g_autofree char *filter = bk_run_name (run, "f", disk);
  BkQmpBackup backup = {
    .job = job,
    .device = source,
    .target = target,
    .sync = disk->sync,
    .bitmap = strcmp (disk->sync, "bitmap") == 0 ? bitmap : NULL,
    .filter = filter,
    .speed = run->speed,
    .compress = run->compress,
    .on_source_error = run->on_source_error,
    .on_target_error = run->on_target_error,
    .max_workers = PUSH_WORKERS,
    .max_chunk = is_snapshot_mode (run) ? SNAPSHOT_CHUNK : 0,
  };
  bk_qmp_action_backup (actions, &backup);
}

static gboolean
start_snapshot_disk (BkQmpBackend *self, BkRun *run, BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autofree char *filter = bk_run_name (run, "c", disk);
  g_autofree char *access = bk_run_name (run, "a", disk);
  g_autofree char *increment = g_strconcat (run->prefix, "-inc", NULL);
  if (!bk_qmp_add_snapshot (self->client, access, filter, cancellable, error) ||
      !open_target (self, run, disk, cancellable, error))
    return FALSE;
  g_autoptr (json_object) actions = json_object_new_array ();
  if (disk->bitmap && disk->parent_bitmap)
    bk_qmp_action_bitmap_disable (actions, disk->node, disk->parent_bitmap);
  if (strcmp (disk->sync, "bitmap") == 0)
    add_increment (actions, disk, access, increment);
  add_backup (actions, run, disk, access, increment);
  return bk_qmp_transaction (self->client, g_steal_pointer (&actions), cancellable, error);
}

/* The instant is taken already: each disk starts for itself, and one that cannot does not stop the others. */
static gboolean
start_snapshot (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) first = NULL;
  bool any = false;
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    g_autoptr (GError) failure = NULL;
    if (start_snapshot_disk (self, run, disk, cancellable, &failure)) {
      g_free (disk->state);
      disk->state = g_strdup ("running");
      any = true;
      continue;
    }
    bk_run_disk_fail (disk, failure);
    disk_prefix_error (&failure, disk);
    if (g_error_matches (failure, BK_ERROR, BK_ERROR_UNREACHABLE) || g_error_matches (failure, BK_ERROR, BK_ERROR_CANCELLED)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    if (first == NULL)
      first = g_steal_pointer (&failure);
  }
  if (!any)
    g_propagate_error (error, g_steal_pointer (&first));
  return any;
}

static gboolean
start_direct (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_autofree char *increment = g_strconcat (run->prefix, "-inc", NULL);
  g_autoptr (json_object) actions = json_object_new_array ();
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    if (!open_target (self, run, disk, cancellable, error)) {
      disk_prefix_error (error, disk);
      return FALSE;
    }
    if (disk->bitmap)
      bk_qmp_action_bitmap_add (actions, disk->node, disk->bitmap, disk->persistent, false);
    if (disk->bitmap && disk->parent_bitmap)
      bk_qmp_action_bitmap_disable (actions, disk->node, disk->parent_bitmap);
    if (strcmp (disk->sync, "bitmap") == 0)
      add_increment (actions, disk, disk->node, increment);
  }
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    add_backup (actions, run, disk, disk->node, increment);
  }
  run->point_in_time = g_get_real_time ();
  if (!bk_qmp_transaction (self->client, g_steal_pointer (&actions), cancellable, error))
    return FALSE;
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    g_free (disk->state);
    disk->state = g_strdup ("running");
  }
  return TRUE;
}

gboolean
bk_qmp_push_start (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->graph);
  return is_snapshot_mode (run) ? start_snapshot (self, run, cancellable, error)
                                : start_direct (self, run, cancellable, error);
}

/* --- wait --- */

static void
fail_disk (const BkRun *run, BkRunDisk *disk, const char *text)
{
  g_autoptr (GError) error = NULL;
  if (strstr (text, "No space left") != NULL)
    g_set_error (&error, BK_ERROR, BK_ERROR_NO_SPACE, "the target '%s' is full", disk->target);
  else if (is_snapshot_mode (run) && strstr (text, "Permission denied") != NULL)
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
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    if (!still_runs (disk))
      continue;
    g_autofree char *id = bk_run_name (run, "j", disk);
    update_disk (self, run, disk, find_job (jobs, id));
    *changed |= !still_runs (disk);
    *done &= !still_runs (disk);
  }
  return TRUE;
}

static bool
has_nbd (const BkRun *run)
{
  for (unsigned i = 0; i < run->disks->len; i++)
    if (is_nbd (run->disks->pdata[i]))
      return true;
  return false;
}

static void
yank_targets (BkQmpBackend *self, const BkRun *run, const char *why)
{
  g_autofree char *prefix = g_strconcat (run->prefix, "-t", NULL);
  g_autoptr (GError) error = NULL;
  g_warning ("%s: %s; closing its NBD targets", run->prefix, why);
  if (!bk_qmp_yank_nodes (self->client, prefix, &error))
    g_warning ("%s: %s", run->prefix, error->message);
}

/* The connection is up but QEMU did not answer: a drain may wait for a hung NBD target of ours. Else there
 * is nothing to do but wait: QEMU may be stopped or swapping. */
static gboolean
wait_out_silence (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  if (has_nbd (run) && bk_qmp_client_state (self->client) == BK_QMP_READY)
    yank_targets (self, run, "QEMU does not answer");
  return bk_qmp_client_wait_ready (self->client, QUERY_TIMEOUT_MS, cancellable, error);
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
  if (sum != run->last_sum || run->user_paused || run->last_progress_us == 0) {
    run->last_sum = sum;
    run->last_progress_us = now;
  } else if (now - run->last_progress_us > stall_seconds () * G_USEC_PER_SEC) {
    g_autofree char *why = g_strdup_printf ("no progress for %u s", stall_seconds ());
    run->last_progress_us = now;
    yank_targets (self, run, why);
  }
}

gboolean
bk_qmp_push_wait (BkBackend *backend, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable, GError **error)
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
bk_qmp_push_pause (BkBackend *backend, BkRun *run, bool pause, GError **error)
{
  run->user_paused = pause;
  return for_each_job ((BkQmpBackend *)backend, run, pause_one, pause, error);
}

gboolean
bk_qmp_push_set_speed (BkBackend *backend, BkRun *run, uint64_t speed, GError **error)
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
    yank_targets (self, run, "the last flush is not answered");
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
  if (is_nbd (disk) && is_there (nodes, target))
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
bk_qmp_push_close (BkBackend *backend, BkRun *run, GError **error)
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
