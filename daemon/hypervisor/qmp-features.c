/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-features.h"

#include "qmp-commands.h"
#include "qmp-json.h"

#include <string.h>

/* Type and command names to entries of the schema. */
static GHashTable *
index_schema (json_object *schema)
{
  GHashTable *entries = g_hash_table_new (g_str_hash, g_str_equal);
  size_t n = json_object_is_type (schema, json_type_array) ? json_object_array_length (schema) : 0;
  for (size_t i = 0; i < n; i++) {
    json_object *entry = json_object_array_get_idx (schema, i);
    const char *name = bk_qmp_get_string (entry, "name");
    if (name)
      g_hash_table_insert (entries, (gpointer)name, entry);
  }
  return entries;
}

/* The entry of the type that @entry's @member names; NULL when there is none, also for a NULL @entry. */
static json_object *
type_of (GHashTable *entries, json_object *entry, const char *member)
{
  const char *name = bk_qmp_get_string (entry, member);
  return name ? g_hash_table_lookup (entries, name) : NULL;
}

/* The element of @entry's list @list whose @key is @value. */
static json_object *
find_in (json_object *entry, const char *list, const char *key, const char *value)
{
  json_object *array = bk_qmp_get_array (entry, list);
  size_t n = array ? json_object_array_length (array) : 0;
  for (size_t i = 0; i < n; i++) {
    json_object *element = json_object_array_get_idx (array, i);
    if (g_strcmp0 (bk_qmp_get_string (element, key), value) == 0)
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
  json_object *export = command_arguments (entries, "block-export-add");
  json_object *create = type_of (entries, find_in (command_arguments (entries, "blockdev-create"), "members", "name", "options"), "type");
  *features = (BkQmpFeatures){
    .snapshot_push = has_member (filter, "on-cbw-error") && has_member (filter, "cbw-timeout")
                     && variant (entries, add, "snapshot-access") != NULL,
    .backup_perf = has_member (backup, "x-perf"),
    .reopen = g_hash_table_contains (entries, "blockdev-reopen"),
    .nbd_open_timeout = has_member (variant (entries, add, "nbd"), "open-timeout"),
    .bitmap_merge = variant (entries, action_type (entries), "block-dirty-bitmap-merge") != NULL,
    .yank = g_hash_table_contains (entries, "yank"),
    .pull = has_member (variant (entries, export, "nbd"), "bitmaps") && variant (entries, create, "qcow2") != NULL
            && g_hash_table_contains (entries, "query-block-exports"),
    .fuse_export = variant (entries, export, "fuse") != NULL,
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
  if (!bk_qmp_ask (client, BK_QMP_QUERY_SCHEMA, NULL, json_type_array, &schema, cancellable, error))
    return FALSE;
  bk_qmp_features_read (schema, features);
  g_autoptr (GBytes) value = g_bytes_new (features, sizeof *features);
  bk_qmp_client_keep (client, generation, value);
  return TRUE;
}
