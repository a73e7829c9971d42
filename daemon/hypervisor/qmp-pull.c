/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The pull on QMP: QEMU shows the frozen disks, and a reader takes what it wants.
 *
 * Up to the point in time it is a push (qmp-push.c): bitmaps, scratch, copy-before-write filters, one swap. What is
 * different is the scratch, and what is read:
 *
 *        guest                       reader
 *          |                           |
 *   c  filter --copies old data-->  s  scratch (qcow2, its backing file is the disk)
 *          |                           |
 *       the disk  <---- what the guest has not overwritten is read from here
 *
 * The reader is shown s, and not the snapshot-access node a on c, which would seem natural: before 8.0 that answers a
 * question for zeroes, and a read, that begin in clusters which the guest has overwritten, and end in others, with the
 * guest's new content (hbitmap_status() tells "clean" for "dirty up to here"). A push asks for one cluster at a
 * time and is safe; who reads over NBD asks for as much as he likes (nbdcopy 256 KiB, qemu-img 2 MiB), and the
 * NBD server itself asks for zeroes at each read. In qcow2 each cluster is found where it is, and since the target of
 * the filter has the filter's disk below it, QEMU makes its copies serialising: a read waits for them, and they for it.
 *
 * But s does not know when a copy failed, because scratch is full or slow: the snapshot breaks, the guest goes on, and
 * s shows what the guest writes, with no error and no event. Therefore:
 *
 *  1. The canary k, an export of a. A read of it fails from the moment when the snapshot broke, which is before
 *     the guest's write reached the disk. So one read of the canary that succeeds proves all that was read before it.
 *     Who commits what was read without asking bk_backend_check_frozen() after the last byte, commits guesses. A disk
 *     whose canary has died loses its export; what was read between the two moments is why the last question is
 *     asked last.
 *  2. The lock l, an export of c that nobody reads. It keeps others from shrinking the disk, of whose end nothing
 *     would be copied before. (The node a keeps them from writing to the disk past the filter.)
 *  3. The parents of the new bitmaps stop after the point in time, and what a reader is told to have changed is a
 *     temporary union of theirs: no reader, however he ends, can lose a dirty bit.
 *  4. A disk in an iothread has no NBD export with a client, ever: when that client goes, QEMU 7.2 aborts. Frozen
 *     content and canary are FUSE files then, and the changes are told by m, an empty node outside of the iothread.
 *     FUSE exports must hold the disk in its iothread (fixed-iothread): a reset of the guest takes it out for a while,
 *     and the next read by an export that stayed behind is the end of QEMU, too.
 *  5. QEMU's NBD server is for readers that take their replies: while one does not, whatever drains in QEMU waits for
 *     it, and the guest too. So a third party never meets QEMU itself: gateway.c.
 *
 * A mode without filter (blockdev-backup to a scratch with sync=none) is not offered: a full scratch would fail the
 * guest's writes there. Where this one is not possible, the VM is pushed, and told why: bk_qmp_pull_obstacle().
 */
#include "qmp-backend-private.h"

#include "fsio.h"
#include "gateway.h"
#include "pid.h"
#include "probe.h"
#include "qmp-export.h"
#include "qmp-nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define CREATE_TIMEOUT_US (30 * G_USEC_PER_SEC)
#define CREATE_POLL_MS 100
#define PIN_TRIES 40
#define PIN_POLL_US 50000
#define PROBE_TIMEOUT_MS 10000
/* Scratch space with less left than that was full: the cluster that did not fit may have been freed since. */
#define SCRATCH_FULL (16 * 1024 * 1024)

#define DIRTY_CONTEXT "qemu:dirty-bitmap:"

#define FUSE_DEVICE "/dev/fuse"

/* --- whether --- */

char *
bk_qmp_pull_obstacle (const BkQmpFeatures *features)
{
  if (features->snapshot_push && features->bitmap_merge && features->pull)
    return NULL;
  return g_strdup ("this QEMU is too old to be pulled from (it lacks copy-before-write filters that break the snapshot rather than the guest; "
                   "they came with 7.1)");
}

char *
bk_qmp_pull_disk_obstacle (const BkQmpFeatures *features, const char *status, pid_t pid, const BkDisk *disk)
{
  if (disk->iothread == NULL)
    return NULL;
  if (strcmp (status, "running") != 0)
    return g_strdup_printf ("it is in an iothread, of which QEMU can export it only while the guest runs, and the guest is '%s'", status);
  if (!features->fuse_export)
    return g_strdup ("it is in an iothread, of which QEMU could export it only by FUSE, and this QEMU was built without that");
  if (access (FUSE_DEVICE, F_OK) < 0)
    return g_strdup ("it is in an iothread, of which QEMU can export it only by FUSE, and this machine has no " FUSE_DEVICE " ('modprobe fuse')");
  if (bk_pid_is_of_other_user (pid))
    return g_strdup ("it is in an iothread, of which QEMU can export it only by FUSE, and this QEMU runs as another user, who may not enter our folder");
  return NULL;
}

static void
replace (char **member, char *value)
{
  g_free (*member);
  *member = value;
}

/* --- images that QEMU makes --- */

/* True when it has concluded, well or not. */
static bool
has_concluded (GPtrArray *jobs, const char *id, char **failure)
{
  for (unsigned i = 0; i < jobs->len; i++) {
    const BkQmpJob *job = jobs->pdata[i];
    if (strcmp (job->id, id) != 0 || strcmp (job->status, "concluded") != 0)
      continue;
    *failure = g_strdup (job->error);
    return true;
  }
  return false;
}

static gboolean
wait_created (BkQmpBackend *self, const char *id, BkQmpWatch *watch, GCancellable *cancellable, GError **error)
{
  int64_t deadline = g_get_monotonic_time () + CREATE_TIMEOUT_US;
  while (g_get_monotonic_time () < deadline) {
    g_autoptr (GPtrArray) jobs = NULL;
    g_autofree char *failure = NULL;
    if (!bk_qmp_query_jobs_of (self->client, id, &jobs, cancellable, error))
      return FALSE;
    if (!has_concluded (jobs, id, &failure)) {
      bk_qmp_watch_wait (watch, CREATE_POLL_MS, cancellable);
      continue;
    }
    if (!bk_qmp_job_dismiss (self->client, id, cancellable, error))
      return FALSE;
    if (failure)
      g_set_error (error, BK_ERROR, strstr (failure, "No space left") ? BK_ERROR_NO_SPACE : BK_ERROR_FAILED, "QEMU cannot make a scratch image: %s",
                   failure);
    return failure == NULL;
  }
  g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "QEMU does not make a scratch image within %d s", (int)(CREATE_TIMEOUT_US / G_USEC_PER_SEC));
  return FALSE;
}

/* An empty qcow2 image in the file of node @file. */
static gboolean
create_image (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, const char *file, GCancellable *cancellable, GError **error)
{
  g_autofree char *job = bk_run_name (run, "j", disk);
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (self->client, job);
  return bk_qmp_create_qcow2 (self->client, job, file, disk->size, cancellable, error) && wait_created (self, job, watch, cancellable, error);
}

gboolean
bk_qmp_pull_add_scratch (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autofree char *file = bk_run_name (run, "sf", disk);
  g_autofree char *scratch = bk_run_name (run, "s", disk);
  int fd = bk_fsio_open_scratch (run->scratch, 0, error);
  if (fd < 0)
    return FALSE;
  gboolean ok = bk_qmp_push_add_fd_file (self, fd, "file", file, scratch, cancellable, error);
  close (fd);
  return ok && create_image (self, run, disk, file, cancellable, error) &&
         bk_qmp_add_overlay (self->client, scratch, file, disk->root, cancellable, error);
}

/* --- export --- */

static gboolean
export_nbd (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, const char *role, const char *node, bool dirty, GCancellable *cancellable,
            GError **error)
{
  g_autofree char *id = bk_qmp_nbd_export_id (run, role, disk);
  g_autofree char *name = bk_run_name (run, role, disk);
  g_autofree char *bitmap = dirty ? bk_run_name (run, "inc", NULL) : NULL;
  return bk_qmp_add_nbd_export (self->client, id, node, name, node, bitmap, cancellable, error);
}

static char *
mount_point (const BkRun *run, const char *role, const BkRunDisk *disk)
{
  g_autofree char *name = bk_run_name (run, role, disk);
  return g_strdup_printf ("%s/%s.img", run->export_folder, name);
}

/* QEMU may have mounted it where we do not see it, as under libvirt, which gives it a view of its own. */
static gboolean
check_mounted (const char *path, uint64_t size, GError **error)
{
  struct statfs fs;
  struct stat file;
  if (statfs (path, &fs) < 0 || stat (path, &file) < 0)
    return bk_error_set_errno (error, errno, "cannot look at QEMU's FUSE export '%s'", path);
  if (fs.f_type == FUSE_SUPER_MAGIC && (uint64_t)file.st_size == size)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "QEMU's FUSE export '%s' is not to be seen here: QEMU has mount points of its own; use mode push", path);
  return FALSE;
}

/* While the guest does not use the disk (it is paused, or in its firmware, or between the two when it is reset) the disk
 * is out of its iothread, and only the guest can bring it back; mostly that is over soon. An export that would keep it
 * outside is no way: QEMU dies of the guest's next reset. */
static gboolean
add_pinned_fuse (BkQmpBackend *self, const char *id, const char *node, const char *path, const char *iothread, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) failure = NULL;
  for (unsigned i = 0; i < PIN_TRIES; i++) {
    g_clear_error (&failure);
    if (bk_qmp_add_fuse_export (self->client, id, node, path, iothread, cancellable, &failure))
      return TRUE;
    if (!g_error_matches (failure, BK_ERROR, BK_ERROR_FAILED)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    g_usleep (PIN_POLL_US);
  }
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED,
               "QEMU cannot export it by FUSE from its iothread now (%s); if the guest is paused or has just been reset, start the backup again when it runs, else use mode push",
               failure->message);
  return FALSE;
}

static gboolean
export_fuse (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, const char *role, const char *node, const char *iothread, char **path,
             GCancellable *cancellable, GError **error)
{
  g_autofree char *id = bk_qmp_nbd_export_id (run, role, disk);
  replace (path, mount_point (run, role, disk));
  if (!g_file_set_contents_full (*path, "", 0, G_FILE_SET_CONTENTS_NONE, 0600, NULL)) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot make the mount point '%s'", *path);
    return FALSE;
  }
  return add_pinned_fuse (self, id, node, *path, iothread, cancellable, error) && check_mounted (*path, disk->size, error);
}

static bool
is_increment (const BkRunDisk *disk)
{
  return strcmp (disk->sync, "bitmap") == 0;
}

/* Stops the parent, and adds up on @node what changed since the base. @persistent: to be in the image of @node. */
static gboolean
switch_bitmaps (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, const char *node, bool persistent, GCancellable *cancellable, GError **error)
{
  g_autofree char *increment = bk_run_name (run, "inc", NULL);
  g_autoptr (json_object) actions = json_object_new_array ();
  if (disk->bitmap && disk->parent_bitmap && !run->offline)
    bk_qmp_action_bitmap_disable (actions, disk->node, disk->parent_bitmap);
  if (is_increment (disk)) {
    bk_qmp_action_bitmap_add (actions, node, increment, persistent, true);
    bk_qmp_action_bitmap_merge (actions, node, increment, disk->node, (const char *const *)disk->base_bitmaps);
  }
  return bk_qmp_transaction (self->client, g_steal_pointer (&actions), cancellable, error);
}

/* The gateway cannot ask QEMU for its bitmaps: it gets an image that has nothing but one. */
static gboolean
write_map (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autofree char *path = bk_gateway_map_path (run, disk);
  g_autofree char *file = bk_run_name (run, "mf", disk);
  g_autofree char *map = bk_run_name (run, "m", disk);
  int fd = open (path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0)
    return bk_error_set_errno (error, errno, "cannot make '%s'", path);
  gboolean ok = bk_qmp_push_add_fd_file (self, fd, "file", file, map, cancellable, error);
  close (fd);
  return ok && create_image (self, run, disk, file, cancellable, error) && bk_qmp_add_overlay (self->client, map, file, NULL, cancellable, error) &&
         switch_bitmaps (self, run, disk, map, true, cancellable, error) && bk_qmp_del_node (self->client, map, cancellable, error) &&
         bk_qmp_del_node (self->client, file, cancellable, error);
}

static gboolean
place_bitmaps (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, const char *node, GCancellable *cancellable, GError **error)
{
  if (run->export && is_increment (disk))
    return write_map (self, run, disk, cancellable, error);
  return switch_bitmaps (self, run, disk, node, false, cancellable, error);
}

static gboolean
export_plain (BkQmpBackend *self, const BkRun *run, BkRunDisk *disk, const char *scratch, const char *access, GCancellable *cancellable, GError **error)
{
  if (!export_nbd (self, run, disk, "k", access, false, cancellable, error) || !place_bitmaps (self, run, disk, scratch, cancellable, error) ||
      !export_nbd (self, run, disk, "x", scratch, is_increment (disk) && !run->export, cancellable, error))
    return FALSE;
  replace (&disk->export_name, bk_run_name (run, "x", disk));
  return TRUE;
}

static gboolean
export_iothread (BkQmpBackend *self, const BkRun *run, BkRunDisk *disk, const char *scratch, const char *access, const char *iothread,
                 GCancellable *cancellable, GError **error)
{
  bool has_map = is_increment (disk) && !run->export;
  g_autofree char *map = bk_run_name (run, "m", disk);
  if (!export_fuse (self, run, disk, "k", access, iothread, &disk->canary_path, cancellable, error) ||
      (has_map && !bk_qmp_add_empty (self->client, map, disk->size, cancellable, error)) ||
      !place_bitmaps (self, run, disk, map, cancellable, error) ||
      !export_fuse (self, run, disk, "x", scratch, iothread, &disk->frozen_path, cancellable, error))
    return FALSE;
  if (!has_map)
    return TRUE;
  replace (&disk->map_export, g_strdup (map));
  return export_nbd (self, run, disk, "m", map, true, cancellable, error);
}

static gboolean
export_disk (BkQmpBackend *self, const BkRun *run, BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autofree char *filter = bk_run_name (run, "c", disk);
  g_autofree char *scratch = bk_run_name (run, "s", disk);
  g_autofree char *access = bk_run_name (run, "a", disk);
  g_autofree char *iothread = NULL;
  if (!bk_qmp_backend_find_iothread (self, disk->qdev, &iothread, cancellable, error) ||
      (!disk->in_iothread && !bk_qmp_add_snapshot (self->client, access, filter, cancellable, error)) ||
      !export_nbd (self, run, disk, "l", filter, false, cancellable, error))
    return FALSE;
  const char *id = iothread ? strrchr (iothread, '/') : NULL; /* "/objects/io0" */
  gboolean ok = iothread ? export_iothread (self, run, disk, scratch, access, id ? id + 1 : iothread, cancellable, error)
                         : export_plain (self, run, disk, scratch, access, cancellable, error);
  if (ok && is_increment (disk))
    replace (&disk->dirty_context, g_strconcat (DIRTY_CONTEXT, run->prefix, "-inc", NULL));
  return ok;
}

/* Between the point in time and the lock the disk may have been made smaller; and whatever was set up wrongly (a
 * server that is not this VM's) shows here rather than in a backup. */
static gboolean
check_disk (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error);

static gboolean
is_fatal (const GError *error)
{
  return g_error_matches (error, BK_ERROR, BK_ERROR_UNREACHABLE) || g_error_matches (error, BK_ERROR, BK_ERROR_CANCELLED);
}

/* Of a VM that is shut off: nothing can break, so nothing is needed to tell. */
static gboolean
export_still_disk (BkQmpBackend *self, const BkRun *run, BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  if (!place_bitmaps (self, run, disk, disk->node, cancellable, error) ||
      !export_nbd (self, run, disk, "x", disk->node, is_increment (disk) && !run->export, cancellable, error))
    return FALSE;
  replace (&disk->export_name, bk_run_name (run, "x", disk));
  if (is_increment (disk))
    replace (&disk->dirty_context, g_strconcat (DIRTY_CONTEXT, run->prefix, "-inc", NULL));
  return TRUE;
}

static gboolean
export_one (BkQmpBackend *self, const BkRun *run, BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  if (run->offline)
    return export_still_disk (self, run, disk, cancellable, error);
  return export_disk (self, run, disk, cancellable, error) && check_disk (self, run, disk, cancellable, error);
}

/* Each disk for itself: the instant is taken already. */
static gboolean
export_disks (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) first = NULL;
  bool any = false;
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    g_autoptr (GError) failure = NULL;
    if (export_one (self, run, disk, cancellable, &failure)) {
      replace (&disk->state, g_strdup ("running"));
      any = true;
      continue;
    }
    bk_run_disk_fail (disk, failure);
    g_prefix_error (&failure, "disk %s: ", disk->name);
    if (is_fatal (failure)) {
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

/* Third parties know disks by the names that users give them. */
static gboolean
open_gateway (BkRun *run, GError **error)
{
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    replace (&disk->frozen_path, NULL);
    replace (&disk->export_name, g_strdup (disk->name));
  }
  return bk_gateway_ensure (run, error);
}

gboolean
bk_qmp_pull_export (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->graph);
  if (!bk_qmp_nbd_ensure (self, run, cancellable, error) || !export_disks (self, run, cancellable, error))
    return FALSE;
  if (run->export)
    return open_gateway (run, error);
  replace (&run->nbd_address, g_strconcat ("unix:", run->nbd_server, NULL));
  return TRUE;
}

/* --- check --- */

static gboolean
probe (const BkRun *run, const BkRunDisk *disk, GError **error)
{
  if (disk->canary_path)
    return bk_probe_file (disk->canary_path, PROBE_TIMEOUT_MS, error);
  g_autofree char *canary = bk_run_name (run, "k", disk);
  return bk_probe_nbd (run->nbd_server, canary, PROBE_TIMEOUT_MS, error);
}

static const char *
what_scratch_was (const BkRun *run)
{
  uint64_t free_bytes = 0;
  bool known = bk_fsio_free_space (run->scratch, &free_bytes, NULL);
  return known && free_bytes < SCRATCH_FULL ? "full" : "full or too slow";
}

/* QEMU does not say why it does not read; of a snapshot there is one reason. */
static gboolean
check_canary (const BkRun *run, const BkRunDisk *disk, GError **error)
{
  g_autoptr (GError) failure = NULL;
  if (probe (run, disk, &failure))
    return TRUE;
  if (g_error_matches (failure, BK_ERROR, BK_ERROR_FAILED))
    g_set_error (error, BK_ERROR, BK_ERROR_NO_SPACE,
                 "the snapshot broke: scratch space in '%s' was %s for what the guest wrote meanwhile; give scratch more room, or back up when the guest writes less (%s)",
                 run->scratch, what_scratch_was (run), failure->message);
  else if (g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND))
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the snapshot is gone: the VM was restarted, or another program has ended its exports (%s)", failure->message);
  else
    g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

static gboolean
check_disk (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  g_autofree char *filter = bk_run_name (run, "c", disk);
  uint64_t size = 0;
  if (!check_canary (run, disk, error) || !bk_qmp_query_size (self->client, filter, &size, cancellable, error))
    return FALSE;
  if (size >= disk->size)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "it was made smaller, to %" PRIu64 " bytes, while the backup began; start it again", size);
  return FALSE;
}

/* What is no longer the point in time is shown no longer: its readers get errors from now on. */
static void
hide (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk)
{
  g_autofree char *id = bk_qmp_nbd_export_id (run, "x", disk);
  g_autoptr (GError) ignored = NULL;
  if (!bk_qmp_del_export (self->client, id, NULL, &ignored))
    g_debug ("%s: %s", id, ignored->message);
}

gboolean
bk_qmp_pull_check_frozen (BkBackend *backend, BkRun *run, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  if (run->export && !bk_gateway_ensure (run, error))
    return FALSE;
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    g_autoptr (GError) failure = NULL;
    if (bk_run_disk_has_failed (disk) || check_canary (run, disk, &failure))
      continue;
    if (is_fatal (failure)) {
      g_propagate_prefixed_error (error, g_steal_pointer (&failure), "disk %s: ", disk->name);
      return FALSE;
    }
    bk_run_disk_fail (disk, failure);
    hide (self, run, disk);
  }
  return TRUE;
}

/* --- end --- */

/* Files of @run in the export folder. A mount that its QEMU has left behind goes, without a look at it: that could
 * wait for a QEMU which has only stopped. */
static void
remove_files (const BkRun *run)
{
  g_autofree char *prefix = g_strconcat (run->prefix, "-", NULL);
  g_autoptr (GDir) folder = run->export_folder ? g_dir_open (run->export_folder, 0, NULL) : NULL;
  const char *name = NULL;
  while (folder && (name = g_dir_read_name (folder)) != NULL) {
    if (!g_str_has_prefix (name, prefix))
      continue;
    g_autofree char *path = g_build_filename (run->export_folder, name, NULL);
    umount2 (path, MNT_DETACH | UMOUNT_NOFOLLOW);
    if (g_unlink (path) == 0)
      continue;
    if (errno == EBUSY)
      g_warning ("a QEMU that has died has left a mount, and we are not allowed to remove it: restart the service, or 'umount -l %s'", path);
    else if (errno != ENOENT)
      g_warning ("cannot remove '%s': %s", path, g_strerror (errno));
  }
}

gboolean
bk_qmp_pull_end (BkQmpBackend *self, BkRun *run, GError **error)
{
  bk_gateway_stop (run);
  if (!bk_qmp_nbd_end (self, run, error))
    return FALSE;
  remove_files (run);
  return TRUE;
}

void
bk_qmp_pull_end_without_vm (BkRun *run)
{
  bk_gateway_stop (run);
  remove_files (run);
}
