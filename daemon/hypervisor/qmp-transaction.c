/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-transaction.h"

#include "qmp-json.h"

static void
add_action (json_object *actions, const char *type, json_object *data)
{
  json_object *action = bk_qmp_object ("type", type);
  json_object_object_add (action, "data", data);
  json_object_array_add (actions, action);
}

static json_object *
bitmap_name (const char *node, const char *bitmap)
{
  json_object *object = bk_qmp_object ("node", node);
  bk_qmp_set_string (object, "name", bitmap);
  return object;
}

static void
set_perf (json_object *data, const BkQmpBackup *backup)
{
  if (backup->max_workers == 0 && backup->max_chunk == 0)
    return;
  json_object *perf = json_object_new_object ();
  if (backup->max_workers > 0)
    bk_qmp_set_uint (perf, "max-workers", backup->max_workers);
  if (backup->max_chunk > 0)
    bk_qmp_set_uint (perf, "max-chunk", backup->max_chunk);
  json_object_object_add (data, "x-perf", perf);
}

void
bk_qmp_action_backup (json_object *actions, const BkQmpBackup *backup)
{
  g_assert (g_strcmp0 (backup->on_source_error, "ignore") != 0 && g_strcmp0 (backup->on_target_error, "ignore") != 0);
  json_object *data = bk_qmp_object ("job-id", backup->job);
  bk_qmp_set_string (data, "device", backup->device);
  bk_qmp_set_string (data, "target", backup->target);
  bk_qmp_set_string (data, "sync", backup->sync);
  bk_qmp_set_string (data, "bitmap", backup->bitmap);
  if (backup->bitmap)
    bk_qmp_set_string (data, "bitmap-mode", "never");
  bk_qmp_set_string (data, "filter-node-name", backup->filter);
  if (backup->speed > 0)
    bk_qmp_set_uint (data, "speed", backup->speed);
  if (backup->compress)
    bk_qmp_set_bool (data, "compress", true);
  bk_qmp_set_string (data, "on-source-error", backup->on_source_error);
  bk_qmp_set_string (data, "on-target-error", backup->on_target_error);
  /* The job stays, with its error, until it is asked for: events get lost. */
  bk_qmp_set_bool (data, "auto-dismiss", false);
  set_perf (data, backup);
  add_action (actions, "blockdev-backup", data);
}

void
bk_qmp_action_bitmap_add (json_object *actions, const char *node, const char *bitmap, bool persistent, bool disabled)
{
  json_object *data = bitmap_name (node, bitmap);
  bk_qmp_set_bool (data, "persistent", persistent);
  if (disabled)
    bk_qmp_set_bool (data, "disabled", true);
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
  json_object *data = bk_qmp_object ("node", node);
  bk_qmp_set_string (data, "target", target);
  json_object_object_add (data, "bitmaps", list);
  add_action (actions, "block-dirty-bitmap-merge", data);
}

BkQmpCall
bk_qmp_call_transaction (json_object *actions)
{
  json_object *arguments = json_object_new_object ();
  json_object_object_add (arguments, "actions", actions);
  return (BkQmpCall){ .name = "transaction", .arguments = arguments, .fd = -1 };
}

gboolean
bk_qmp_transaction (BkQmpClient *client, json_object *actions, GCancellable *cancellable, GError **error)
{
  if (json_object_array_length (actions) == 0) {
    json_object_put (actions);
    return TRUE;
  }
  BkQmpCall call = bk_qmp_call_transaction (actions);
  return bk_qmp_run_call (client, &call, NULL, cancellable, error);
}

gboolean
bk_qmp_bitmap_remove (BkQmpClient *client, const char *node, const char *bitmap, GCancellable *cancellable,
                      GError **error)
{
  return bk_qmp_run (client, "block-dirty-bitmap-remove", bitmap_name (node, bitmap), cancellable, error);
}
