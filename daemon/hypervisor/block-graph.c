/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "block-graph.h"

#include <string.h>

/* Above all that QEMU itself bears; it keeps a forged reply from holding us up. */
#define CHAIN_MAX 1000

#define OUR_PREFIX "bkd-"

/* Nodes that pass on what is below them, and have no content of their own. */
static const char *const filters[] = { "blkdebug",   "blklogwrites", "blkreplay",         "blkverify",
                                       "commit_top", "compress",     "copy-before-write", "copy-on-read",
                                       "mirror_top", "preallocate",  "replication",       "throttle",
                                       NULL };

/* Those of them that a job puts in and takes away again. */
static const char *const job_filters[] = { "commit_top", "copy-before-write", "mirror_top", NULL };

/* The replies, to be looked up in. */
typedef struct {
  GHashTable *nodes; /* node name to its entry in query-named-block-nodes */
  GHashTable *stats; /* guest device to its entry in query-blockstats */
  bool streams;      /* a block-stream job exists */
} Tables;

static void
tables_free (Tables *tables)
{
  g_clear_pointer (&tables->nodes, g_hash_table_unref);
  g_clear_pointer (&tables->stats, g_hash_table_unref);
  g_free (tables);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Tables, tables_free)

/* A disk in the making: its chain from the node that the guest device is attached to, down through filters and
 * backing files; borrowed entries of query-named-block-nodes. */
typedef struct {
  BkDisk *disk;
  const char *drive; /* query-block's device: the drive ID, or "" */
  GPtrArray *chain;
} Draft;

static void
draft_free (Draft *draft)
{
  bk_disk_free (draft->disk);
  g_clear_pointer (&draft->chain, g_ptr_array_unref);
  g_free (draft);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Draft, draft_free)

void
bk_inserted_filter_free (BkInsertedFilter *filter)
{
  if (filter == NULL)
    return;
  g_free (filter->qdev);
  g_free (filter->filter);
  g_free (filter->child);
  g_free (filter);
}

void
bk_node_free (BkNode *node)
{
  if (node == NULL)
    return;
  g_free (node->name);
  g_free (node->driver);
  g_strfreev (node->bitmaps);
  g_free (node);
}

bool
bk_node_is_snapshot (const BkNode *node)
{
  return strcmp (node->driver, "snapshot-access") == 0;
}

/* The member @name of @object when it has @type; NULL else, also when @object is no object at all. */
static json_object *
member (json_object *object, const char *name, json_type type)
{
  json_object *value = NULL;
  if (!json_object_is_type (object, json_type_object) || !json_object_object_get_ex (object, name, &value))
    return NULL;
  return json_object_is_type (value, type) ? value : NULL;
}

static const char *
text (json_object *object, const char *name)
{
  json_object *value = member (object, name, json_type_string);
  return value ? json_object_get_string (value) : NULL;
}

static bool
flag (json_object *object, const char *name)
{
  json_object *value = member (object, name, json_type_boolean);
  return value && json_object_get_boolean (value);
}

static gboolean
strange (GError **error, const char *query, const char *what)
{
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "QEMU's answer to %s cannot be used: %s", query, what);
  return FALSE;
}

/* TRUE when @object has @name with @type; FALSE with a message that names the member. */
static gboolean
require (json_object *object, const char *name, json_type type, const char *query, GError **error)
{
  if (member (object, name, type) != NULL)
    return TRUE;
  g_autofree char *what = g_strdup_printf ("'%s' is missing or is no %s", name, json_type_to_name (type));
  return strange (error, query, what);
}

static gboolean
require_size (json_object *object, const char *name, const char *query, uint64_t *size, GError **error)
{
  if (!require (object, name, json_type_int, query, error))
    return FALSE;
  int64_t value = json_object_get_int64 (member (object, name, json_type_int));
  if (value < 0) {
    g_autofree char *what = g_strdup_printf ("'%s' is negative", name);
    return strange (error, query, what);
  }
  *size = (uint64_t)value;
  return TRUE;
}

static const char *
node_name (json_object *node)
{
  return text (node, "node-name");
}

static bool
is_filter (json_object *node)
{
  return g_strv_contains (filters, text (node, "drv"));
}

static bool
is_our_filter (json_object *node)
{
  return is_filter (node) && g_str_has_prefix (node_name (node), OUR_PREFIX);
}

/* QEMU makes up names for nodes without one; they change with each start. */
static bool
is_made_up (const char *name)
{
  return *name == '#' || *name == '\0';
}

/* --- the replies as tables --- */

static gboolean
check_array (json_object *reply, const char *query, GError **error)
{
  return json_object_is_type (reply, json_type_array) || strange (error, query, "it is no array");
}

static GHashTable *
index_nodes (json_object *nodes, GError **error)
{
  static const char query[] = "query-named-block-nodes";
  if (!check_array (nodes, query, error))
    return NULL;
  g_autoptr (GHashTable) table = g_hash_table_new (g_str_hash, g_str_equal);
  for (size_t i = 0; i < json_object_array_length (nodes); i++) {
    json_object *node = json_object_array_get_idx (nodes, i);
    if (!require (node, "node-name", json_type_string, query, error) ||
        !require (node, "drv", json_type_string, query, error))
      return NULL;
    g_hash_table_insert (table, (gpointer)node_name (node), node);
  }
  return g_steal_pointer (&table);
}

static GHashTable *
index_stats (json_object *stats, GError **error)
{
  if (!check_array (stats, "query-blockstats", error))
    return NULL;
  g_autoptr (GHashTable) table = g_hash_table_new (g_str_hash, g_str_equal);
  for (size_t i = 0; i < json_object_array_length (stats); i++) {
    json_object *entry = json_object_array_get_idx (stats, i);
    const char *qdev = text (entry, "qdev");
    if (qdev != NULL)
      g_hash_table_insert (table, (gpointer)qdev, entry);
  }
  return g_steal_pointer (&table);
}

static bool
has_stream (json_object *jobs)
{
  for (size_t i = 0; json_object_is_type (jobs, json_type_array) && i < json_object_array_length (jobs); i++)
    if (g_strcmp0 (text (json_object_array_get_idx (jobs, i), "type"), "stream") == 0)
      return true;
  return false;
}

static Tables *
index_replies (const BkBlockReplies *replies, GError **error)
{
  g_autoptr (Tables) tables = g_new0 (Tables, 1);
  tables->nodes = index_nodes (replies->nodes, error);
  tables->stats = tables->nodes ? index_stats (replies->blockstats, error) : NULL;
  tables->streams = has_stream (replies->jobs);
  return tables->stats ? g_steal_pointer (&tables) : NULL;
}

/* Follows "backing", which is the child of a filter and the backing file of a format. */
static GPtrArray *
walk (json_object *stats, const Tables *tables, GError **error)
{
  static const char query[] = "query-blockstats";
  g_autoptr (GPtrArray) chain = g_ptr_array_new ();
  for (; stats != NULL; stats = member (stats, "backing", json_type_object)) {
    if (!require (stats, "node-name", json_type_string, query, error))
      return NULL;
    json_object *node = g_hash_table_lookup (tables->nodes, node_name (stats));
    if (node == NULL || chain->len == CHAIN_MAX) {
      g_autofree char *what = node ? g_strdup ("a chain of nodes is too long")
                                   : g_strdup_printf ("node '%s' is not among the named ones", node_name (stats));
      strange (error, query, what);
      return NULL;
    }
    g_ptr_array_add (chain, node);
  }
  return g_steal_pointer (&chain);
}

/* --- one disk --- */

static BkBitmap *
read_bitmap (json_object *json, GError **error)
{
  static const char query[] = "query-named-block-nodes";
  static const char *const flags[] = { "persistent", "recording", "busy" };
  uint64_t granularity = 0, count = 0;
  if (!require_size (json, "granularity", query, &granularity, error) ||
      !require_size (json, "count", query, &count, error))
    return NULL;
  for (size_t i = 0; i < G_N_ELEMENTS (flags); i++)
    if (!require (json, flags[i], json_type_boolean, query, error))
      return NULL;
  BkBitmap *bitmap = g_new0 (BkBitmap, 1);
  bitmap->name = g_strdup (text (json, "name"));
  bitmap->granularity = granularity;
  bitmap->count = count;
  bitmap->persistent = flag (json, "persistent");
  bitmap->recording = flag (json, "recording");
  bitmap->busy = flag (json, "busy");
  bitmap->inconsistent = flag (json, "inconsistent");
  return bitmap;
}

/* Jobs and filters keep bitmaps without a name; those are nobody's business. */
static gboolean
read_bitmaps (BkDisk *disk, json_object *node, GError **error)
{
  json_object *bitmaps = NULL;
  if (!json_object_object_get_ex (node, "dirty-bitmaps", &bitmaps))
    return TRUE;
  if (!require (node, "dirty-bitmaps", json_type_array, "query-named-block-nodes", error))
    return FALSE;
  for (size_t i = 0; i < json_object_array_length (bitmaps); i++) {
    json_object *json = json_object_array_get_idx (bitmaps, i);
    if (json_object_is_type (json, json_type_object) && !json_object_object_get_ex (json, "name", NULL))
      continue;
    if (!require (json, "name", json_type_string, "query-named-block-nodes", error))
      return FALSE;
    BkBitmap *bitmap = read_bitmap (json, error);
    if (bitmap == NULL)
      return FALSE;
    g_ptr_array_add (disk->bitmaps, bitmap);
  }
  return TRUE;
}

static char *
why_not_persistent (const BkDisk *disk, json_object *node)
{
  if (strcmp (disk->format, "qcow2") != 0)
    return g_strdup_printf ("%s images cannot keep dirty bitmaps", disk->format);
  json_object *specific = member (member (node, "image", json_type_object), "format-specific", json_type_object);
  const char *compat = text (member (specific, "data", json_type_object), "compat");
  if (g_strcmp0 (compat, "0.10") == 0)
    return g_strdup ("qcow2 version 2 cannot keep dirty bitmaps; 'qemu-img amend -o compat=1.1' makes it version 3");
  if (g_strcmp0 (compat, "1.1") != 0)
    return g_strdup ("QEMU does not tell the version of this qcow2 image");
  return disk->read_only ? g_strdup ("the disk is read-only") : NULL;
}

/* The run that uses the disk: the name of its filter without the role. It may be far down in the chain, where
 * somebody took an external snapshot meanwhile. */
static char *
find_run (const Draft *draft)
{
  for (guint i = 0; i < draft->chain->len; i++) {
    json_object *link = g_ptr_array_index (draft->chain, i);
    if (!is_our_filter (link))
      continue;
    const char *name = node_name (link);
    return g_strndup (name, (gsize)(strrchr (name, '-') - name));
  }
  return NULL;
}

/* A copy-on-read filter may be the user's own for ever, or that of a stream. */
static bool
is_foreign_job_filter (json_object *node, const Tables *tables)
{
  if (is_our_filter (node))
    return false;
  const char *driver = text (node, "drv");
  return g_strv_contains (job_filters, driver) || (tables->streams && strcmp (driver, "copy-on-read") == 0);
}

/* Filters that QEMU made up for a job it leaves out of query-block and query-blockstats; they bear the file name of
 * the node below them. */
static bool
hides_above (json_object *filter, const Draft *draft, json_object *link)
{
  const char *driver = text (filter, "drv");
  return (strcmp (driver, "mirror_top") == 0 || strcmp (driver, "copy-on-read") == 0) &&
         is_made_up (node_name (filter)) && !g_ptr_array_find (draft->chain, filter, NULL) &&
         g_strcmp0 (text (filter, "file"), text (link, "file")) == 0;
}

static json_object *
find_hidden_filter (const Draft *draft, json_object *link, const Tables *tables)
{
  GHashTableIter iter;
  gpointer node = NULL;
  g_hash_table_iter_init (&iter, tables->nodes);
  while (g_hash_table_iter_next (&iter, NULL, &node))
    if (hides_above (node, draft, link))
      return node;
  return NULL;
}

/* QEMU 7.2 aborts when the filter of a job goes away under a copy-before-write filter that was inserted later. */
static char *
find_foreign_job (const Draft *draft, json_object *node, const Tables *tables)
{
  for (guint i = 0; i < draft->chain->len; i++) {
    json_object *link = g_ptr_array_index (draft->chain, i);
    json_object *filter = is_foreign_job_filter (link, tables) ? link : find_hidden_filter (draft, link, tables);
    if (filter != NULL)
      return g_strdup_printf ("another program's job has put its filter '%s' (%s) on the disk; wait until it has ended",
                              node_name (filter), text (filter, "drv"));
    if (link == node)
      break;
  }
  return NULL;
}

/* The node that the guest device is attached to but for us, and the node with the content. */
static gboolean
find_root_and_node (const Draft *draft, json_object **root, json_object **node, GError **error)
{
  for (guint i = 0; i < draft->chain->len; i++) {
    json_object *link = g_ptr_array_index (draft->chain, i);
    if (is_our_filter (link))
      continue;
    if (*root == NULL)
      *root = link;
    *node = link;
    if (!is_filter (link))
      return TRUE;
  }
  g_autofree char *what = g_strdup_printf ("there is nothing below the filters of device '%s'", draft->disk->qdev);
  return strange (error, "query-blockstats", what);
}

static gboolean
read_content (Draft *draft, const Tables *tables, GError **error)
{
  static const char query[] = "query-named-block-nodes";
  BkDisk *disk = draft->disk;
  json_object *root = NULL, *node = NULL;
  if (!find_root_and_node (draft, &root, &node, error) || !require (root, "ro", json_type_boolean, query, error) ||
      !require (node, "ro", json_type_boolean, query, error) ||
      !require (node, "file", json_type_string, query, error) ||
      !require (node, "image", json_type_object, query, error) ||
      !require_size (member (node, "image", json_type_object), "virtual-size", query, &disk->size, error) ||
      !read_bitmaps (disk, node, error))
    return FALSE;
  disk->root = g_strdup (node_name (root));
  disk->node = g_strdup (node_name (node));
  disk->format = g_strdup (text (node, "drv"));
  disk->file = g_strdup (text (node, "file"));
  disk->read_only = flag (root, "ro") || flag (node, "ro");
  disk->has_backing = g_ptr_array_index (draft->chain, draft->chain->len - 1) != node;
  disk->why_not = why_not_persistent (disk, node);
  disk->can_persist = disk->why_not == NULL;
  disk->in_use = find_run (draft);
  disk->blocked = find_foreign_job (draft, node, tables);
  return TRUE;
}

gboolean
bk_block_graph_reread (json_object *nodes, const char *name, BkDisk *disk, GError **error)
{
  static const char query[] = "query-named-block-nodes";
  g_autoptr (GHashTable) table = index_nodes (nodes, error);
  json_object *node = table ? g_hash_table_lookup (table, name) : NULL;
  if (table && node == NULL)
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "no node '%s'", name);
  if (node == NULL || !require (node, "image", json_type_object, query, error) ||
      !require_size (member (node, "image", json_type_object), "virtual-size", query, &disk->size, error))
    return FALSE;
  g_clear_pointer (&disk->bitmaps, g_ptr_array_unref);
  disk->bitmaps = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_bitmap_free);
  g_clear_pointer (&disk->why_not, g_free);
  disk->why_not = why_not_persistent (disk, node);
  disk->can_persist = disk->why_not == NULL;
  return read_bitmaps (disk, node, error);
}

GStrv
bk_block_graph_files (json_object *nodes)
{
  static const char *const drivers[] = { "file", "host_device", NULL };
  g_autoptr (GStrvBuilder) files = g_strv_builder_new ();
  for (size_t i = 0; json_object_is_type (nodes, json_type_array) && i < json_object_array_length (nodes); i++) {
    json_object *node = json_object_array_get_idx (nodes, i);
    const char *driver = text (node, "drv"), *file = text (node, "file");
    if (driver && file && g_strv_contains (drivers, driver))
      g_strv_builder_add (files, file);
  }
  return g_strv_builder_end (files);
}

static gboolean
read_nothing (BkDisk *disk)
{
  disk->root = g_strdup ("");
  disk->node = g_strdup ("");
  disk->format = g_strdup ("");
  disk->file = g_strdup ("");
  disk->why_not = g_strdup ("there is no medium");
  return TRUE;
}

static GPtrArray *
find_chain (json_object *entry, const char *qdev, const Tables *tables, GError **error)
{
  if (!require (entry, "inserted", json_type_object, "query-block", error))
    return NULL;
  json_object *top = g_hash_table_lookup (tables->stats, qdev);
  if (top != NULL)
    return walk (top, tables, error);
  g_autofree char *what = g_strdup_printf ("device '%s' is missing", qdev);
  strange (error, "query-blockstats", what);
  return NULL;
}

static Draft *
read_disk (json_object *entry, const char *qdev, const Tables *tables, GError **error)
{
  static const char query[] = "query-block";
  if (!require (entry, "device", json_type_string, query, error) ||
      !require (entry, "removable", json_type_boolean, query, error))
    return NULL;
  g_autoptr (Draft) draft = g_new0 (Draft, 1);
  BkDisk *disk = draft->disk = g_new0 (BkDisk, 1);
  draft->drive = text (entry, "device");
  disk->qdev = g_strdup (qdev);
  disk->removable = flag (entry, "removable");
  disk->empty = !json_object_object_get_ex (entry, "inserted", NULL);
  disk->bitmaps = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_bitmap_free);
  draft->chain = disk->empty ? g_ptr_array_new () : find_chain (entry, qdev, tables, error);
  if (draft->chain == NULL || !(disk->empty ? read_nothing (disk) : read_content (draft, tables, error)))
    return NULL;
  return g_steal_pointer (&draft);
}

static gboolean
read_drafts (const BkBlockReplies *replies, GPtrArray *drafts, GError **error)
{
  if (!check_array (replies->block, "query-block", error))
    return FALSE;
  g_autoptr (Tables) tables = index_replies (replies, error);
  if (tables == NULL)
    return FALSE;
  for (size_t i = 0; i < json_object_array_length (replies->block); i++) {
    json_object *entry = json_object_array_get_idx (replies->block, i);
    /* A drive without a device is seen by no guest. */
    if (json_object_is_type (entry, json_type_object) && !json_object_object_get_ex (entry, "qdev", NULL))
      continue;
    if (!require (entry, "qdev", json_type_string, "query-block", error))
      return FALSE;
    Draft *draft = read_disk (entry, text (entry, "qdev"), tables, error);
    if (draft == NULL)
      return FALSE;
    g_ptr_array_add (drafts, draft);
  }
  return TRUE;
}

/* --- names --- */

static void
collect_aliases (Draft *draft)
{
  g_autoptr (GStrvBuilder) aliases = g_strv_builder_new ();
  if (*draft->drive != '\0')
    g_strv_builder_add (aliases, draft->drive);
  for (guint i = 0; i < draft->chain->len; i++) {
    json_object *link = g_ptr_array_index (draft->chain, i);
    const char *name = node_name (link);
    if (!is_made_up (name) && !is_our_filter (link))
      g_strv_builder_add (aliases, name);
  }
  draft->disk->aliases = g_strv_builder_end (aliases);
}

static void
take_name (Draft *draft, GHashTable *taken, const char *name)
{
  if (draft->disk->name != NULL || name == NULL || !g_hash_table_add (taken, g_strdup (name)))
    return;
  draft->disk->name = g_strdup (name);
}

static void
drop_name_from_aliases (BkDisk *disk)
{
  g_autoptr (GStrvBuilder) rest = g_strv_builder_new ();
  for (guint i = 0; disk->aliases[i]; i++)
    if (strcmp (disk->aliases[i], disk->name) != 0)
      g_strv_builder_add (rest, disk->aliases[i]);
  g_strfreev (disk->aliases);
  disk->aliases = g_strv_builder_end (rest);
}

/* IDs of guest devices first, for all disks: they do not change their meaning when a drive of the same name is
 * plugged in. What has no other name bears the path of its device, which is unique. */
static void
name_disks (GPtrArray *drafts)
{
  g_autoptr (GHashTable) taken = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  for (guint i = 0; i < drafts->len; i++) {
    Draft *draft = g_ptr_array_index (drafts, i);
    g_autofree char *id = bk_disk_qdev_id (draft->disk->qdev);
    collect_aliases (draft);
    take_name (draft, taken, id);
  }
  for (guint i = 0; i < drafts->len; i++) {
    Draft *draft = g_ptr_array_index (drafts, i);
    for (guint j = 0; draft->disk->aliases[j]; j++)
      take_name (draft, taken, draft->disk->aliases[j]);
    if (draft->disk->name == NULL)
      draft->disk->name = g_strdup (draft->disk->qdev);
    drop_name_from_aliases (draft->disk);
  }
}

GPtrArray *
bk_block_graph_disks (const BkBlockReplies *replies, GError **error)
{
  g_autoptr (GPtrArray) drafts = g_ptr_array_new_with_free_func ((GDestroyNotify)draft_free);
  if (!read_drafts (replies, drafts, error))
    return NULL;
  name_disks (drafts);
  GPtrArray *disks = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_disk_free);
  for (guint i = 0; i < drafts->len; i++) {
    Draft *draft = g_ptr_array_index (drafts, i);
    g_ptr_array_add (disks, g_steal_pointer (&draft->disk));
  }
  return disks;
}

/* --- our own nodes --- */

/* Not by bk_block_graph_disks(): recovery must find our filters even where something else in the replies is
 * strange to us. */
GPtrArray *
bk_block_graph_inserted (const BkBlockReplies *replies, const char *prefix)
{
  GPtrArray *inserted = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_inserted_filter_free);
  json_object *stats = replies->blockstats;
  g_autoptr (GHashTable) nodes = index_nodes (replies->nodes, NULL);
  if (nodes == NULL || !json_object_is_type (stats, json_type_array))
    return inserted;
  for (size_t i = 0; i < json_object_array_length (stats); i++) {
    json_object *entry = json_object_array_get_idx (stats, i);
    const char *qdev = text (entry, "qdev");
    const char *root = text (entry, "node-name");
    const char *child = text (member (entry, "backing", json_type_object), "node-name");
    json_object *node = root ? g_hash_table_lookup (nodes, root) : NULL;
    if (qdev == NULL || child == NULL || node == NULL || !g_str_has_prefix (root, prefix) ||
        g_strcmp0 (text (node, "drv"), "copy-before-write") != 0)
      continue;
    BkInsertedFilter *filter = g_new0 (BkInsertedFilter, 1);
    filter->qdev = g_strdup (qdev);
    filter->filter = g_strdup (root);
    filter->child = g_strdup (child);
    g_ptr_array_add (inserted, filter);
  }
  return inserted;
}

static GStrv
bitmap_names (json_object *node)
{
  g_autoptr (GStrvBuilder) names = g_strv_builder_new ();
  json_object *bitmaps = member (node, "dirty-bitmaps", json_type_array);
  for (size_t i = 0; bitmaps && i < json_object_array_length (bitmaps); i++) {
    const char *name = text (json_object_array_get_idx (bitmaps, i), "name");
    if (name != NULL)
      g_strv_builder_add (names, name);
  }
  return g_strv_builder_end (names);
}

GPtrArray *
bk_block_graph_nodes (json_object *nodes, const char *prefix)
{
  GPtrArray *found = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_node_free);
  for (size_t i = 0; json_object_is_type (nodes, json_type_array) && i < json_object_array_length (nodes); i++) {
    json_object *json = json_object_array_get_idx (nodes, i);
    const char *name = node_name (json);
    if (name == NULL || !g_str_has_prefix (name, prefix))
      continue;
    BkNode *node = g_new0 (BkNode, 1);
    node->name = g_strdup (name);
    node->driver = g_strdup (text (json, "drv") ? text (json, "drv") : "");
    node->bitmaps = bitmap_names (json);
    g_ptr_array_add (found, node);
  }
  return found;
}
