/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-commands.h"

#include "qmp-json.h"

#define NBD_OPEN_TIMEOUT_S 10
/* The time a guest's write may wait for the scratch before the snapshot is given up instead. */
#define CBW_TIMEOUT_S 30

/* --- batches --- */

BkQmpCall
bk_qmp_call_stop (void)
{
  return (BkQmpCall){ .name = "stop", .fd = -1 };
}

BkQmpCall
bk_qmp_call_cont (void)
{
  return (BkQmpCall){ .name = "cont", .fd = -1 };
}

/* query-block names a device by its ID or, when it has none, by its QOM path. An ID alone is a QOM path too, but
 * an ambiguous one for nvme, whose bus has the same name. */
static char *
device_path (const char *qdev)
{
  return *qdev == '/' ? g_strdup (qdev) : g_strconcat ("/machine/peripheral/", qdev, NULL);
}

static json_object *
drive_arguments (const char *qdev, const char *node)
{
  g_autofree char *path = device_path (qdev);
  json_object *arguments = bk_qmp_object ("path", path);
  bk_qmp_set_string (arguments, "property", "drive");
  bk_qmp_set_string (arguments, "value", node);
  return arguments;
}

BkQmpCall
bk_qmp_call_set_drive (const char *qdev, const char *node)
{
  return (BkQmpCall){ .name = "qom-set", .arguments = drive_arguments (qdev, node), .fd = -1 };
}

static json_object *
image_options (const BkQmpImage *image)
{
  json_object *options = bk_qmp_object ("driver", image->format);
  json_object *file = bk_qmp_object ("driver", image->device ? "host_device" : "file");
  bk_qmp_set_string (file, "filename", image->path);
  bk_qmp_set_string (options, "node-name", image->node);
  json_object_object_add (options, "file", file);
  bk_qmp_set_bool (options, "read-only", !image->writable);
  if (!image->writable)
    bk_qmp_set_bool (options, "force-share", true);
  else if (g_str_equal (image->format, "qcow2"))
    json_object_object_add (options, "backing", NULL);
  return options;
}

BkQmpCall
bk_qmp_call_add_image (const BkQmpImage *image)
{
  return (BkQmpCall){ .name = "blockdev-add", .arguments = image_options (image), .fd = -1 };
}

BkQmpCall
bk_qmp_call_del_node (const char *node)
{
  return (BkQmpCall){ .name = "blockdev-del", .arguments = bk_qmp_object ("node-name", node), .fd = -1 };
}

/* --- queries --- */

gboolean
bk_qmp_query (BkQmpClient *client, const char *command, json_object **result, GCancellable *cancellable, GError **error)
{
  return bk_qmp_client_call (client, command, NULL, result, cancellable, error);
}

/* QEMU 7.2 crashes in query-named-block-nodes while a block-stream job is concluded and not dismissed. */
static gboolean
check_no_dead_stream (BkQmpClient *client, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) jobs = NULL;
  if (!bk_qmp_ask (client, BK_QMP_QUERY_JOBS, NULL, json_type_array, &jobs, cancellable, error))
    return FALSE;
  for (size_t i = 0; i < json_object_array_length (jobs); i++) {
    json_object *job = json_object_array_get_idx (jobs, i);
    if (g_strcmp0 (bk_qmp_get_string (job, "type"), "stream") != 0 || g_strcmp0 (bk_qmp_get_string (job, "status"), "concluded") != 0)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "block-stream job '%s' has concluded and must be dismissed by who started it",
                 bk_qmp_get_string (job, "id"));
    return FALSE;
  }
  return TRUE;
}

gboolean
bk_qmp_query_nodes (BkQmpClient *client, json_object **result, GCancellable *cancellable, GError **error)
{
  if (!check_no_dead_stream (client, cancellable, error))
    return FALSE;
  json_object *arguments = json_object_new_object ();
  bk_qmp_set_bool (arguments, "flat", true);
  return bk_qmp_client_call (client, "query-named-block-nodes", arguments, result, cancellable, error);
}

gboolean
bk_qmp_query_size (BkQmpClient *client, const char *node, uint64_t *size, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) nodes = NULL;
  if (!bk_qmp_query_nodes (client, &nodes, cancellable, error))
    return FALSE;
  size_t n = json_object_is_type (nodes, json_type_array) ? json_object_array_length (nodes) : 0;
  for (size_t i = 0; i < n; i++) {
    json_object *entry = json_object_array_get_idx (nodes, i), *image = NULL;
    if (g_strcmp0 (bk_qmp_get_string (entry, "node-name"), node) != 0 || !json_object_object_get_ex (entry, "image", &image))
      continue;
    *size = bk_qmp_get_uint (image, "virtual-size");
    return TRUE;
  }
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "no node '%s'", node);
  return FALSE;
}

gboolean
bk_qmp_query_status (BkQmpClient *client, char **status, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) result = NULL;
  if (!bk_qmp_ask (client, "query-status", NULL, json_type_object, &result, cancellable, error))
    return FALSE;
  const char *word = bk_qmp_get_string (result, "status");
  *status = g_strdup (word ? word : "unknown");
  return TRUE;
}

gboolean
bk_qmp_qom_get_string (BkQmpClient *client, const char *path, const char *property, char **value,
                       GCancellable *cancellable, GError **error)
{
  *value = NULL;
  g_autofree char *full = device_path (path);
  json_object *arguments = bk_qmp_object ("path", full);
  bk_qmp_set_string (arguments, "property", property);
  g_autoptr (json_object) result = NULL;
  g_autoptr (GError) local = NULL;
  if (!bk_qmp_client_call (client, "qom-get", arguments, &result, cancellable, &local)
      && !g_error_matches (local, BK_ERROR, BK_ERROR_FAILED)) {
    g_propagate_error (error, g_steal_pointer (&local));
    return FALSE;
  }
  if (json_object_is_type (result, json_type_string) && json_object_get_string_len (result) > 0)
    *value = g_strdup (json_object_get_string (result));
  return TRUE;
}

/* --- VM --- */

gboolean
bk_qmp_cont (BkQmpClient *client, GCancellable *cancellable, GError **error)
{
  return bk_qmp_run (client, "cont", NULL, cancellable, error);
}

gboolean
bk_qmp_set_drive (BkQmpClient *client, const char *qdev, const char *node, GCancellable *cancellable, GError **error)
{
  return bk_qmp_run (client, "qom-set", drive_arguments (qdev, node), cancellable, error);
}

/* --- file descriptors --- */

gboolean
bk_qmp_add_fd (BkQmpClient *client, int fd, const char *opaque, int64_t *fdset, GCancellable *cancellable,
               GError **error)
{
  BkQmpCall call = { .name = "add-fd", .arguments = bk_qmp_object ("opaque", opaque), .fd = fd };
  g_autoptr (json_object) result = NULL;
  if (!bk_qmp_run_call (client, &call, &result, cancellable, error))
    return FALSE;
  *fdset = (int64_t)bk_qmp_get_uint (result, "fdset-id");
  return TRUE;
}

gboolean
bk_qmp_remove_fd (BkQmpClient *client, int64_t fdset, GCancellable *cancellable, GError **error)
{
  json_object *arguments = json_object_new_object ();
  json_object_object_add (arguments, "fdset-id", json_object_new_int64 (fdset));
  return bk_qmp_run (client, "remove-fd", arguments, cancellable, error);
}

static bool
is_fdset_of (json_object *fdset, const char *prefix)
{
  json_object *fds = bk_qmp_get_array (fdset, "fds");
  for (size_t i = 0; fds && i < json_object_array_length (fds); i++) {
    const char *opaque = bk_qmp_get_string (json_object_array_get_idx (fds, i), "opaque");
    if (opaque && g_str_has_prefix (opaque, prefix))
      return true;
  }
  return false;
}

gboolean
bk_qmp_remove_fds_of (BkQmpClient *client, const char *prefix, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) fdsets = NULL;
  if (!bk_qmp_ask (client, "query-fdsets", NULL, json_type_array, &fdsets, cancellable, error))
    return FALSE;
  for (size_t i = 0; i < json_object_array_length (fdsets); i++) {
    json_object *fdset = json_object_array_get_idx (fdsets, i);
    if (is_fdset_of (fdset, prefix) && !bk_qmp_remove_fd (client, (int64_t)bk_qmp_get_uint (fdset, "fdset-id"), cancellable, error))
      return FALSE;
  }
  return TRUE;
}

/* --- nodes --- */

/* Options that every node has. */
static json_object *
node_options (const char *driver, const char *node, unsigned flags)
{
  json_object *options = bk_qmp_object ("driver", driver);
  bk_qmp_set_string (options, "node-name", node);
  if (flags & BK_QMP_READ_ONLY)
    bk_qmp_set_bool (options, "read-only", true);
  if (flags & BK_QMP_DETECT_ZEROES)
    bk_qmp_set_string (options, "detect-zeroes", "on");
  if ((flags & (BK_QMP_CACHE_NO_FLUSH | BK_QMP_CACHE_DIRECT)) == 0)
    return options;
  json_object *cache = json_object_new_object ();
  if (flags & BK_QMP_CACHE_NO_FLUSH)
    bk_qmp_set_bool (cache, "no-flush", true);
  if (flags & BK_QMP_CACHE_DIRECT)
    bk_qmp_set_bool (cache, "direct", true);
  json_object_object_add (options, "cache", cache);
  return options;
}

static gboolean
add_node (BkQmpClient *client, json_object *options, GCancellable *cancellable, GError **error)
{
  return bk_qmp_run (client, "blockdev-add", options, cancellable, error);
}

gboolean
bk_qmp_add_file (BkQmpClient *client, const char *driver, const char *node, const char *filename, unsigned flags,
                 GCancellable *cancellable, GError **error)
{
  json_object *options = node_options (driver, node, flags);
  bk_qmp_set_string (options, "filename", filename);
  return add_node (client, options, cancellable, error);
}

static json_object *
format_options (const char *driver, const char *node, const char *file, unsigned flags)
{
  json_object *options = node_options (driver, node, flags);
  bk_qmp_set_string (options, "file", file);
  if (g_str_equal (driver, "qcow2"))
    json_object_object_add (options, "backing", NULL);
  return options;
}

gboolean
bk_qmp_add_format (BkQmpClient *client, const char *driver, const char *node, const char *file, unsigned flags,
                   GCancellable *cancellable, GError **error)
{
  return add_node (client, format_options (driver, node, file, flags), cancellable, error);
}

gboolean
bk_qmp_add_raw (BkQmpClient *client, const char *node, const char *file, uint64_t size, unsigned flags,
                GCancellable *cancellable, GError **error)
{
  json_object *options = format_options ("raw", node, file, flags);
  bk_qmp_set_uint (options, "size", size);
  return add_node (client, options, cancellable, error);
}

gboolean
bk_qmp_add_nbd (BkQmpClient *client, const char *node, int socket, const char *export_name, unsigned flags,
                GCancellable *cancellable, GError **error)
{
  BkQmpCall call = { .name = "getfd", .arguments = bk_qmp_object ("fdname", node), .fd = socket };
  if (!bk_qmp_run_call (client, &call, NULL, cancellable, error))
    return FALSE;
  json_object *options = node_options ("nbd", node, flags);
  json_object *server = bk_qmp_object ("type", "fd");
  bk_qmp_set_string (server, "str", node);
  json_object_object_add (options, "server", server);
  bk_qmp_set_string (options, "export", export_name);
  /* Without it QEMU's main loop, and so the guest, waits for ever for a server that does not speak. */
  bk_qmp_set_uint (options, "open-timeout", NBD_OPEN_TIMEOUT_S);
  return add_node (client, options, cancellable, error);
}

static json_object *
nbd_server (const char *path, const char *host, unsigned port)
{
  g_autofree char *number = g_strdup_printf ("%u", port);
  json_object *server = bk_qmp_object ("type", path ? "unix" : "inet");
  bk_qmp_set_string (server, "path", path);
  if (path)
    return server;
  bk_qmp_set_string (server, "host", host);
  bk_qmp_set_string (server, "port", number);
  return server;
}

gboolean
bk_qmp_add_nbd_at (BkQmpClient *client, const char *node, const char *path, const char *host, unsigned port, const char *export_name,
                   GCancellable *cancellable, GError **error)
{
  json_object *options = node_options ("nbd", node, 0);
  json_object_object_add (options, "server", nbd_server (path, host, port));
  bk_qmp_set_string (options, "export", export_name);
  bk_qmp_set_uint (options, "open-timeout", NBD_OPEN_TIMEOUT_S);
  return add_node (client, options, cancellable, error);
}

gboolean
bk_qmp_add_image (BkQmpClient *client, const BkQmpImage *image, GCancellable *cancellable, GError **error)
{
  return add_node (client, image_options (image), cancellable, error);
}

BkQmpCall
bk_qmp_call_add_filter (const char *node, const char *file, const char *scratch)
{
  json_object *options = node_options ("copy-before-write", node, 0);
  bk_qmp_set_string (options, "file", file);
  bk_qmp_set_string (options, "target", scratch);
  bk_qmp_set_string (options, "on-cbw-error", "break-snapshot");
  bk_qmp_set_uint (options, "cbw-timeout", CBW_TIMEOUT_S);
  return (BkQmpCall){ .name = "blockdev-add", .arguments = options, .fd = -1 };
}

BkQmpCall
bk_qmp_call_add_snapshot (const char *node, const char *filter)
{
  json_object *options = node_options ("snapshot-access", node, 0);
  bk_qmp_set_string (options, "file", filter);
  return (BkQmpCall){ .name = "blockdev-add", .arguments = options, .fd = -1 };
}

gboolean
bk_qmp_add_filter (BkQmpClient *client, const char *node, const char *file, const char *scratch,
                   GCancellable *cancellable, GError **error)
{
  BkQmpCall call = bk_qmp_call_add_filter (node, file, scratch);
  return bk_qmp_run_call (client, &call, NULL, cancellable, error);
}

gboolean
bk_qmp_add_snapshot (BkQmpClient *client, const char *node, const char *filter, GCancellable *cancellable,
                     GError **error)
{
  BkQmpCall call = bk_qmp_call_add_snapshot (node, filter);
  return bk_qmp_run_call (client, &call, NULL, cancellable, error);
}

gboolean
bk_qmp_reopen_read_only (BkQmpClient *client, const char *driver, const char *node, const char *file, unsigned flags,
                         GCancellable *cancellable, GError **error)
{
  json_object *options = json_object_new_array ();
  json_object_array_add (options, format_options (driver, node, file, flags | BK_QMP_READ_ONLY));
  json_object *arguments = json_object_new_object ();
  json_object_object_add (arguments, "options", options);
  return bk_qmp_run (client, "blockdev-reopen", arguments, cancellable, error);
}

gboolean
bk_qmp_del_node (BkQmpClient *client, const char *node, GCancellable *cancellable, GError **error)
{
  return bk_qmp_run (client, "blockdev-del", bk_qmp_object ("node-name", node), cancellable, error);
}

gboolean
bk_qmp_del_node_within (BkQmpClient *client, const char *node, unsigned timeout_ms, GError **error)
{
  BkQmpCall call = { .name = "blockdev-del", .arguments = bk_qmp_object ("node-name", node), .fd = -1 };
  gboolean ok = bk_qmp_client_call_all (client, &call, 1, timeout_ms, NULL, error);
  if (ok && call.error) {
    g_propagate_error (error, g_steal_pointer (&call.error));
    ok = FALSE;
  }
  bk_qmp_call_clear (&call);
  return ok;
}

/* --- out of band --- */

static gboolean
call_oob (BkQmpClient *client, const char *name, json_object *arguments, json_object **result, GError **error)
{
  BkQmpCall call = { .name = name, .arguments = arguments, .fd = -1, .oob = TRUE };
  return bk_qmp_run_call (client, &call, result, NULL, error);
}

/* The entries of query-yank that are nodes with @prefix. (transfer full) */
static json_object *
yankable_nodes (json_object *list, const char *prefix)
{
  json_object *instances = json_object_new_array ();
  size_t n = json_object_is_type (list, json_type_array) ? json_object_array_length (list) : 0;
  for (size_t i = 0; i < n; i++) {
    json_object *entry = json_object_array_get_idx (list, i);
    const char *type = bk_qmp_get_string (entry, "type");
    const char *node = bk_qmp_get_string (entry, "node-name");
    if (g_strcmp0 (type, "block-node") == 0 && node && g_str_has_prefix (node, prefix))
      json_object_array_add (instances, json_object_get (entry));
  }
  return instances;
}

gboolean
bk_qmp_yank_nodes (BkQmpClient *client, const char *prefix, GError **error)
{
  g_autoptr (json_object) list = NULL;
  if (!call_oob (client, "query-yank", NULL, &list, error))
    return FALSE;
  json_object *instances = yankable_nodes (list, prefix);
  if (json_object_array_length (instances) == 0) {
    json_object_put (instances);
    return TRUE;
  }
  json_object *arguments = json_object_new_object ();
  json_object_object_add (arguments, "instances", instances);
  return call_oob (client, "yank", arguments, NULL, error);
}
