/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-backend-private.h"

#include "pid.h"

#include <string.h>

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

static bool
qmp_is_off (BkBackend *backend)
{
  return bk_qmp_client_is_refused (((BkQmpBackend *)backend)->client);
}

/* Of a file that QEMU was told by a path of its own folder. NULL for what is no file. (transfer full) */
static char *
absolute_path (const char *file, pid_t pid)
{
  if (g_path_is_absolute (file))
    return g_str_has_prefix (file, "/dev/fdset/") ? NULL : g_strdup (file);
  g_autofree char *link = g_strdup_printf ("/proc/%d/cwd", (int)pid);
  g_autofree char *folder = *file == '\0' || strchr (file, ':') || pid <= 0 ? NULL : g_file_read_link (link, NULL);
  return folder ? g_build_filename (folder, file, NULL) : NULL;
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
  if (state->disks == NULL || !bk_qmp_backend_add_iothreads (self, state->disks, cancellable, error))
    return NULL;
  state->version = bk_qmp_client_version (self->client);
  state->snapshot_push = features.snapshot_push;
  state->no_pull = bk_qmp_pull_obstacle (&features);
  state->pull = state->no_pull == NULL;
  pid_t pid = bk_qmp_client_peer_pid (self->client);
  state->process = bk_pid_identity (pid);
  for (unsigned i = 0; i < state->disks->len; i++) {
    BkDisk *disk = state->disks->pdata[i];
    disk->no_pull = state->pull ? bk_qmp_pull_disk_obstacle (&features, state->status, pid, disk) : NULL;
    disk->path = absolute_path (disk->file, pid);
  }
  return g_steal_pointer (&state);
}

static const BkBackendOps qmp_ops = {
  .name = "qmp",
  .connect = qmp_connect,
  .disconnect = qmp_disconnect,
  .free = qmp_free,
  .link = qmp_link,
  .is_off = qmp_is_off,
  .inspect = qmp_inspect,
  .try_scratch = bk_qmp_push_try_scratch,
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
