/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A run on the images of a VM that is shut off.
 *
 *   prepare    the checkpoint's bitmaps are written; its parents stop
 *   snapshot   the images are opened to be read; from here on they are watched: the point in time
 *   start or export, wait or check_frozen
 *   release    the storage daemon ends, and with it all that it had open
 *
 * What was read counts only after a look at the watch that came later (wait, check_frozen): it proves that nobody has
 * written since the point in time. Who starts the VM meanwhile fails the run, and what it writes is in the new bitmap,
 * which is given back to the parent by rollback, in the VM then.
 */
#include "offline-private.h"

#include "gateway.h"
#include "image-watch.h"

#include <glib/gstdio.h>
#include <inttypes.h>
#include <string.h>

static BkRunDisk *
disk_at (const BkRun *run, unsigned index)
{
  return run->disks->pdata[index];
}

static gboolean
prefix_disk (const BkRunDisk *disk, GError **error)
{
  g_prefix_error (error, "disk %s: ", disk->name);
  return FALSE;
}

static void
set_started (GError **error, const GError *cause)
{
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "the VM was started, or another program wrote, while it was backed up as shut off (%s); start the backup again",
               cause->message);
}

/* --- prepare --- */

static void
add_checkpoint (json_object *actions, const BkRunDisk *disk, const char *node)
{
  for (size_t i = 0; disk->stale_bitmaps && disk->stale_bitmaps[i]; i++)
    bk_qmp_action_bitmap_remove (actions, node, disk->stale_bitmaps[i]);
  if (disk->bitmap == NULL)
    return;
  bk_qmp_action_bitmap_add (actions, node, disk->bitmap, disk->persistent, false);
  if (disk->parent_bitmap)
    bk_qmp_action_bitmap_disable (actions, node, disk->parent_bitmap);
}

static gboolean
write_checkpoint (BkOfflineBackend *self, BkQmpBackend *session, const BkRun *run, const BkRunDisk *disk, GError **error)
{
  g_autofree char *node = bk_run_name (run, "w", disk);
  g_autoptr (json_object) actions = json_object_new_array ();
  add_checkpoint (actions, disk, node);
  return json_object_array_length (actions) == 0 ||
         bk_offline_write (self, session, node, disk->format, disk->path, g_steal_pointer (&actions), error) || prefix_disk (disk, error);
}

gboolean
bk_offline_prepare (BkOfflineBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  run->guest_running = run->stops_guest = false;
  BkQmpBackend *session = bk_offline_session_start (self, run->prefix, cancellable, error);
  if (session == NULL)
    return FALSE;
  for (unsigned i = 0; i < run->disks->len; i++)
    if (!write_checkpoint (self, session, run, disk_at (run, i), error))
      return FALSE;
  return TRUE;
}

/* --- snapshot --- */

static gboolean
open_images (BkQmpBackend *session, BkRun *run, GCancellable *cancellable, GError **error)
{
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = disk_at (run, i);
    g_free (disk->node);
    g_free (disk->root);
    disk->node = bk_run_name (run, "o", disk);
    disk->root = g_strdup (disk->node);
    if (!bk_offline_open (session, disk->node, disk->format, disk->path, cancellable, error))
      return prefix_disk (disk, error);
  }
  return TRUE;
}

static gboolean
close_images (BkQmpBackend *session, const BkRun *run, GCancellable *cancellable, GError **error)
{
  for (unsigned i = 0; i < run->disks->len; i++)
    if (!bk_qmp_del_node (session->client, disk_at (run, i)->node, cancellable, error))
      return FALSE;
  return TRUE;
}

static gboolean
watch_images (BkQmpBackend *session, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) nodes = NULL;
  if (!bk_qmp_query_nodes (session->client, &nodes, cancellable, error))
    return FALSE;
  g_auto (GStrv) files = bk_block_graph_files (nodes);
  g_autoptr (GStrvBuilder) watches = g_strv_builder_new ();
  for (size_t i = 0; files[i]; i++) {
    g_autofree char *watch = bk_image_watch_new (files[i], error);
    if (watch == NULL)
      return FALSE;
    g_strv_builder_add (watches, watch);
  }
  g_strfreev (run->watches);
  run->watches = g_strv_builder_end (watches);
  return TRUE;
}

static const char *
bitmap_trouble (const BkBitmap *bitmap, bool fresh)
{
  if (bitmap == NULL)
    return "is gone";
  if (bitmap->inconsistent)
    return "is in use";
  return fresh && (bitmap->count > 0 || !bitmap->recording) ? "is not as it was written" : NULL;
}

static gboolean
check_bitmap (const BkDisk *found, const char *name, bool fresh, GError **error)
{
  const char *trouble = bitmap_trouble (bk_disk_find_bitmap (found, name), fresh);
  if (trouble)
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "bitmap '%s' %s: the VM was started, or another program works on the image", name, trouble);
  return trouble == NULL;
}

/* What was planned is what is there: blockdev-del does not tell when bitmaps could not be written, and somebody may have
 * come in between. */
static gboolean
check_image (json_object *nodes, const BkRunDisk *disk, GError **error)
{
  BkDisk *found = g_new0 (BkDisk, 1);
  found->format = g_strdup (disk->format);
  gboolean ok = bk_block_graph_reread (nodes, disk->node, found, error);
  if (ok && found->size != disk->size) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "it was resized to %" PRIu64 " bytes meanwhile; start the backup again", found->size);
    ok = FALSE;
  }
  ok = ok && (disk->bitmap == NULL || check_bitmap (found, disk->bitmap, true, error));
  for (size_t i = 0; ok && disk->base_bitmaps && disk->base_bitmaps[i]; i++)
    ok = check_bitmap (found, disk->base_bitmaps[i], false, error);
  bk_disk_free (found);
  return ok || prefix_disk (disk, error);
}

static gboolean
check_images (BkQmpBackend *session, const BkRun *run, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) nodes = NULL;
  if (!bk_qmp_query_nodes (session->client, &nodes, cancellable, error))
    return FALSE;
  for (unsigned i = 0; i < run->disks->len; i++)
    if (!check_image (nodes, disk_at (run, i), error))
      return FALSE;
  return TRUE;
}

/* Opened twice: what has been read of an image when it was opened must be as watched, too, and which files it consists of
 * is known only then. */
static gboolean
open_and_watch (BkQmpBackend *session, BkRun *run, GCancellable *cancellable, GError **error)
{
  return open_images (session, run, cancellable, error) && watch_images (session, run, cancellable, error) &&
         close_images (session, run, cancellable, error) && open_images (session, run, cancellable, error) &&
         check_images (session, run, cancellable, error);
}

gboolean
bk_offline_snapshot (BkOfflineBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) changed = NULL;
  BkQmpBackend *session = bk_offline_session (self, run->prefix, cancellable, error);
  if (session == NULL || !open_and_watch (session, run, cancellable, error))
    return FALSE;
  run->point_in_time = g_get_real_time ();
  if (bk_image_watch_check ((const char *const *)run->watches, &changed))
    return TRUE;
  set_started (error, changed);
  return FALSE;
}

/* --- the watch --- */

static void
fail_all (BkRun *run, const GError *why)
{
  for (unsigned i = 0; i < run->disks->len; i++)
    bk_run_disk_fail (disk_at (run, i), why);
}

/* All that was read until now is the point in time; else nobody reads any more, and all disks have failed. */
static bool
is_unchanged (BkOfflineBackend *self, BkRun *run)
{
  g_autoptr (GError) cause = NULL, why = NULL;
  if (bk_image_watch_check ((const char *const *)run->watches, &cause))
    return true;
  set_started (&why, cause);
  fail_all (run, why);
  bk_offline_session_end (self, run->prefix, false);
  return false;
}

/* --- push --- */

gboolean
bk_offline_start (BkOfflineBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkQmpBackend *session = bk_offline_session (self, run->prefix, cancellable, error);
  return session && bk_qmp_push_start (&session->base, run, cancellable, error);
}

gboolean
bk_offline_wait (BkOfflineBackend *self, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable, GError **error)
{
  BkQmpBackend *session = bk_offline_session (self, run->prefix, cancellable, error);
  if (session == NULL || !bk_qmp_copy_wait (&session->base, run, timeout_ms, done, cancellable, error))
    return FALSE;
  *done = !is_unchanged (self, run) || *done;
  return TRUE;
}

gboolean
bk_offline_pause (BkOfflineBackend *self, BkRun *run, bool pause, GError **error)
{
  BkQmpBackend *session = bk_offline_session (self, run->prefix, NULL, error);
  return session && bk_qmp_copy_pause (&session->base, run, pause, error);
}

gboolean
bk_offline_set_speed (BkOfflineBackend *self, BkRun *run, uint64_t speed, GError **error)
{
  BkQmpBackend *session = bk_offline_session (self, run->prefix, NULL, error);
  return session && bk_qmp_copy_set_speed (&session->base, run, speed, error);
}

static bool
any_copied (const BkRun *run)
{
  for (unsigned i = 0; i < run->disks->len; i++)
    if (strcmp (disk_at (run, i)->state, "copied") == 0)
      return true;
  return false;
}

gboolean
bk_offline_close (BkOfflineBackend *self, BkRun *run, GError **error)
{
  if (!any_copied (run))
    return TRUE;
  BkQmpBackend *session = bk_offline_session (self, run->prefix, NULL, error);
  return session && bk_qmp_copy_close (&session->base, run, error);
}

/* --- pull --- */

gboolean
bk_offline_export (BkOfflineBackend *self, BkRun *run, GCancellable *cancellable, GError **error)
{
  BkQmpBackend *session = bk_offline_session (self, run->prefix, cancellable, error);
  return session && bk_qmp_pull_export (&session->base, run, cancellable, error);
}

gboolean
bk_offline_check_frozen (BkOfflineBackend *self, BkRun *run, GError **error)
{
  g_autoptr (GError) failure = NULL;
  if (run->export && !bk_gateway_ensure (run, error))
    return FALSE;
  if (is_unchanged (self, run) && bk_offline_session (self, run->prefix, NULL, &failure) == NULL)
    fail_all (run, failure);
  return TRUE;
}

/* --- the way back --- */

gboolean
bk_offline_release (BkOfflineBackend *self, BkRun *run, GError **error G_GNUC_UNUSED)
{
  if (bk_run_is_pull (run))
    bk_qmp_pull_end_without_vm (run);
  bk_offline_session_end (self, run->prefix, !bk_run_is_pull (run));
  if (run->nbd_server)
    g_unlink (run->nbd_server);
  return TRUE;
}

static const BkDisk *
disk_by_name (const BkVmState *state, const char *name)
{
  for (unsigned i = 0; i < state->disks->len; i++)
    if (strcmp (((const BkDisk *)state->disks->pdata[i])->name, name) == 0)
      return state->disks->pdata[i];
  return NULL;
}

typedef struct {
  const char *bitmap, *parent;
  bool newest, merged;
} Fold;

/* In a session of its own. */
static gboolean
fold_bitmap (BkOfflineBackend *self, const BkDisk *disk, Fold *fold, GError **error)
{
  static const char node[] = "bkd-w";
  json_object *actions = bk_qmp_sweep_fold (disk, node, fold->bitmap, fold->parent, fold->newest, &fold->merged);
  if (actions == NULL)
    return TRUE;
  g_autofree char *name = bk_offline_writing_name (self);
  BkQmpBackend *session = bk_offline_session_start (self, name, NULL, error);
  if (session == NULL) {
    json_object_put (actions);
    return FALSE;
  }
  gboolean ok = bk_offline_write (self, session, node, disk->format, disk->path, actions, error);
  bk_offline_session_end (self, name, true);
  return ok;
}

static BkVmState *
look_again (BkOfflineBackend *self, GError **error)
{
  g_autoptr (GError) why = g_error_new_literal (BK_ERROR, BK_ERROR_UNREACHABLE, "nobody answers");
  return bk_offline_look (self, why, NULL, error);
}

gboolean
bk_offline_rollback (BkOfflineBackend *self, BkRun *run, bool all, GError **error)
{
  g_autoptr (BkVmState) state = look_again (self, error);
  if (state == NULL)
    return FALSE;
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *planned = disk_at (run, i);
    const BkDisk *disk = disk_by_name (state, planned->name);
    Fold fold = { planned->bitmap, planned->parent_bitmap, true, false };
    if (disk == NULL || planned->bitmap == NULL || !(all || bk_run_disk_has_failed (planned)))
      continue;
    if (!fold_bitmap (self, disk, &fold, error))
      return prefix_disk (planned, error);
  }
  return TRUE;
}

gboolean
bk_offline_checkpoint_create (BkOfflineBackend *self, BkRun *run, GError **error)
{
  g_autofree char *name = bk_offline_writing_name (self);
  BkQmpBackend *session = bk_offline_session_start (self, name, NULL, error);
  gboolean ok = session != NULL;
  for (unsigned i = 0; ok && i < run->disks->len; i++)
    ok = write_checkpoint (self, session, run, disk_at (run, i), error);
  run->point_in_time = g_get_real_time ();
  bk_offline_session_end (self, name, true);
  return ok;
}

gboolean
bk_offline_checkpoint_delete (BkOfflineBackend *self, const char *name, const char *bitmap, const char *parent, bool newest, bool *merged, GError **error)
{
  g_autoptr (BkVmState) state = look_again (self, error);
  Fold fold = { bitmap, parent, newest, false };
  *merged = false;
  if (state == NULL)
    return FALSE;
  const BkDisk *disk = disk_by_name (state, name);
  if (disk && !fold_bitmap (self, disk, &fold, error))
    return FALSE;
  *merged = fold.merged;
  return TRUE;
}
