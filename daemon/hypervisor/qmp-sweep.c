/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The way back: takes away what a run left in a QEMU, and gives dirty bits back. Looks at what is there and
 * not at what was done, so that success, failure, cancel and recovery after a crash share it. Touches only
 * names with the run's prefix, and the bitmaps that the run names.
 */
#include "qmp-backend-private.h"

#include <string.h>

/* A job is given so long to conclude after a cancel before its NBD targets are cut off, and as long again
 * after that. */
#define CANCEL_TIMEOUT_US (10 * G_USEC_PER_SEC)
#define CANCEL_POLL_MS 500

static gboolean
resume_guest (BkQmpBackend *self, BkRun *run, GError **error)
{
  g_autofree char *status = NULL;
  if (!run->stops_guest || !run->guest_running)
    return TRUE;
  if (!bk_qmp_query_status (self->client, &status, NULL, error))
    return FALSE;
  /* "paused" is what our stop leaves; any other state is somebody else's. */
  return strcmp (status, "paused") != 0 || bk_qmp_cont (self->client, NULL, error);
}

/* --- jobs --- */

/* Cancels what runs, dismisses what has concluded; *@left counts those that are neither yet. */
static gboolean
push_jobs_out (BkQmpBackend *self, const char *prefix, unsigned *left, GError **error)
{
  g_autoptr (GPtrArray) jobs = NULL;
  if (!bk_qmp_query_jobs_of (self->client, prefix, &jobs, NULL, error))
    return FALSE;
  *left = 0;
  for (unsigned i = 0; i < jobs->len; i++) {
    const BkQmpJob *job = jobs->pdata[i];
    g_autoptr (GError) ignored = NULL;
    bool concluded = strcmp (job->status, "concluded") == 0;
    gboolean ok = concluded ? bk_qmp_job_dismiss (self->client, job->id, NULL, &ignored)
                            : bk_qmp_job_cancel (self->client, job->id, NULL, &ignored);
    if (!ok)
      g_debug ("%s: %s", job->id, ignored->message);
    *left += !(concluded && ok);
  }
  return TRUE;
}

static gboolean
end_jobs (BkQmpBackend *self, const BkRun *run, GError **error)
{
  g_autofree char *prefix = g_strconcat (run->prefix, "-", NULL);
  g_autoptr (BkQmpWatch) watch = bk_qmp_watch_new (self->client, prefix);
  int64_t start = g_get_monotonic_time ();
  bool cut = false;
  for (;;) {
    unsigned left = 0;
    g_autoptr (GError) failure = NULL;
    gboolean ok = push_jobs_out (self, prefix, &left, &failure);
    if (ok && left == 0)
      return TRUE;
    int64_t waited = g_get_monotonic_time () - start;
    if (!ok && (cut || waited < CANCEL_TIMEOUT_US || bk_qmp_client_state (self->client) != BK_QMP_READY)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    if (waited > CANCEL_TIMEOUT_US && !cut) {
      cut = true;
      bk_qmp_backend_cut_targets (self, run, "a cancelled job does not end");
    } else if (waited > 2 * CANCEL_TIMEOUT_US) {
      g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "QEMU does not end the jobs of %s", run->prefix);
      return FALSE;
    }
    bk_qmp_watch_wait (watch, CANCEL_POLL_MS, NULL);
  }
}

/* --- nodes --- */

static gboolean
remove_temporary_bitmaps (BkQmpBackend *self, const BkRun *run, json_object *nodes, GError **error)
{
  g_autofree char *bitmap = g_strconcat (run->prefix, "-inc", NULL);
  g_autoptr (GPtrArray) all = bk_block_graph_nodes (nodes, "");
  for (unsigned i = 0; i < all->len; i++) {
    const BkNode *node = all->pdata[i];
    if (node->bitmaps && g_strv_contains ((const char *const *)node->bitmaps, bitmap) &&
        !bk_qmp_bitmap_remove (self->client, node->name, bitmap, NULL, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
remove_snapshots (BkQmpBackend *self, json_object *nodes, const char *prefix, GError **error)
{
  g_autoptr (GPtrArray) ours = bk_block_graph_nodes (nodes, prefix);
  for (unsigned i = 0; i < ours->len; i++) {
    const BkNode *node = ours->pdata[i];
    if (bk_node_is_snapshot (node) && !bk_qmp_del_node (self->client, node->name, NULL, error))
      return FALSE;
  }
  return TRUE;
}

/* What is below our filter now, not what was when it went in: others may have put an overlay there. */
static gboolean
swap_out_filters (BkQmpBackend *self, const BkBlockReplies *replies, const char *prefix, GError **error)
{
  g_autoptr (GPtrArray) filters = bk_block_graph_inserted (replies, prefix);
  for (unsigned i = 0; i < filters->len; i++) {
    const BkInsertedFilter *filter = filters->pdata[i];
    g_autofree char *qdev = bk_disk_qdev_path (filter->qdev);
    if (!bk_qmp_set_drive (self->client, qdev, filter->child, NULL, error)) {
      g_prefix_error (error, "cannot take the filter '%s' off again: ", filter->filter);
      return FALSE;
    }
  }
  return TRUE;
}

/* Children become free only when their parents have gone: repeat while something goes. */
static gboolean
remove_nodes (BkQmpBackend *self, const char *prefix, GError **error)
{
  for (;;) {
    unsigned removed = 0;
    g_autoptr (json_object) nodes = NULL;
    g_autoptr (GError) last = NULL;
    if (!bk_qmp_query_nodes (self->client, &nodes, NULL, error))
      return FALSE;
    g_autoptr (GPtrArray) ours = bk_block_graph_nodes (nodes, prefix);
    for (unsigned i = 0; i < ours->len; i++) {
      const BkNode *node = ours->pdata[i];
      g_clear_error (&last);
      removed += bk_qmp_del_node (self->client, node->name, NULL, &last);
    }
    if (removed == ours->len)
      return TRUE;
    if (removed == 0) {
      g_propagate_prefixed_error (error, g_steal_pointer (&last), "cannot remove the nodes of %s: ", prefix);
      return FALSE;
    }
  }
}

static gboolean
release (BkQmpBackend *self, BkRun *run, GError **error)
{
  g_autofree char *prefix = g_strconcat (run->prefix, "-", NULL);
  g_auto (BkQmpGraph) graph = { 0 };
  if (!resume_guest (self, run, error) || (bk_run_is_pull (run) && !bk_qmp_pull_end (self, run, error)) ||
      !end_jobs (self, run, error) || !bk_qmp_graph_fetch (self, &graph, NULL, error))
    return FALSE;
  return remove_temporary_bitmaps (self, run, graph.replies.nodes, error) &&
         remove_snapshots (self, graph.replies.nodes, prefix, error) &&
         swap_out_filters (self, &graph.replies, prefix, error) &&
         remove_nodes (self, prefix, error) &&
         /* Sets that nobody uses go only with the last monitor client; a scratch file takes its space till then. */
         bk_qmp_remove_fds_of (self->client, prefix, NULL, error);
}

gboolean
bk_qmp_sweep_release (BkBackend *backend, BkRun *run, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  if (!bk_qmp_backend_wait_ready (self, NULL, error)) {
    if (bk_run_is_pull (run))
      bk_qmp_pull_end_without_vm (run);
    return FALSE;
  }
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->graph);
  gboolean ok = release (self, run, error);
  bk_qmp_backend_drop_sockets (self, run);
  return ok;
}

/* --- bitmaps --- */

static GPtrArray *
fetch_disks (BkQmpBackend *self, GError **error)
{
  g_auto (BkQmpGraph) graph = { 0 };
  if (!bk_qmp_backend_wait_ready (self, NULL, error) ||
      !bk_qmp_graph_fetch (self, &graph, NULL, error))
    return NULL;
  return bk_block_graph_disks (&graph.replies, error);
}

static const BkDisk *
disk_by_name (GPtrArray *disks, const char *name)
{
  for (unsigned i = 0; i < disks->len; i++)
    if (strcmp (((const BkDisk *)disks->pdata[i])->name, name) == 0)
      return disks->pdata[i];
  return NULL;
}

json_object *
bk_qmp_sweep_fold (const BkDisk *disk, const char *node, const char *bitmap, const char *parent, bool newest, bool *merged)
{
  *merged = false;
  const BkBitmap *found = bk_disk_find_bitmap (disk, bitmap);
  const BkBitmap *into = parent ? bk_disk_find_bitmap (disk, parent) : NULL;
  if (found == NULL)
    return NULL;
  json_object *actions = json_object_new_array ();
  if (into && !into->inconsistent && !found->inconsistent) {
    const char *const sources[] = { bitmap, NULL };
    bk_qmp_action_bitmap_merge (actions, node, parent, node, sources);
    if (newest && found->recording)
      bk_qmp_action_bitmap_enable (actions, node, parent);
    *merged = true;
  }
  bk_qmp_action_bitmap_remove (actions, node, bitmap);
  return actions;
}

static gboolean
fold_bitmap (BkQmpBackend *self, const BkDisk *disk, const char *bitmap, const char *parent, bool newest, bool *merged, GError **error)
{
  json_object *actions = bk_qmp_sweep_fold (disk, disk->node, bitmap, parent, newest, merged);
  return actions == NULL || bk_qmp_transaction (self->client, actions, NULL, error);
}

gboolean
bk_qmp_sweep_rollback (BkBackend *backend, BkRun *run, bool all, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->graph);
  g_autoptr (GPtrArray) disks = fetch_disks (self, error);
  if (disks == NULL)
    return FALSE;
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *planned = run->disks->pdata[i];
    const BkDisk *disk = disk_by_name (disks, planned->name);
    bool merged = false;
    if (disk == NULL || planned->bitmap == NULL || !(all || bk_run_disk_has_failed (planned)))
      continue;
    if (!fold_bitmap (self, disk, planned->bitmap, planned->parent_bitmap, true, &merged, error)) {
      g_prefix_error (error, "disk %s: ", planned->name);
      return FALSE;
    }
  }
  return TRUE;
}

gboolean
bk_qmp_sweep_checkpoint_create (BkBackend *backend, BkRun *run, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->graph);
  g_autoptr (json_object) actions = json_object_new_array ();
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    if (disk->bitmap == NULL)
      continue;
    bk_qmp_action_bitmap_add (actions, disk->node, disk->bitmap, disk->persistent, false);
    if (disk->parent_bitmap)
      bk_qmp_action_bitmap_disable (actions, disk->node, disk->parent_bitmap);
  }
  run->point_in_time = g_get_real_time ();
  return bk_qmp_transaction (self->client, g_steal_pointer (&actions), NULL, error);
}

gboolean
bk_qmp_sweep_checkpoint_delete (BkBackend *backend, const char *name, const char *bitmap, const char *parent, bool newest, bool *merged, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->graph);
  g_autoptr (GPtrArray) disks = fetch_disks (self, error);
  if (disks == NULL)
    return FALSE;
  const BkDisk *disk = disk_by_name (disks, name);
  *merged = false;
  return disk == NULL || fold_bitmap (self, disk, bitmap, parent, newest, merged, error);
}
