/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What all parts of the QMP backend need: the sockets of targets, the replies about the block graph, and whether
 * QEMU is there.
 */
#include "qmp-backend-private.h"

#include "nbd-uri.h"
#include "pid.h"

#include <signal.h>
#include <string.h>

/* A VM that is just being reconnected to is worth a short wait, one that is off is not. */
#define READY_TIMEOUT_MS 5000
#define OFF_TIMEOUT_MS 500 /* its next QEMU may listen already */

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
  if (self->storage_daemon) { /* it has nothing else to do */
    kill (bk_qmp_client_peer_pid (self->client), SIGKILL);
    return;
  }
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

gboolean
bk_qmp_backend_add_iothreads (BkQmpBackend *self, GPtrArray *disks, GCancellable *cancellable, GError **error)
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

/* Or nobody has listened so far. */
static bool
seems_off (BkQmpBackend *self)
{
  return bk_qmp_backend_vm_has_ended (self) || bk_qmp_client_is_refused (self->client);
}

gboolean
bk_qmp_backend_wait_ready (BkQmpBackend *self, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) off = NULL;
  if (!seems_off (self) || bk_qmp_client_wait_ready (self->client, OFF_TIMEOUT_MS, cancellable, &off))
    return bk_qmp_client_wait_ready (self->client, READY_TIMEOUT_MS, cancellable, error);
  if (!seems_off (self)) /* another one is connecting */
    return bk_qmp_client_wait_ready (self->client, READY_TIMEOUT_MS, cancellable, error);
  g_propagate_error (error, g_steal_pointer (&off));
  return FALSE;
}
