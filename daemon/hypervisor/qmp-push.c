/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The push job on QMP, up to the begin of the copy. (A pull goes the same way up to the point in time: qmp-pull.c.)
 * Two modes:
 *
 * push: a copy-before-write filter goes above each disk while the guest runs; swapping it in for all disks,
 * with the guest stopped for some milliseconds if there are several, is the point in time. Above a disk in an
 * iothread no node may come while the guest uses it: before 9.0, blockdev-add drains the node that is given as "file"
 * without its iothread's lock, and if a request is in flight there, QEMU aborts. Its filter and snapshot-access
 * nodes come while the guest is stopped, which takes the disk out of the iothread. What the guest
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
#include "nbd-uri.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PUSH_WORKERS 8
/* One cluster of the copy-before-write filter. Before 8.0 QEMU answers a read or a question for zeroes that begins in
 * clusters which the guest has overwritten, and ends in others, with the guest's new content (hbitmap_status() tells
 * "clean" for "dirty up to here"). Requests of one cluster are never mixed. */
#define SNAPSHOT_CHUNK 65536

#define QUERY_TIMEOUT_MS 10000

/* Of a scratch file that is only tried. There is one at a time in a VM. */
#define TRIAL_NODE "bkd-doctor-s"
#define TRIAL_FILE "bkd-doctor-sf"
#define TRIAL_SIZE (1024 * 1024)
#define TRIAL_TIMEOUT_MS 5000

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

/* A storage daemon takes no descriptors; it may do what we may. */
static gboolean
add_own_file (BkQmpBackend *self, int fd, const char *driver, const char *node, GCancellable *cancellable, GError **error)
{
  g_autofree char *link = g_strdup_printf ("/proc/self/fd/%d", fd);
  g_autofree char *path = g_file_read_link (link, NULL);
  return bk_qmp_add_file (self->client, driver, node, path ? path : link, BK_QMP_CACHE_NO_FLUSH, cancellable, error);
}

gboolean
bk_qmp_push_add_fd_file (BkQmpBackend *self, int fd, const char *driver, const char *node, const char *opaque, GCancellable *cancellable,
                         GError **error)
{
  int64_t fdset = 0;
  if (self->storage_daemon)
    return add_own_file (self, fd, driver, node, cancellable, error);
  if (!bk_qmp_add_fd (self->client, fd, opaque, &fdset, cancellable, error))
    return FALSE;
  g_autofree char *name = g_strdup_printf ("/dev/fdset/%" G_GINT64_FORMAT, fdset);
  gboolean added = bk_qmp_add_file (self->client, driver, node, name, BK_QMP_CACHE_NO_FLUSH, cancellable, error);
  /* The node has its own duplicate by now; a set without users goes by itself when we disconnect. */
  g_autoptr (GError) ignored = NULL;
  if (!bk_qmp_remove_fd (self->client, fdset, NULL, &ignored))
    g_debug ("remove-fd: %s", ignored->message);
  return added;
}

/* Two nodes: the file, and a format above it. */
static gboolean
add_fd_nodes (BkQmpBackend *self, int fd, const char *driver, const char *file_node, const char *format, const char *node,
              uint64_t size, GCancellable *cancellable, GError **error)
{
  if (!bk_qmp_push_add_fd_file (self, fd, driver, file_node, node, cancellable, error))
    return FALSE;
  if (strcmp (format, "raw") == 0) /* QEMU wants source and target of one size, and devices come in others */
    return bk_qmp_add_raw (self->client, node, file_node, size, BK_QMP_CACHE_NO_FLUSH, cancellable, error);
  /* What lies above a backing file that QEMU finds nothing in, or was written as zeroes, is read as data. */
  return bk_qmp_add_format (self->client, format, node, file_node, BK_QMP_CACHE_NO_FLUSH | BK_QMP_DETECT_ZEROES, cancellable, error);
}

static gboolean
add_scratch (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  if (bk_run_is_pull (run))
    return bk_qmp_pull_add_scratch (self, run, disk, cancellable, error);
  g_autofree char *file = bk_run_name (run, "sf", disk);
  g_autofree char *scratch = bk_run_name (run, "s", disk);
  int fd = bk_fsio_open_scratch (run->scratch, disk->size, error);
  if (fd < 0)
    return FALSE;
  gboolean ok = add_fd_nodes (self, fd, "file", file, "raw", scratch, disk->size, cancellable, error);
  close (fd);
  return ok;
}

/* A node that a daemon which was killed has left goes first: it has the same name. */
static void
remove_trial (BkQmpBackend *self)
{
  static const char *const nodes[] = { TRIAL_NODE, TRIAL_FILE };
  for (size_t i = 0; i < G_N_ELEMENTS (nodes); i++) {
    g_autoptr (GError) ignored = NULL;
    if (!bk_qmp_del_node_within (self->client, nodes[i], TRIAL_TIMEOUT_MS, &ignored))
      g_debug ("%s: %s", nodes[i], ignored->message);
  }
}

gboolean
bk_qmp_push_try_scratch (BkBackend *backend, const char *folder, bool *tried, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  *tried = true;
  if (!bk_qmp_client_wait_ready (self->client, TRIAL_TIMEOUT_MS, NULL, error))
    return FALSE;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->graph);
  remove_trial (self);
  int fd = bk_fsio_open_scratch (folder, TRIAL_SIZE, error);
  if (fd < 0)
    return FALSE;
  gboolean ok = add_fd_nodes (self, fd, "file", TRIAL_FILE, "raw", TRIAL_NODE, TRIAL_SIZE, NULL, error);
  close (fd);
  remove_trial (self);
  return ok;
}

static gboolean
add_filter (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autofree char *scratch = bk_run_name (run, "s", disk);
  g_autofree char *filter = bk_run_name (run, "c", disk);
  return add_scratch (self, run, disk, cancellable, error) &&
         (disk->in_iothread || bk_qmp_add_filter (self->client, filter, disk->root, scratch, cancellable, error));
}

static gboolean
prepare_disks (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  for (unsigned i = 0; i < run->disks->len; i++)
    remove_stale_bitmaps (self, run->disks->pdata[i]);
  if (!bk_run_is_snapshot (run))
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

static gboolean
find_iothreads (BkQmpBackend *self, BkRun *run, bool *any, GCancellable *cancellable, GError **error)
{
  *any = false;
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    g_autofree char *iothread = NULL;
    if (!bk_qmp_backend_find_iothread (self, disk->qdev, &iothread, cancellable, error))
      return FALSE;
    disk->in_iothread = iothread != NULL;
    *any |= disk->in_iothread;
  }
  return TRUE;
}

gboolean
bk_qmp_push_prepare (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  g_autofree char *status = NULL;
  bool iothreads = false;
  if (!bk_qmp_client_wait_ready (self->client, QUERY_TIMEOUT_MS, cancellable, error) ||
      !bk_qmp_query_status (self->client, &status, cancellable, error) ||
      (bk_run_is_snapshot (run) && !find_iothreads (self, run, &iothreads, cancellable, error)))
    return FALSE;
  run->guest_running = strcmp (status, "running") == 0;
  run->stops_guest = run->guest_running && (run->disks->len > 1 || iothreads) && bk_run_is_snapshot (run);
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

/* For disks in iothreads: their filters, or with @above, the snapshot-access nodes above those. */
static unsigned
add_still_nodes (const BkRun *run, bool above, BkQmpCall *calls)
{
  unsigned n = 0;
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    g_autofree char *filter = bk_run_name (run, "c", disk);
    g_autofree char *other = bk_run_name (run, above ? "a" : "s", disk);
    if (disk->in_iothread)
      calls[n++] = above ? bk_qmp_call_add_snapshot (other, filter) : bk_qmp_call_add_filter (filter, disk->root, other);
  }
  return n;
}

/* stop, one qom-set for each disk, cont: sent in one piece, so that the guest stands still only as long as
 * QEMU itself needs, and cont is already with QEMU whatever happens to us. */
static gboolean
swap_in_filters (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  unsigned n = 0;
  g_autofree BkQmpCall *calls = g_new0 (BkQmpCall, 3 * run->disks->len + 2);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  if (run->stops_guest)
    calls[n++] = bk_qmp_call_stop ();
  n += add_still_nodes (run, false, calls + n);
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    g_ptr_array_add (names, bk_run_name (run, "c", disk));
    g_autofree char *qdev = bk_disk_qdev_path (disk->qdev);
    calls[n++] = bk_qmp_call_set_drive (qdev, names->pdata[i]);
  }
  n += add_still_nodes (run, true, calls + n);
  if (run->stops_guest)
    calls[n++] = bk_qmp_call_cont ();
  gboolean ok = bk_run_before_instant (run, cancellable, error);
  if (ok) {
    int64_t before = g_get_monotonic_time ();
    run->point_in_time = g_get_real_time ();
    ok = bk_qmp_client_call_all (self->client, calls, n, 0, cancellable, error);
    run->pause_us = run->stops_guest ? (uint64_t)(g_get_monotonic_time () - before) : 0;
    bk_run_after_instant (run);
  }
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
  if (!bk_run_is_snapshot (run))
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
  gboolean ok = add_fd_nodes (self, fd, disk->target_driver, file_node, disk->target_format, node, disk->size, cancellable, error);
  close (fd);
  return ok;
}

/* QEMU uses the socket up with its first attempt, and complains of the second: what it says of that tells nobody anything. */
static void
set_nbd_refusal (GError **error, const BkRunDisk *disk, const BkNbdUri *uri, const GError *cause)
{
  if (cause->code == BK_ERROR_FAILED)
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the server of '%s' does not give export '%s': it has none of that name, wants TLS, or speaks no NBD",
                 disk->target, uri->export_name);
  else
    g_propagate_error (error, g_error_copy (cause));
}

static gboolean
check_nbd_size (BkQmpBackend *self, const BkRunDisk *disk, const char *node, GCancellable *cancellable, GError **error)
{
  uint64_t size = 0;
  if (!bk_qmp_query_size (self->client, node, &size, cancellable, error))
    return FALSE;
  if (size == disk->size)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
               "the export of '%s' has %" G_GUINT64_FORMAT " bytes, the disk %" G_GUINT64_FORMAT "; make it as large as the disk",
               disk->target, size, disk->size);
  return FALSE;
}

static gboolean
open_nbd_target (BkQmpBackend *self, const BkRunDisk *disk, const char *node, GCancellable *cancellable, GError **error)
{
  g_autoptr (BkNbdUri) uri = bk_nbd_uri_parse (disk->target, error);
  if (uri && self->storage_daemon)
    return bk_qmp_add_nbd_at (self->client, node, uri->path, uri->host, uri->port, uri->export_name, cancellable, error) &&
           check_nbd_size (self, disk, node, cancellable, error);
  g_autoptr (GSocketConnection) connection = uri ? bk_nbd_uri_connect (uri, cancellable, error) : NULL;
  if (connection == NULL)
    return FALSE;
  int fd = g_socket_get_fd (g_socket_connection_get_socket (connection));
  bk_qmp_backend_keep_socket (self, node, g_object_ref (connection));
  g_autoptr (GError) cause = NULL;
  if (bk_qmp_add_nbd (self->client, node, fd, uri->export_name, 0, cancellable, &cause))
    return check_nbd_size (self, disk, node, cancellable, error);
  g_debug ("%s: %s", disk->target, cause->message);
  set_nbd_refusal (error, disk, uri, cause);
  return FALSE;
}

static gboolean
open_target (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autofree char *node = bk_run_name (run, "t", disk);
  if (bk_run_disk_is_nbd (disk))
    return open_nbd_target (self, disk, node, cancellable, error);
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
    .max_chunk = bk_run_is_snapshot (run) ? SNAPSHOT_CHUNK : 0,
  };
  bk_qmp_action_backup (actions, &backup);
}

/* @source: the node to read. */
static gboolean
start_copy (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, const char *source, GCancellable *cancellable, GError **error)
{
  g_autofree char *increment = g_strconcat (run->prefix, "-inc", NULL);
  if (!open_target (self, run, disk, cancellable, error))
    return FALSE;
  g_autoptr (json_object) actions = json_object_new_array ();
  if (disk->bitmap && disk->parent_bitmap && !run->offline)
    bk_qmp_action_bitmap_disable (actions, disk->node, disk->parent_bitmap);
  if (strcmp (disk->sync, "bitmap") == 0)
    add_increment (actions, disk, source, increment);
  add_backup (actions, run, disk, source, increment);
  return bk_qmp_transaction (self->client, g_steal_pointer (&actions), cancellable, error);
}

static gboolean
start_snapshot_disk (BkQmpBackend *self, BkRun *run, BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autofree char *filter = bk_run_name (run, "c", disk);
  g_autofree char *access = bk_run_name (run, "a", disk);
  return (disk->in_iothread || bk_qmp_add_snapshot (self->client, access, filter, cancellable, error)) &&
         start_copy (self, run, disk, access, cancellable, error);
}

/* Of a VM that is shut off: the image itself is what is read, and its bitmaps are as they are to be already. */
static gboolean
start_still_disk (BkQmpBackend *self, BkRun *run, BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  return start_copy (self, run, disk, disk->node, cancellable, error);
}

typedef gboolean (*StartDisk) (BkQmpBackend *self, BkRun *run, BkRunDisk *disk, GCancellable *cancellable, GError **error);

/* The instant is taken already: each disk starts for itself, and one that cannot does not stop the others. */
static gboolean
start_each (BkQmpBackend *self, BkRun *run, StartDisk start_one, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) first = NULL;
  bool any = false;
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    g_autoptr (GError) failure = NULL;
    if (start_one (self, run, disk, cancellable, &failure)) {
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
  if (!bk_run_before_instant (run, cancellable, error))
    return FALSE;
  run->point_in_time = g_get_real_time ();
  gboolean started = bk_qmp_transaction (self->client, g_steal_pointer (&actions), cancellable, error);
  bk_run_after_instant (run);
  if (!started)
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
  if (run->offline)
    return start_each (self, run, start_still_disk, cancellable, error);
  return bk_run_is_snapshot (run) ? start_each (self, run, start_snapshot_disk, cancellable, error) : start_direct (self, run, cancellable, error);
}
