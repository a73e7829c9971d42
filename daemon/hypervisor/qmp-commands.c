/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-commands.h"

#include <string.h>

#define NBD_PORT "10809"
#define NBD_OPEN_TIMEOUT_S 10
/* NBD's own limit for the name of an export. */
#define NBD_NAME_MAX 4096
/* The time a guest's write may wait for the scratch before the snapshot is given up instead. */
#define CBW_TIMEOUT_S 30

/* --- building arguments --- */

static void
set_string (json_object *object, const char *member, const char *value)
{
  if (value)
    json_object_object_add (object, member, json_object_new_string (value));
}

static void
set_bool (json_object *object, const char *member, bool value)
{
  json_object_object_add (object, member, json_object_new_boolean (value));
}

static void
set_uint (json_object *object, const char *member, uint64_t value)
{
  json_object_object_add (object, member, json_object_new_uint64 (value));
}

/* An object with one string. */
static json_object *
one (const char *member, const char *value)
{
  json_object *object = json_object_new_object ();
  set_string (object, member, value);
  return object;
}

static const char *
get_string (json_object *object, const char *member)
{
  json_object *value = NULL;
  if (!json_object_object_get_ex (object, member, &value) || !json_object_is_type (value, json_type_string))
    return NULL;
  return json_object_get_string (value);
}

static uint64_t
get_uint (json_object *object, const char *member)
{
  json_object *value = NULL;
  return json_object_object_get_ex (object, member, &value) ? json_object_get_uint64 (value) : 0;
}

static bool
get_bool (json_object *object, const char *member)
{
  json_object *value = NULL;
  return json_object_object_get_ex (object, member, &value) && json_object_get_boolean (value);
}

static json_object *
get_array (json_object *object, const char *member)
{
  json_object *value = NULL;
  if (!json_object_object_get_ex (object, member, &value) || !json_object_is_type (value, json_type_array))
    return NULL;
  return value;
}

/* Runs a command whose answer says nothing. */
static gboolean
run (BkQmpClient *client, const char *name, json_object *arguments, GCancellable *cancellable, GError **error)
{
  return bk_qmp_client_call (client, name, arguments, NULL, cancellable, error);
}

/* Like bk_qmp_client_call(), and the answer must be of @type. */
static gboolean
query (BkQmpClient *client, const char *name, json_object *arguments, enum json_type type, json_object **result,
       GCancellable *cancellable, GError **error)
{
  if (!bk_qmp_client_call (client, name, arguments, result, cancellable, error))
    return FALSE;
  if (json_object_is_type (*result, type))
    return TRUE;
  g_clear_pointer (result, json_object_put);
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "QEMU's answer to '%s' is no %s", name, json_type_to_name (type));
  return FALSE;
}

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
  json_object *arguments = one ("path", path);
  set_string (arguments, "property", "drive");
  set_string (arguments, "value", node);
  return arguments;
}

BkQmpCall
bk_qmp_call_set_drive (const char *qdev, const char *node)
{
  return (BkQmpCall){ .name = "qom-set", .arguments = drive_arguments (qdev, node), .fd = -1 };
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
  if (!query (client, BK_QMP_QUERY_JOBS, NULL, json_type_array, &jobs, cancellable, error))
    return FALSE;
  for (size_t i = 0; i < json_object_array_length (jobs); i++) {
    json_object *job = json_object_array_get_idx (jobs, i);
    if (g_strcmp0 (get_string (job, "type"), "stream") != 0 || g_strcmp0 (get_string (job, "status"), "concluded") != 0)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "block-stream job '%s' has concluded and must be dismissed by who started it",
                 get_string (job, "id"));
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
  set_bool (arguments, "flat", true);
  return bk_qmp_client_call (client, "query-named-block-nodes", arguments, result, cancellable, error);
}

gboolean
bk_qmp_query_status (BkQmpClient *client, char **status, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) result = NULL;
  if (!query (client, "query-status", NULL, json_type_object, &result, cancellable, error))
    return FALSE;
  const char *word = get_string (result, "status");
  *status = g_strdup (word ? word : "unknown");
  return TRUE;
}

gboolean
bk_qmp_qom_get_string (BkQmpClient *client, const char *path, const char *property, char **value,
                       GCancellable *cancellable, GError **error)
{
  *value = NULL;
  g_autofree char *full = device_path (path);
  json_object *arguments = one ("path", full);
  set_string (arguments, "property", property);
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
  return run (client, "cont", NULL, cancellable, error);
}

gboolean
bk_qmp_set_drive (BkQmpClient *client, const char *qdev, const char *node, GCancellable *cancellable, GError **error)
{
  return run (client, "qom-set", drive_arguments (qdev, node), cancellable, error);
}

/* --- file descriptors --- */

gboolean
bk_qmp_add_fd (BkQmpClient *client, int fd, const char *opaque, int64_t *fdset, GCancellable *cancellable,
               GError **error)
{
  BkQmpCall call = { .name = "add-fd", .arguments = one ("opaque", opaque), .fd = fd };
  gboolean ok = bk_qmp_client_call_all (client, &call, 1, 0, cancellable, error);
  if (ok && call.error) {
    g_propagate_error (error, g_steal_pointer (&call.error));
    ok = FALSE;
  }
  if (ok)
    *fdset = (int64_t)get_uint (call.result, "fdset-id");
  bk_qmp_call_clear (&call);
  return ok;
}

gboolean
bk_qmp_remove_fd (BkQmpClient *client, int64_t fdset, GCancellable *cancellable, GError **error)
{
  json_object *arguments = json_object_new_object ();
  json_object_object_add (arguments, "fdset-id", json_object_new_int64 (fdset));
  return run (client, "remove-fd", arguments, cancellable, error);
}

static bool
is_fdset_of (json_object *fdset, const char *prefix)
{
  json_object *fds = get_array (fdset, "fds");
  for (size_t i = 0; fds && i < json_object_array_length (fds); i++) {
    const char *opaque = get_string (json_object_array_get_idx (fds, i), "opaque");
    if (opaque && g_str_has_prefix (opaque, prefix))
      return true;
  }
  return false;
}

gboolean
bk_qmp_remove_fds_of (BkQmpClient *client, const char *prefix, GCancellable *cancellable, GError **error)
{
  g_autoptr (json_object) fdsets = NULL;
  if (!query (client, "query-fdsets", NULL, json_type_array, &fdsets, cancellable, error))
    return FALSE;
  for (size_t i = 0; i < json_object_array_length (fdsets); i++) {
    json_object *fdset = json_object_array_get_idx (fdsets, i);
    if (is_fdset_of (fdset, prefix) && !bk_qmp_remove_fd (client, (int64_t)get_uint (fdset, "fdset-id"), cancellable, error))
      return FALSE;
  }
  return TRUE;
}

/* --- nodes --- */

/* Options that every node has. */
static json_object *
node_options (const char *driver, const char *node, unsigned flags)
{
  json_object *options = one ("driver", driver);
  set_string (options, "node-name", node);
  if (flags & BK_QMP_READ_ONLY)
    set_bool (options, "read-only", true);
  if (flags & BK_QMP_DETECT_ZEROES)
    set_string (options, "detect-zeroes", "on");
  if ((flags & (BK_QMP_CACHE_NO_FLUSH | BK_QMP_CACHE_DIRECT)) == 0)
    return options;
  json_object *cache = json_object_new_object ();
  if (flags & BK_QMP_CACHE_NO_FLUSH)
    set_bool (cache, "no-flush", true);
  if (flags & BK_QMP_CACHE_DIRECT)
    set_bool (cache, "direct", true);
  json_object_object_add (options, "cache", cache);
  return options;
}

static gboolean
add_node (BkQmpClient *client, json_object *options, GCancellable *cancellable, GError **error)
{
  return run (client, "blockdev-add", options, cancellable, error);
}

gboolean
bk_qmp_add_file (BkQmpClient *client, const char *driver, const char *node, const char *filename, unsigned flags,
                 GCancellable *cancellable, GError **error)
{
  json_object *options = node_options (driver, node, flags);
  set_string (options, "filename", filename);
  return add_node (client, options, cancellable, error);
}

static json_object *
format_options (const char *driver, const char *node, const char *file, unsigned flags)
{
  json_object *options = node_options (driver, node, flags);
  set_string (options, "file", file);
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

static gboolean
refuse_uri (const char *uri, const char *why, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
               "'%s' is no NBD URI: %s; use nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH", uri, why);
  return FALSE;
}

static json_object *
inet_server (GUri *uri)
{
  json_object *server = one ("type", "inet");
  set_string (server, "host", g_uri_get_host (uri));
  g_autofree char *port = g_uri_get_port (uri) > 0 ? g_strdup_printf ("%d", g_uri_get_port (uri)) : g_strdup (NBD_PORT);
  set_string (server, "port", port);
  return server;
}

static json_object *
parse_inet (GUri *uri, const char *text, GError **error)
{
  const char *host = g_uri_get_host (uri);
  if (host == NULL || *host == '\0')
    refuse_uri (text, "it names no host", error);
  else if (g_uri_get_query (uri))
    refuse_uri (text, "it has parameters", error);
  else if (g_uri_get_port (uri) == 0)
    refuse_uri (text, "there is no port 0", error);
  else
    return inet_server (uri);
  return NULL;
}

static json_object *
parse_unix (GUri *uri, const char *text, GError **error)
{
  const char *host = g_uri_get_host (uri);
  const char *query_text = g_uri_get_query (uri);
  g_autoptr (GHashTable) parameters = query_text ? g_uri_parse_params (query_text, -1, "&", G_URI_PARAMS_NONE, NULL) : NULL;
  const char *path = parameters ? g_hash_table_lookup (parameters, "socket") : NULL;
  if (host && *host)
    refuse_uri (text, "a unix socket has no host", error);
  else if (path == NULL || *path != '/')
    refuse_uri (text, "socket=PATH with an absolute path is missing", error);
  else if (g_hash_table_size (parameters) > 1)
    refuse_uri (text, "it has parameters besides 'socket'", error);
  else {
    json_object *server = one ("type", "unix");
    set_string (server, "path", path);
    return server;
  }
  return NULL;
}

/* Returns the node's "server" and sets *@export_name; NULL with an error. */
static json_object *
parse_nbd_uri (const char *text, char **export_name, GError **error)
{
  g_autoptr (GError) reason = NULL;
  /* The query stays encoded until it is taken apart, so that a socket's path may hold an ampersand. */
  g_autoptr (GUri) uri = g_uri_parse (text, G_URI_FLAGS_ENCODED_QUERY, &reason);
  if (uri == NULL) {
    refuse_uri (text, reason->message, error);
    return NULL;
  }
  const char *path = g_uri_get_path (uri);
  const char *scheme = g_uri_get_scheme (uri);
  bool is_inet = g_str_equal (scheme, "nbd");
  if (!is_inet && !g_str_equal (scheme, "nbd+unix"))
    refuse_uri (text, "its scheme is neither nbd nor nbd+unix", error);
  else if (g_uri_get_userinfo (uri))
    refuse_uri (text, "a user cannot be given", error);
  else if (g_uri_get_fragment (uri))
    refuse_uri (text, "it has a fragment ('#' is written %23)", error);
  else if (strlen (path) > NBD_NAME_MAX)
    refuse_uri (text, "the name of the export is too long", error);
  else {
    *export_name = g_strdup (*path == '/' ? path + 1 : path);
    return is_inet ? parse_inet (uri, text, error) : parse_unix (uri, text, error);
  }
  return NULL;
}

gboolean
bk_qmp_nbd_uri_is_valid (const char *uri, GError **error)
{
  g_autofree char *export_name = NULL;
  g_autoptr (json_object) server = parse_nbd_uri (uri, &export_name, error);
  return server != NULL;
}

gboolean
bk_qmp_add_nbd (BkQmpClient *client, const char *node, const char *uri, unsigned flags, GCancellable *cancellable,
                GError **error)
{
  g_autofree char *export_name = NULL;
  json_object *server = parse_nbd_uri (uri, &export_name, error);
  if (server == NULL)
    return FALSE;
  json_object *options = node_options ("nbd", node, flags);
  json_object_object_add (options, "server", server);
  set_string (options, "export", export_name);
  /* Without it QEMU's main loop, and so the guest, waits for ever for a listener that does not speak. */
  set_uint (options, "open-timeout", NBD_OPEN_TIMEOUT_S);
  return add_node (client, options, cancellable, error);
}

gboolean
bk_qmp_add_filter (BkQmpClient *client, const char *node, const char *file, const char *scratch,
                   GCancellable *cancellable, GError **error)
{
  json_object *options = node_options ("copy-before-write", node, 0);
  set_string (options, "file", file);
  set_string (options, "target", scratch);
  set_string (options, "on-cbw-error", "break-snapshot");
  set_uint (options, "cbw-timeout", CBW_TIMEOUT_S);
  return add_node (client, options, cancellable, error);
}

gboolean
bk_qmp_add_snapshot (BkQmpClient *client, const char *node, const char *filter, GCancellable *cancellable,
                     GError **error)
{
  json_object *options = node_options ("snapshot-access", node, 0);
  set_string (options, "file", filter);
  return add_node (client, options, cancellable, error);
}

gboolean
bk_qmp_reopen_read_only (BkQmpClient *client, const char *driver, const char *node, const char *file, unsigned flags,
                         GCancellable *cancellable, GError **error)
{
  json_object *options = json_object_new_array ();
  json_object_array_add (options, format_options (driver, node, file, flags | BK_QMP_READ_ONLY));
  json_object *arguments = json_object_new_object ();
  json_object_object_add (arguments, "options", options);
  return run (client, "blockdev-reopen", arguments, cancellable, error);
}

gboolean
bk_qmp_del_node (BkQmpClient *client, const char *node, GCancellable *cancellable, GError **error)
{
  return run (client, "blockdev-del", one ("node-name", node), cancellable, error);
}

gboolean
bk_qmp_del_node_within (BkQmpClient *client, const char *node, unsigned timeout_ms, GError **error)
{
  BkQmpCall call = { .name = "blockdev-del", .arguments = one ("node-name", node), .fd = -1 };
  gboolean ok = bk_qmp_client_call_all (client, &call, 1, timeout_ms, NULL, error);
  if (ok && call.error) {
    g_propagate_error (error, g_steal_pointer (&call.error));
    ok = FALSE;
  }
  bk_qmp_call_clear (&call);
  return ok;
}

/* --- transactions --- */

static void
add_action (json_object *actions, const char *type, json_object *data)
{
  json_object *action = one ("type", type);
  json_object_object_add (action, "data", data);
  json_object_array_add (actions, action);
}

static json_object *
bitmap_name (const char *node, const char *bitmap)
{
  json_object *object = one ("node", node);
  set_string (object, "name", bitmap);
  return object;
}

static void
set_perf (json_object *data, const BkQmpBackup *backup)
{
  if (backup->max_workers == 0 && backup->max_chunk == 0)
    return;
  json_object *perf = json_object_new_object ();
  if (backup->max_workers > 0)
    set_uint (perf, "max-workers", backup->max_workers);
  if (backup->max_chunk > 0)
    set_uint (perf, "max-chunk", backup->max_chunk);
  json_object_object_add (data, "x-perf", perf);
}

void
bk_qmp_action_backup (json_object *actions, const BkQmpBackup *backup)
{
  g_assert (g_strcmp0 (backup->on_source_error, "ignore") != 0 && g_strcmp0 (backup->on_target_error, "ignore") != 0);
  json_object *data = one ("job-id", backup->job);
  set_string (data, "device", backup->device);
  set_string (data, "target", backup->target);
  set_string (data, "sync", backup->sync);
  set_string (data, "bitmap", backup->bitmap);
  if (backup->bitmap)
    set_string (data, "bitmap-mode", "never");
  set_string (data, "filter-node-name", backup->filter);
  if (backup->speed > 0)
    set_uint (data, "speed", backup->speed);
  if (backup->compress)
    set_bool (data, "compress", true);
  set_string (data, "on-source-error", backup->on_source_error);
  set_string (data, "on-target-error", backup->on_target_error);
  /* The job stays, with its error, until it is asked for: events get lost. */
  set_bool (data, "auto-dismiss", false);
  set_perf (data, backup);
  add_action (actions, "blockdev-backup", data);
}

void
bk_qmp_action_bitmap_add (json_object *actions, const char *node, const char *bitmap, bool persistent, bool disabled)
{
  json_object *data = bitmap_name (node, bitmap);
  set_bool (data, "persistent", persistent);
  if (disabled)
    set_bool (data, "disabled", true);
  add_action (actions, "block-dirty-bitmap-add", data);
}

void
bk_qmp_action_bitmap_remove (json_object *actions, const char *node, const char *bitmap)
{
  add_action (actions, "block-dirty-bitmap-remove", bitmap_name (node, bitmap));
}

void
bk_qmp_action_bitmap_enable (json_object *actions, const char *node, const char *bitmap)
{
  add_action (actions, "block-dirty-bitmap-enable", bitmap_name (node, bitmap));
}

void
bk_qmp_action_bitmap_disable (json_object *actions, const char *node, const char *bitmap)
{
  add_action (actions, "block-dirty-bitmap-disable", bitmap_name (node, bitmap));
}

void
bk_qmp_action_bitmap_merge (json_object *actions, const char *node, const char *target, const char *source_node,
                            const char *const *sources)
{
  g_assert (sources && sources[0]);
  json_object *list = json_object_new_array ();
  for (; *sources; sources++)
    json_object_array_add (list, bitmap_name (source_node, *sources));
  json_object *data = one ("node", node);
  set_string (data, "target", target);
  json_object_object_add (data, "bitmaps", list);
  add_action (actions, "block-dirty-bitmap-merge", data);
}

gboolean
bk_qmp_transaction (BkQmpClient *client, json_object *actions, GCancellable *cancellable, GError **error)
{
  if (json_object_array_length (actions) == 0) {
    json_object_put (actions);
    return TRUE;
  }
  json_object *arguments = json_object_new_object ();
  json_object_object_add (arguments, "actions", actions);
  return run (client, "transaction", arguments, cancellable, error);
}

gboolean
bk_qmp_bitmap_remove (BkQmpClient *client, const char *node, const char *bitmap, GCancellable *cancellable,
                      GError **error)
{
  return run (client, "block-dirty-bitmap-remove", bitmap_name (node, bitmap), cancellable, error);
}

/* --- jobs --- */

void
bk_qmp_job_free (BkQmpJob *job)
{
  if (job == NULL)
    return;
  g_free (job->id);
  g_free (job->status);
  g_free (job->error);
  g_free (job->io_status);
  g_free (job);
}

static BkQmpJob *
read_job (json_object *entry, json_object *block_jobs)
{
  BkQmpJob *job = g_new0 (BkQmpJob, 1);
  job->id = g_strdup (get_string (entry, "id"));
  job->status = g_strdup (get_string (entry, "status"));
  job->error = g_strdup (get_string (entry, "error"));
  job->current = get_uint (entry, "current-progress");
  job->total = get_uint (entry, "total-progress");
  for (size_t i = 0; i < json_object_array_length (block_jobs); i++) {
    json_object *block_job = json_object_array_get_idx (block_jobs, i);
    if (g_strcmp0 (get_string (block_job, "device"), job->id) != 0)
      continue;
    job->user_paused = get_bool (block_job, "paused");
    job->io_status = g_strdup (get_string (block_job, "io-status"));
  }
  return job;
}

static GPtrArray *
read_jobs (json_object *jobs, json_object *block_jobs, const char *prefix)
{
  GPtrArray *list = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_qmp_job_free);
  for (size_t i = 0; i < json_object_array_length (jobs); i++) {
    json_object *entry = json_object_array_get_idx (jobs, i);
    const char *id = get_string (entry, "id");
    if (id && g_str_has_prefix (id, prefix) && get_string (entry, "status"))
      g_ptr_array_add (list, read_job (entry, block_jobs));
  }
  return list;
}

/* The error of the first call that failed, or FAILED when an answer is no array; else TRUE. */
static gboolean
check_arrays (BkQmpCall *calls, unsigned n, GError **error)
{
  for (unsigned i = 0; i < n; i++) {
    if (calls[i].error) {
      g_propagate_error (error, g_steal_pointer (&calls[i].error));
      return FALSE;
    }
    if (!json_object_is_type (calls[i].result, json_type_array)) {
      g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "QEMU's answer to '%s' is no array", calls[i].name);
      return FALSE;
    }
  }
  return TRUE;
}

gboolean
bk_qmp_query_jobs_of (BkQmpClient *client, const char *prefix, GPtrArray **jobs, GCancellable *cancellable,
                      GError **error)
{
  *jobs = NULL;
  /* In one batch: a job cannot change much between the two answers, and it costs one round trip. */
  BkQmpCall calls[] = { { .name = BK_QMP_QUERY_JOBS, .fd = -1 }, { .name = BK_QMP_QUERY_BLOCK_JOBS, .fd = -1 } };
  gboolean ok = bk_qmp_client_call_all (client, calls, G_N_ELEMENTS (calls), 0, cancellable, error)
                && check_arrays (calls, G_N_ELEMENTS (calls), error);
  if (ok)
    *jobs = read_jobs (calls[0].result, calls[1].result, prefix);
  for (size_t i = 0; i < G_N_ELEMENTS (calls); i++)
    bk_qmp_call_clear (&calls[i]);
  return ok;
}

gboolean
bk_qmp_job_cancel (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error)
{
  return run (client, "job-cancel", one ("id", job), cancellable, error);
}

gboolean
bk_qmp_job_dismiss (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error)
{
  return run (client, "job-dismiss", one ("id", job), cancellable, error);
}

gboolean
bk_qmp_job_finalize (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error)
{
  return run (client, "job-finalize", one ("id", job), cancellable, error);
}

gboolean
bk_qmp_job_pause (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error)
{
  return run (client, "job-pause", one ("id", job), cancellable, error);
}

gboolean
bk_qmp_job_resume (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error)
{
  return run (client, "job-resume", one ("id", job), cancellable, error);
}

gboolean
bk_qmp_job_set_speed (BkQmpClient *client, const char *job, uint64_t speed, GCancellable *cancellable, GError **error)
{
  json_object *arguments = one ("device", job);
  set_uint (arguments, "speed", speed);
  return run (client, "block-job-set-speed", arguments, cancellable, error);
}

/* --- out of band --- */

static gboolean
call_oob (BkQmpClient *client, const char *name, json_object *arguments, json_object **result, GError **error)
{
  BkQmpCall call = { .name = name, .arguments = arguments, .fd = -1, .oob = TRUE };
  gboolean ok = bk_qmp_client_call_all (client, &call, 1, 0, NULL, error);
  if (ok && call.error) {
    g_propagate_error (error, g_steal_pointer (&call.error));
    ok = FALSE;
  }
  if (ok && result)
    *result = g_steal_pointer (&call.result);
  bk_qmp_call_clear (&call);
  return ok;
}

/* The entries of query-yank that are nodes with @prefix. (transfer full) */
static json_object *
yankable_nodes (json_object *list, const char *prefix)
{
  json_object *instances = json_object_new_array ();
  size_t n = json_object_is_type (list, json_type_array) ? json_object_array_length (list) : 0;
  for (size_t i = 0; i < n; i++) {
    json_object *entry = json_object_array_get_idx (list, i);
    const char *type = get_string (entry, "type");
    const char *node = get_string (entry, "node-name");
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

/* --- features --- */

/* Type and command names to entries of the schema. */
static GHashTable *
index_schema (json_object *schema)
{
  GHashTable *entries = g_hash_table_new (g_str_hash, g_str_equal);
  size_t n = json_object_is_type (schema, json_type_array) ? json_object_array_length (schema) : 0;
  for (size_t i = 0; i < n; i++) {
    json_object *entry = json_object_array_get_idx (schema, i);
    const char *name = get_string (entry, "name");
    if (name)
      g_hash_table_insert (entries, (gpointer)name, entry);
  }
  return entries;
}

/* The entry of the type that @entry's @member names; NULL when there is none, also for a NULL @entry. */
static json_object *
type_of (GHashTable *entries, json_object *entry, const char *member)
{
  const char *name = get_string (entry, member);
  return name ? g_hash_table_lookup (entries, name) : NULL;
}

/* The element of @entry's list @list whose @key is @value. */
static json_object *
find_in (json_object *entry, const char *list, const char *key, const char *value)
{
  json_object *array = get_array (entry, list);
  size_t n = array ? json_object_array_length (array) : 0;
  for (size_t i = 0; i < n; i++) {
    json_object *element = json_object_array_get_idx (array, i);
    if (g_strcmp0 (get_string (element, key), value) == 0)
      return element;
  }
  return NULL;
}

static bool
has_member (json_object *type, const char *name)
{
  return find_in (type, "members", "name", name) != NULL;
}

static json_object *
variant (GHashTable *entries, json_object *type, const char *value)
{
  return type_of (entries, find_in (type, "variants", "case", value), "type");
}

static json_object *
command_arguments (GHashTable *entries, const char *command)
{
  return type_of (entries, g_hash_table_lookup (entries, command), "arg-type");
}

/* The type of one action of a transaction. */
static json_object *
action_type (GHashTable *entries)
{
  json_object *arguments = command_arguments (entries, "transaction");
  json_object *list = type_of (entries, find_in (arguments, "members", "name", "actions"), "type");
  return type_of (entries, list, "element-type");
}

void
bk_qmp_features_read (json_object *schema, BkQmpFeatures *features)
{
  g_autoptr (GHashTable) entries = index_schema (schema);
  json_object *add = command_arguments (entries, "blockdev-add");
  json_object *filter = variant (entries, add, "copy-before-write");
  json_object *backup = command_arguments (entries, "blockdev-backup");
  *features = (BkQmpFeatures){
    .snapshot_push = has_member (filter, "on-cbw-error") && has_member (filter, "cbw-timeout")
                     && variant (entries, add, "snapshot-access") != NULL,
    .backup_perf = has_member (backup, "x-perf"),
    .reopen = g_hash_table_contains (entries, "blockdev-reopen"),
    .nbd_open_timeout = has_member (variant (entries, add, "nbd"), "open-timeout"),
    .bitmap_merge = variant (entries, action_type (entries), "block-dirty-bitmap-merge") != NULL,
    .yank = g_hash_table_contains (entries, "yank"),
  };
}

gboolean
bk_qmp_features (BkQmpClient *client, BkQmpFeatures *features, GCancellable *cancellable, GError **error)
{
  unsigned generation = bk_qmp_client_generation (client);
  g_autoptr (GBytes) kept = bk_qmp_client_kept (client, generation);
  if (kept) {
    memcpy (features, g_bytes_get_data (kept, NULL), sizeof *features);
    return TRUE;
  }
  g_autoptr (json_object) schema = NULL;
  if (!query (client, BK_QMP_QUERY_SCHEMA, NULL, json_type_array, &schema, cancellable, error))
    return FALSE;
  bk_qmp_features_read (schema, features);
  g_autoptr (GBytes) value = g_bytes_new (features, sizeof *features);
  bk_qmp_client_keep (client, generation, value);
  return TRUE;
}
