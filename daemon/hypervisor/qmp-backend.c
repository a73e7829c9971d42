/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-backend-private.h"

#include "nbd-uri.h"
#include "pid.h"

#include <string.h>

/* A VM that is just being reconnected to is worth a short wait, one that is off is not. */
#define READY_TIMEOUT_MS 5000
#define OFF_TIMEOUT_MS 500 /* its next QEMU may listen already */

static BkLink
link_of (BkQmpState state)
{
  switch (state) {
  case BK_QMP_READY:
    return BK_LINK_READY;
  case BK_QMP_BUSY:
    return BK_LINK_BUSY;
  case BK_QMP_CONNECTING:
    return BK_LINK_CONNECTING;
  case BK_QMP_DOWN:
    return BK_LINK_DOWN;
  }
  g_assert_not_reached ();
}

static void
tell (BkQmpBackend *self, BkLink link, const char *event)
{
  if (self->base.notify)
    self->base.notify (&self->base, link, event, self->base.notify_data);
}

static void
on_state (BkQmpClient *client G_GNUC_UNUSED, BkQmpState state, gpointer user_data)
{
  tell (user_data, link_of (state), NULL);
}

static void
on_event (BkQmpClient *client, const char *name, json_object *data G_GNUC_UNUSED, gpointer user_data)
{
  tell (user_data, link_of (bk_qmp_client_state (client)), name);
}

static void
qmp_connect (BkBackend *backend)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  bk_qmp_client_set_notify (self->client, on_state, on_event, self);
  bk_qmp_client_start (self->client);
}

static void
qmp_disconnect (BkBackend *backend)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  bk_qmp_client_set_notify (self->client, NULL, NULL, NULL);
  bk_qmp_client_stop (self->client);
}

static void
qmp_free (BkBackend *backend)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  bk_qmp_client_unref (self->client);
  g_mutex_clear (&self->graph);
  g_mutex_clear (&self->sockets_lock);
  g_hash_table_unref (self->sockets);
  g_free (self);
}

static BkLink
qmp_link (BkBackend *backend, char **reason, char **version)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  if (reason)
    *reason = bk_qmp_client_reason (self->client);
  if (version)
    *version = bk_qmp_client_version (self->client);
  return link_of (bk_qmp_client_state (self->client));
}

void
bk_qmp_backend_keep_socket (BkQmpBackend *self, const char *node, GSocketConnection *connection)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->sockets_lock);
  g_hash_table_insert (self->sockets, g_strdup (node), connection);
}

static gboolean
is_of_run (gpointer node, gpointer connection G_GNUC_UNUSED, gpointer prefix)
{
  return g_str_has_prefix (node, prefix);
}

void
bk_qmp_backend_drop_sockets (BkQmpBackend *self, const BkRun *run)
{
  g_autofree char *prefix = g_strconcat (run->prefix, "-", NULL);
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->sockets_lock);
  g_hash_table_foreach_remove (self->sockets, is_of_run, prefix);
}

static void
shut_down (gpointer node, gpointer connection, gpointer prefix)
{
  if (is_of_run (node, connection, prefix))
    bk_nbd_cut (connection);
}

void
bk_qmp_backend_cut_targets (BkQmpBackend *self, const BkRun *run, const char *why)
{
  g_autofree char *targets = g_strconcat (run->prefix, "-t", NULL);
  g_autoptr (GError) error = NULL;
  g_warning ("%s: %s; closing its NBD targets", run->prefix, why);
  g_mutex_lock (&self->sockets_lock);
  g_hash_table_foreach (self->sockets, shut_down, targets);
  g_mutex_unlock (&self->sockets_lock);
  /* For those that an earlier daemon opened. */
  if (!bk_qmp_yank_nodes (self->client, targets, &error))
    g_warning ("%s: %s", run->prefix, error->message);
}

void
bk_qmp_graph_clear (BkQmpGraph *graph)
{
  g_clear_pointer (&graph->replies.block, json_object_put);
  g_clear_pointer (&graph->replies.nodes, json_object_put);
  g_clear_pointer (&graph->replies.blockstats, json_object_put);
  g_clear_pointer (&graph->replies.jobs, json_object_put);
}

gboolean
bk_qmp_graph_fetch (BkQmpBackend *self, BkQmpGraph *graph, GCancellable *cancellable, GError **error)
{
  bk_qmp_graph_clear (graph);
  return bk_qmp_query (self->client, BK_QMP_QUERY_JOBS, &graph->replies.jobs, cancellable, error) &&
         bk_qmp_query (self->client, BK_QMP_QUERY_BLOCK, &graph->replies.block, cancellable, error) &&
         bk_qmp_query_nodes (self->client, &graph->replies.nodes, cancellable, error) &&
         bk_qmp_query (self->client, BK_QMP_QUERY_BLOCKSTATS, &graph->replies.blockstats, cancellable, error);
}

/* The device object of "/machine/peripheral/vda/virtio-backend" is "/machine/peripheral/vda". */
static char *
device_path (const char *qdev)
{
  static const char tail[] = "/virtio-backend";
  if (g_str_has_suffix (qdev, tail))
    return g_strndup (qdev, strlen (qdev) - strlen (tail));
  return qdev[0] == '/' ? g_strdup (qdev) : g_strconcat ("/machine/peripheral/", qdev, NULL);
}

static gboolean
has_iothreads (BkQmpBackend *self, bool *has, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) iothreads = NULL;
  if (!bk_qmp_query (self->client, BK_QMP_QUERY_IOTHREADS, &iothreads, cancellable, error))
    return FALSE;
  *has = json_object_is_type (iothreads, json_type_array) && json_object_array_length (iothreads) > 0;
  return TRUE;
}

/* A virtio-blk device has its own; a disk on a bus ("/machine/peripheral/scsi0/virtio-backend/scsi0.0") that of the
 * controller, which is above the bus in the tree. */
static gboolean
iothread_of (BkQmpBackend *self, const char *qdev, char **iothread, GCancellable *cancellable, GError **error)
{
  g_autofree char *device = device_path (qdev);
  g_autofree char *path = NULL;
  if (!bk_qmp_qom_get_string (self->client, device, "iothread", iothread, cancellable, error))
    return FALSE;
  if (*iothread != NULL)
    return TRUE;
  if (!bk_qmp_qom_get_string (self->client, device, "parent_bus", &path, cancellable, error))
    return FALSE;
  for (char *slash = path ? strrchr (path, '/') : NULL; slash != NULL && slash != path && *iothread == NULL; slash = strrchr (path, '/')) {
    *slash = '\0';
    if (!bk_qmp_qom_get_string (self->client, path, "iothread", iothread, cancellable, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
bk_qmp_backend_find_iothread (BkQmpBackend *self, const char *qdev, char **iothread, GCancellable *cancellable, GError **error)
{
  bool has = false;
  *iothread = NULL;
  return has_iothreads (self, &has, cancellable, error) && (!has || iothread_of (self, qdev, iothread, cancellable, error));
}

static gboolean
add_iothreads (BkQmpBackend *self, GPtrArray *disks, GCancellable *cancellable, GError **error)
{
  bool has = false;
  if (!has_iothreads (self, &has, cancellable, error))
    return FALSE;
  for (unsigned i = 0; has && i < disks->len; i++) {
    BkDisk *disk = disks->pdata[i];
    if (*disk->qdev && !iothread_of (self, disk->qdev, &disk->iothread, cancellable, error))
      return FALSE;
  }
  return TRUE;
}

bool
bk_qmp_backend_vm_has_ended (BkQmpBackend *self)
{
  pid_t pid = bk_qmp_client_peer_pid (self->client);
  return pid > 0 && bk_qmp_client_state (self->client) != BK_QMP_READY && bk_pid_has_ended (pid);
}

gboolean
bk_qmp_backend_wait_ready (BkQmpBackend *self, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) off = NULL;
  if (!bk_qmp_backend_vm_has_ended (self) || bk_qmp_client_wait_ready (self->client, OFF_TIMEOUT_MS, cancellable, &off))
    return bk_qmp_client_wait_ready (self->client, READY_TIMEOUT_MS, cancellable, error);
  if (!bk_qmp_backend_vm_has_ended (self)) /* another one is connecting */
    return bk_qmp_client_wait_ready (self->client, READY_TIMEOUT_MS, cancellable, error);
  g_propagate_error (error, g_steal_pointer (&off));
  return FALSE;
}

static BkVmState *
qmp_inspect (BkBackend *backend, GCancellable *cancellable, GError **error)
{
  BkQmpBackend *self = (BkQmpBackend *)backend;
  g_autoptr (BkVmState) state = g_new0 (BkVmState, 1);
  g_auto (BkQmpGraph) graph = { 0 };
  BkQmpFeatures features;
  if (!bk_qmp_backend_wait_ready (self, cancellable, error) ||
      !bk_qmp_features (self->client, &features, cancellable, error) ||
      !bk_qmp_query_status (self->client, &state->status, cancellable, error) ||
      !bk_qmp_graph_fetch (self, &graph, cancellable, error))
    return NULL;
  state->disks = bk_block_graph_disks (&graph.replies, error);
  if (state->disks == NULL || !add_iothreads (self, state->disks, cancellable, error))
    return NULL;
  state->version = bk_qmp_client_version (self->client);
  state->snapshot_push = features.snapshot_push;
  state->no_pull = bk_qmp_pull_obstacle (&features);
  state->pull = state->no_pull == NULL;
  for (unsigned i = 0; state->pull && i < state->disks->len; i++) {
    BkDisk *disk = state->disks->pdata[i];
    disk->no_pull = bk_qmp_pull_disk_obstacle (&features, state->status, bk_qmp_client_peer_pid (self->client), disk);
  }
  return g_steal_pointer (&state);
}

static const BkBackendOps qmp_ops = {
  .name = "qmp",
  .connect = qmp_connect,
  .disconnect = qmp_disconnect,
  .free = qmp_free,
  .link = qmp_link,
  .inspect = qmp_inspect,
  .prepare = bk_qmp_push_prepare,
  .snapshot = bk_qmp_push_snapshot,
  .start = bk_qmp_push_start,
  .wait = bk_qmp_copy_wait,
  .pause = bk_qmp_copy_pause,
  .set_speed = bk_qmp_copy_set_speed,
  .close = bk_qmp_copy_close,
  .export = bk_qmp_pull_export,
  .check_frozen = bk_qmp_pull_check_frozen,
  .release = bk_qmp_sweep_release,
  .rollback = bk_qmp_sweep_rollback,
  .checkpoint_create = bk_qmp_sweep_checkpoint_create,
  .checkpoint_delete = bk_qmp_sweep_checkpoint_delete,
};

BkBackend *
bk_qmp_backend_new (const char *socket_path)
{
  BkQmpBackend *self = g_new0 (BkQmpBackend, 1);
  self->base.ops = &qmp_ops;
  self->client = bk_qmp_client_new (socket_path);
  g_mutex_init (&self->graph);
  g_mutex_init (&self->sockets_lock);
  self->sockets = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_object_unref);
  return &self->base;
}
