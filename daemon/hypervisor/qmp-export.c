/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-export.h"

#include "qmp-commands.h"
#include "qmp-json.h"

void
bk_qmp_export_free (BkQmpExport *export)
{
  if (export == NULL)
    return;
  g_free (export->id);
  g_free (export->type);
  g_free (export->node);
  g_free (export);
}

GPtrArray *
bk_qmp_exports_read (json_object *reply)
{
  GPtrArray *exports = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_qmp_export_free);
  size_t n = json_object_is_type (reply, json_type_array) ? json_object_array_length (reply) : 0;
  for (size_t i = 0; i < n; i++) {
    json_object *entry = json_object_array_get_idx (reply, i);
    const char *id = bk_qmp_get_string (entry, "id");
    const char *type = bk_qmp_get_string (entry, "type");
    const char *node = bk_qmp_get_string (entry, "node-name");
    if (id == NULL || type == NULL || node == NULL)
      continue;
    BkQmpExport *export = g_new0 (BkQmpExport, 1);
    export->id = g_strdup (id);
    export->type = g_strdup (type);
    export->node = g_strdup (node);
    export->shutting_down = bk_qmp_get_bool (entry, "shutting-down");
    g_ptr_array_add (exports, export);
  }
  return exports;
}

gboolean
bk_qmp_query_exports (BkQmpClient *client, GPtrArray **exports, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) reply = NULL;
  if (!bk_qmp_ask (client, BK_QMP_QUERY_EXPORTS, NULL, json_type_array, &reply, cancellable, error))
    return FALSE;
  *exports = bk_qmp_exports_read (reply);
  return TRUE;
}

/* --- the NBD server --- */

gboolean
bk_qmp_nbd_server_start (BkQmpClient *client, int fd, const char *name, GCancellable *cancellable, GError **error)
{
  BkQmpCall call = { .name = "getfd", .arguments = bk_qmp_object ("fdname", name), .fd = fd };
  if (!bk_qmp_run_call (client, &call, NULL, cancellable, error))
    return FALSE;
  json_object *address = bk_qmp_object ("type", "fd");
  json_object_object_add (address, "data", bk_qmp_object ("str", name));
  json_object *arguments = json_object_new_object ();
  json_object_object_add (arguments, "addr", address);
  bk_qmp_set_uint (arguments, "max-connections", 0); /* no limit: the socket is only for us */
  return bk_qmp_run (client, "nbd-server-start", arguments, cancellable, error);
}

gboolean
bk_qmp_nbd_server_start_at (BkQmpClient *client, const char *path, GCancellable *cancellable, GError **error)
{
  json_object *address = bk_qmp_object ("type", "unix");
  json_object_object_add (address, "data", bk_qmp_object ("path", path));
  json_object *arguments = json_object_new_object ();
  json_object_object_add (arguments, "addr", address);
  bk_qmp_set_uint (arguments, "max-connections", 0);
  return bk_qmp_run (client, "nbd-server-start", arguments, cancellable, error);
}

gboolean
bk_qmp_nbd_server_stop_within (BkQmpClient *client, unsigned timeout_ms, GError **error)
{
  BkQmpCall call = { .name = "nbd-server-stop", .fd = -1 };
  gboolean ok = bk_qmp_client_call_all (client, &call, 1, timeout_ms, NULL, error);
  if (ok && call.error) {
    g_propagate_error (error, g_steal_pointer (&call.error));
    ok = FALSE;
  }
  bk_qmp_call_clear (&call);
  return ok;
}

/* --- exports --- */

static json_object *
export_options (const char *type, const char *id, const char *node)
{
  json_object *options = bk_qmp_object ("type", type);
  bk_qmp_set_string (options, "id", id);
  bk_qmp_set_string (options, "node-name", node);
  bk_qmp_set_bool (options, "writable", false);
  return options;
}

gboolean
bk_qmp_add_nbd_export (BkQmpClient *client, const char *id, const char *node, const char *name, const char *bitmap_node, const char *bitmap,
                       GCancellable *cancellable, GError **error)
{
  json_object *options = export_options ("nbd", id, node);
  bk_qmp_set_string (options, "name", name);
  if (bitmap) {
    json_object *entry = bk_qmp_object ("node", bitmap_node);
    bk_qmp_set_string (entry, "name", bitmap);
    json_object *bitmaps = json_object_new_array ();
    json_object_array_add (bitmaps, entry);
    json_object_object_add (options, "bitmaps", bitmaps);
  }
  return bk_qmp_run (client, "block-export-add", options, cancellable, error);
}

gboolean
bk_qmp_add_fuse_export (BkQmpClient *client, const char *id, const char *node, const char *mountpoint, const char *iothread, GCancellable *cancellable,
                        GError **error)
{
  json_object *options = export_options ("fuse", id, node);
  bk_qmp_set_string (options, "mountpoint", mountpoint);
  bk_qmp_set_string (options, "iothread", iothread);
  bk_qmp_set_bool (options, "fixed-iothread", true);
  return bk_qmp_run (client, "block-export-add", options, cancellable, error);
}

gboolean
bk_qmp_del_export (BkQmpClient *client, const char *id, GCancellable *cancellable, GError **error)
{
  json_object *arguments = bk_qmp_object ("id", id);
  bk_qmp_set_string (arguments, "mode", "hard");
  return bk_qmp_run (client, "block-export-del", arguments, cancellable, error);
}

/* --- nodes --- */

gboolean
bk_qmp_create_qcow2 (BkQmpClient *client, const char *job, const char *file, uint64_t size, GCancellable *cancellable, GError **error)
{
  json_object *options = bk_qmp_object ("driver", "qcow2");
  bk_qmp_set_string (options, "file", file);
  bk_qmp_set_uint (options, "size", size);
  json_object *arguments = bk_qmp_object ("job-id", job);
  json_object_object_add (arguments, "options", options);
  return bk_qmp_run (client, "blockdev-create", arguments, cancellable, error);
}

static json_object *
node_options (const char *driver, const char *node)
{
  json_object *options = bk_qmp_object ("driver", driver);
  bk_qmp_set_string (options, "node-name", node);
  return options;
}

gboolean
bk_qmp_add_overlay (BkQmpClient *client, const char *node, const char *file, const char *backing, GCancellable *cancellable, GError **error)
{
  json_object *options = node_options ("qcow2", node);
  json_object *cache = json_object_new_object ();
  bk_qmp_set_bool (cache, "no-flush", true);
  json_object_object_add (options, "cache", cache);
  bk_qmp_set_string (options, "file", file);
  json_object_object_add (options, "backing", backing ? json_object_new_string (backing) : NULL);
  return bk_qmp_run (client, "blockdev-add", options, cancellable, error);
}

gboolean
bk_qmp_add_empty (BkQmpClient *client, const char *node, uint64_t size, GCancellable *cancellable, GError **error)
{
  json_object *options = node_options ("null-co", node);
  bk_qmp_set_uint (options, "size", size);
  bk_qmp_set_bool (options, "read-zeroes", true);
  return bk_qmp_run (client, "blockdev-add", options, cancellable, error);
}
