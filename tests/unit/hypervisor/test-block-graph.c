/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Over recordings of a real QEMU: tests/data/qmp/record makes blocks/CASE.json, and CASE.expect says what is
 * to be read out of it, one line a disk:
 *
 *   name|aliases|qdev|root|node|format|size|flags|bitmaps|why_not
 *
 * With BK_TEST_UPDATE=1 the .expect files are written anew; look at the difference.
 */
#include "block-graph.h"
#include "suite.h"

#include <inttypes.h>
#include <string.h>

#define CASES_AT_LEAST 46

static char *
data_path (const char *name, const char *suffix)
{
  g_autofree char *file = g_strconcat (name, suffix, NULL);
  return g_build_filename (g_getenv ("BK_TEST_DATA"), "qmp", "blocks", file, NULL);
}

static json_object *
recording (const char *name)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = data_path (name, ".json");
  g_autofree char *text = NULL;
  gsize length = 0;
  g_file_get_contents (path, &text, &length, &error);
  bk_assert_no_error (error);
  json_object *json = bk_json_parse (text, length, &error);
  bk_assert_no_error (error);
  return json;
}

static BkBlockReplies
replies_of (json_object *json)
{
  BkBlockReplies replies = { NULL, NULL, NULL, NULL };
  json_object_object_get_ex (json, "block", &replies.block);
  json_object_object_get_ex (json, "nodes", &replies.nodes);
  json_object_object_get_ex (json, "blockstats", &replies.blockstats);
  json_object_object_get_ex (json, "jobs", &replies.jobs);
  return replies;
}

static GPtrArray *
disks_of (const char *name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) json = recording (name);
  BkBlockReplies replies = replies_of (json);
  GPtrArray *disks = bk_block_graph_disks (&replies, &error);
  bk_assert_no_error (error);
  return disks;
}

static GPtrArray *
cases (void)
{
  g_autofree char *folder = g_build_filename (g_getenv ("BK_TEST_DATA"), "qmp", "blocks", NULL);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  ck_assert_ptr_nonnull (dir);
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  for (const char *file = NULL; (file = g_dir_read_name (dir)) != NULL;)
    if (g_str_has_suffix (file, ".json"))
      g_ptr_array_add (names, g_strndup (file, strlen (file) - strlen (".json")));
  ck_assert_uint_ge (names->len, CASES_AT_LEAST);
  return names;
}

/* --- golden texts --- */

static void
describe_flags (GString *out, const BkDisk *disk)
{
  g_string_append (out, disk->read_only ? "ro" : disk->empty ? "empty" : "rw");
  g_string_append (out, disk->removable ? ",removable" : "");
  g_string_append (out, disk->has_backing ? ",backing" : "");
  g_string_append (out, disk->can_persist ? ",persist" : "");
  g_string_append (out, bk_disk_is_default (disk) ? ",default" : "");
  if (disk->in_use)
    g_string_append_printf (out, ",in_use=%s", disk->in_use);
  g_string_append (out, disk->blocked ? ",blocked" : "");
}

static void
describe_bitmaps (GString *out, const BkDisk *disk)
{
  for (guint i = 0; i < disk->bitmaps->len; i++) {
    const BkBitmap *bitmap = g_ptr_array_index (disk->bitmaps, i);
    g_string_append_printf (out, "%s%s:%" PRIu64 "/%" PRIu64 "%s%s%s%s", i > 0 ? " " : "", bitmap->name, bitmap->count,
                            bitmap->granularity, bitmap->persistent ? ",persistent" : "",
                            bitmap->recording ? ",recording" : "", bitmap->busy ? ",busy" : "",
                            bitmap->inconsistent ? ",inconsistent" : "");
  }
}

static char *
describe (GPtrArray *disks)
{
  g_autoptr (GString) out = g_string_new (NULL);
  for (guint i = 0; i < disks->len; i++) {
    const BkDisk *disk = g_ptr_array_index (disks, i);
    g_autofree char *aliases = g_strjoinv (",", disk->aliases);
    g_string_append_printf (out, "%s|%s|%s|%s|%s|%s|%" PRIu64 "|", disk->name, aliases, disk->qdev, disk->root,
                            disk->node, disk->format, disk->size);
    describe_flags (out, disk);
    g_string_append_c (out, '|');
    describe_bitmaps (out, disk);
    g_string_append_printf (out, "|%s\n", disk->why_not ? disk->why_not : "");
  }
  return g_string_free (g_steal_pointer (&out), FALSE);
}

START_TEST (reads_every_recording)
{
  g_autoptr (GPtrArray) names = cases ();
  for (guint i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);
    g_autoptr (GPtrArray) disks = disks_of (name);
    g_autofree char *actual = describe (disks);
    g_autofree char *path = data_path (name, ".expect");
    if (g_getenv ("BK_TEST_UPDATE") != NULL)
      g_file_set_contents (path, actual, -1, NULL);
    g_autofree char *expected = NULL;
    ck_assert_msg (g_file_get_contents (path, &expected, NULL, NULL), "%s is missing", path);
    ck_assert_msg (strcmp (actual, expected) == 0, "%s:\n%sexpected:\n%s", name, actual, expected);
  }
}
END_TEST

START_TEST (names_the_filter_of_a_foreign_job)
{
  static const char *const table[][2] = {
    { "mirror", "'#block200' (mirror_top)" },          { "mirror-named", "'mirror-filter' (mirror_top)" },
    { "commit-active", "'commit-filter' (mirror_top)" }, { "stream", "'#block300' (copy-on-read)" },
    { "stream-named", "'stream-filter' (copy-on-read)" }, { "bitmaps-unnamed", "'#block200' (copy-before-write)" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++) {
    g_autoptr (GPtrArray) disks = disks_of (table[i][0]);
    const BkDisk *disk = g_ptr_array_index (disks, 0);
    g_autofree char *expected = g_strdup_printf (
        "another program's job has put its filter %s on the disk; wait until it has ended", table[i][1]);
    ck_assert_str_eq (disk->blocked, expected);
  }
  g_autoptr (GPtrArray) disks = disks_of ("stream");
  ck_assert_ptr_null (((const BkDisk *)g_ptr_array_index (disks, 1))->blocked);
}
END_TEST

/* All of a line but the flags, where in_use is told. */
static void
assert_same_but_in_use (const char *with_filter, const char *without, const char *run)
{
  g_autoptr (GPtrArray) with = disks_of (with_filter);
  g_autoptr (GPtrArray) bare = disks_of (without);
  ck_assert_uint_eq (with->len, bare->len);
  BkDisk *disk = g_ptr_array_index (with, 0);
  ck_assert_str_eq (disk->in_use, run);
  g_clear_pointer (&disk->in_use, g_free);
  g_autofree char *actual = describe (with);
  g_autofree char *expected = describe (bare);
  ck_assert_str_eq (actual, expected);
}

START_TEST (our_filters_change_nothing)
{
  assert_same_but_in_use ("filter-ours-throttle", "throttle", "bkd-1a2b3c-42");
  assert_same_but_in_use ("filter-ours-drive", "drive-id", "bkd-1a2b3c-42");
  assert_same_but_in_use ("filter-ours-snapshot", "filter-ours-before", "bkd-1a2b3c-42");
  assert_same_but_in_use ("filter-ours", "filter-ours-before", "bkd-1a2b3c-42");
  assert_same_but_in_use ("direct", "direct-before", "bkd-1a2b3c-43");
  assert_same_but_in_use ("direct-throttle", "throttle", "bkd-1a2b3c-43");
  assert_same_but_in_use ("direct-drive", "drive-id", "bkd-1a2b3c-43");
}
END_TEST

/* --- names --- */

static void
assert_means (GPtrArray *disks, const char *name, const char *qdev)
{
  g_autoptr (GError) error = NULL;
  const BkDisk *disk = bk_disk_resolve (disks, name, &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (disk->qdev, qdev);
}

static void
assert_refused (GPtrArray *disks, const char *name, BkErrorCode code, const char *message)
{
  g_autoptr (GError) error = NULL;
  ck_assert_ptr_null (bk_disk_resolve (disks, name, &error));
  ck_assert_ptr_nonnull (error);
  ck_assert_str_eq (error->message, message);
  bk_assert_error (error, code);
}

START_TEST (resolves_each_kind_of_name)
{
  g_autoptr (GPtrArray) scsi = disks_of ("scsi");
  assert_means (scsi, "scsi0-0-0-0", "scsi0-0-0-0");
  assert_means (scsi, "drive-scsi0", "scsi0-0-0-0");
  assert_means (scsi, "libvirt-1-format", "scsi0-0-0-1");
  assert_means (scsi, "noid", "/machine/peripheral-anon/device[0]");
  assert_means (scsi, "/machine/peripheral-anon/device[0]", "/machine/peripheral-anon/device[0]");
  g_autoptr (GPtrArray) throttle = disks_of ("throttle");
  assert_means (throttle, "thr", "/machine/peripheral/vda/virtio-backend");
  assert_means (throttle, "fmt0", "/machine/peripheral/vda/virtio-backend");
  g_autoptr (GPtrArray) drive = disks_of ("drive-anonymous");
  assert_means (drive, "#block100", "/machine/peripheral-anon/device[0]/virtio-backend");
}
END_TEST

/* A bare ID is looked up all over QEMU's object tree, and the nvme controller 'nvme0' has a bus 'nvme0'. */
START_TEST (tells_the_whole_path_of_a_device)
{
  static const char *const table[][2] = {
    { "nvme0", "/machine/peripheral/nvme0" },
    { "/machine/peripheral/du/du.0/legacy[0]", "/machine/peripheral/du/du.0/legacy[0]" },
    { "/machine/unattached/device[18]", "/machine/unattached/device[18]" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++) {
    g_autofree char *path = bk_disk_qdev_path (table[i][0]);
    ck_assert_str_eq (path, table[i][1]);
  }
}
END_TEST

START_TEST (prefers_the_better_kind_of_name)
{
  g_autoptr (GPtrArray) disks = disks_of ("same-names");
  assert_means (disks, "vda", "/machine/peripheral/vda/virtio-backend");
  assert_means (disks, "first", "/machine/peripheral-anon/device[0]/virtio-backend");
  assert_means (disks, "left", "/machine/peripheral/left/virtio-backend");
  assert_means (disks, "right", "/machine/peripheral/right/virtio-backend");
}
END_TEST

START_TEST (refuses_ambiguous_and_unknown_names)
{
  g_autoptr (GPtrArray) shared = disks_of ("backing-shared");
  assert_means (shared, "top-b", "/machine/peripheral/vdb/virtio-backend");
  assert_refused (shared, "golden", BK_ERROR_INVALID,
                  "'golden' may mean any of the disks 'vda', 'vdb'; give one of these names");
  assert_refused (shared, "vdc", BK_ERROR_NOT_FOUND, "no disk 'vdc'; the VM has 'vda', 'vdb'");
  assert_refused (shared, "", BK_ERROR_NOT_FOUND, "no disk ''; the VM has 'vda', 'vdb'");
  g_autoptr (GPtrArray) empty = disks_of ("cd-empty");
  assert_refused (empty, "", BK_ERROR_NOT_FOUND,
                  "no disk ''; the VM has 'ide1-cd0', 'sata2', '/machine/peripheral-anon/device[0]', 'vda'");
  g_autoptr (GPtrArray) none = disks_of ("no-disks");
  assert_refused (none, "vda", BK_ERROR_NOT_FOUND, "no disk 'vda'; the VM has no disks");
}
END_TEST

START_TEST (finds_bitmaps)
{
  g_autoptr (GPtrArray) disks = disks_of ("bitmaps");
  const BkDisk *disk = g_ptr_array_index (disks, 0);
  const BkBitmap *bitmap = bk_disk_find_bitmap (disk, "cp2");
  ck_assert_ptr_nonnull (bitmap);
  ck_assert_uint_eq (bitmap->granularity, 32768);
  ck_assert_uint_eq (bitmap->count, 65536);
  ck_assert (bitmap->recording && bitmap->persistent && !bitmap->inconsistent);
  ck_assert (!bk_disk_find_bitmap (disk, "cp1")->recording);
  ck_assert_ptr_null (bk_disk_find_bitmap (disk, "cp"));
  disks = (g_ptr_array_unref (disks), disks_of ("bitmaps-inconsistent"));
  ck_assert (bk_disk_find_bitmap (g_ptr_array_index (disks, 0), "cp1")->inconsistent);
}
END_TEST

/* --- our nodes --- */

static char *
describe_inserted (const char *name, const char *prefix)
{
  g_autoptr (json_object) json = recording (name);
  BkBlockReplies replies = replies_of (json);
  g_autoptr (GPtrArray) inserted = bk_block_graph_inserted (&replies, prefix);
  g_autoptr (GString) out = g_string_new (NULL);
  for (guint i = 0; i < inserted->len; i++) {
    const BkInsertedFilter *filter = g_ptr_array_index (inserted, i);
    g_string_append_printf (out, "%s %s %s\n", filter->qdev, filter->filter, filter->child);
  }
  return g_string_free (g_steal_pointer (&out), FALSE);
}

START_TEST (finds_inserted_filters)
{
  static const char *const table[][3] = {
    { "filter-ours", "bkd-", "/machine/peripheral/vda/virtio-backend bkd-1a2b3c-42-c0 fmt0\n" },
    { "filter-ours", "bkd-1a2b3c-42-", "/machine/peripheral/vda/virtio-backend bkd-1a2b3c-42-c0 fmt0\n" },
    { "filter-ours", "bkd-1a2b3c-4-", "" },
    { "filter-ours-snapshot", "bkd-", "/machine/peripheral/vda/virtio-backend bkd-1a2b3c-42-c0 fmt0\n" },
    { "filter-ours-throttle", "bkd-", "/machine/peripheral/vda/virtio-backend bkd-1a2b3c-42-c0 thr\n" },
    { "filter-ours-drive", "bkd-",
      "/machine/peripheral-anon/device[0]/virtio-backend bkd-1a2b3c-42-c0 #block100\n" },
    { "two-disks-one-run", "bkd-", "/machine/peripheral/vdb/virtio-backend bkd-1a2b3c-42-c0 fmt1\n" },
    { "overlay-below", "bkd-", "/machine/peripheral/vda/virtio-backend bkd-1a2b3c-42-c0 ovl\n" },
    { "overlay-above", "bkd-", "" },
    { "direct-throttle", "bkd-", "" },
    { "throttle", "", "" },
    { "no-disks", "", "" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++) {
    g_autofree char *actual = describe_inserted (table[i][0], table[i][1]);
    ck_assert_msg (strcmp (actual, table[i][2]) == 0, "%s: %s", table[i][0], actual);
  }
}
END_TEST

static char *
describe_nodes (const char *name, const char *prefix)
{
  g_autoptr (json_object) json = recording (name);
  g_autoptr (GPtrArray) nodes = bk_block_graph_nodes (replies_of (json).nodes, prefix);
  g_autoptr (GString) out = g_string_new (NULL);
  for (guint i = 0; i < nodes->len; i++) {
    const BkNode *node = g_ptr_array_index (nodes, i);
    g_autofree char *bitmaps = g_strjoinv (",", node->bitmaps);
    g_string_append_printf (out, "%s %s [%s]\n", node->name, node->driver, bitmaps);
  }
  return g_string_free (g_steal_pointer (&out), FALSE);
}

START_TEST (finds_nodes)
{
  g_autofree char *ours = describe_nodes ("filter-ours-snapshot", "bkd-1a2b3c-42-");
  ck_assert_str_eq (ours, "bkd-1a2b3c-42-a0 snapshot-access [bkd-1a2b3c-42-inc]\n"
                          "bkd-1a2b3c-42-c0 copy-before-write []\n"
                          "bkd-1a2b3c-42-s0 qcow2 []\n");
  g_autofree char *all = describe_nodes ("bitmaps", "");
  ck_assert_str_eq (all, "fmt0 qcow2 [volatile,cp2,cp1]\n#block000 file []\n");
  g_autofree char *none = describe_nodes ("bitmaps", "bkd-");
  ck_assert_str_eq (none, "");
}
END_TEST

/* --- hostile replies --- */

/* Whatever is read must be whole, and an error must be one of ours. */
static void
exercise (json_object *json)
{
  g_autoptr (GError) error = NULL;
  BkBlockReplies replies = replies_of (json);
  g_autoptr (GPtrArray) disks = bk_block_graph_disks (&replies, &error);
  g_autoptr (GPtrArray) inserted = bk_block_graph_inserted (&replies, "bkd-");
  g_autoptr (GPtrArray) nodes = bk_block_graph_nodes (replies.nodes, "");
  ck_assert (inserted && nodes);
  if (disks == NULL) {
    ck_assert (g_str_has_prefix (error->message, "QEMU's answer to query-"));
    bk_assert_error (error, BK_ERROR_FAILED);
    return;
  }
  bk_assert_no_error (error);
  g_autofree char *text = describe (disks);
  for (guint i = 0; i < disks->len; i++) {
    const BkDisk *disk = g_ptr_array_index (disks, i);
    ck_assert (disk->name && disk->aliases && disk->qdev && disk->root && disk->node && disk->format && disk->file);
    ck_assert (disk->can_persist == (disk->why_not == NULL));
  }
}

static void
free_json (gpointer json)
{
  json_object_put (json);
}

/* New values that take the place of each value in turn. */
static GPtrArray *
strangers (void)
{
  static const char *const texts[] = { "true", "-1", "9223372036854775807", "\"\"", "\"bkd-\"", "[[]]", "{}" };
  GPtrArray *values = g_ptr_array_new_with_free_func (free_json);
  g_ptr_array_add (values, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (texts); i++)
    g_ptr_array_add (values, bk_json_parse (texts[i], strlen (texts[i]), NULL));
  return values;
}

static unsigned mutate (json_object *value, json_object *root, GPtrArray *values);

static unsigned
mutate_member (json_object *object, const char *key, json_object *root, GPtrArray *values)
{
  json_object *old = NULL;
  json_object_object_get_ex (object, key, &old);
  g_autoptr (json_object) keep = json_object_get (old);
  for (guint i = 0; i < values->len; i++) {
    json_object_object_add (object, key, json_object_get (g_ptr_array_index (values, i)));
    exercise (root);
  }
  json_object_object_del (object, key);
  exercise (root);
  json_object_object_add (object, key, json_object_get (keep));
  return values->len + 1 + mutate (keep, root, values);
}

static unsigned
mutate_element (json_object *array, size_t index, json_object *root, GPtrArray *values)
{
  g_autoptr (json_object) keep = json_object_get (json_object_array_get_idx (array, index));
  for (guint i = 0; i < values->len; i++) {
    json_object_array_put_idx (array, index, json_object_get (g_ptr_array_index (values, i)));
    exercise (root);
  }
  json_object_array_put_idx (array, index, json_object_get (keep));
  return values->len + mutate (keep, root, values);
}

/* Most members are counters and settings that nobody reads; leaving them alone saves most of the time. */
static bool
is_of_interest (const char *key)
{
  static const char *const passed_over[] = {
    "stats", "driver-specific", "cache", "write_threshold", "detect_zeroes", "encrypted", "actual-size",
    "cluster-size", "dirty-flag", "filename", "locked", "io-status", "corrupt", "extended-l2", "lazy-refcounts",
    "refcount-bits", "compression-type", NULL
  };
  return !g_strv_contains (passed_over, key) && !g_str_has_prefix (key, "iops") && !g_str_has_prefix (key, "bps");
}

/* Deletes and retypes each value in and below @value. */
static unsigned
mutate (json_object *value, json_object *root, GPtrArray *values)
{
  unsigned count = 0;
  if (json_object_is_type (value, json_type_array))
    for (size_t i = 0; i < json_object_array_length (value); i++)
      count += mutate_element (value, i, root, values);
  if (!json_object_is_type (value, json_type_object))
    return count;
  g_autoptr (GPtrArray) keys = g_ptr_array_new_with_free_func (g_free);
  json_object_object_foreach (value, name, ignored)
  {
    if (is_of_interest (name))
      g_ptr_array_add (keys, g_strdup (name));
    (void)ignored;
  }
  for (guint i = 0; i < keys->len; i++)
    count += mutate_member (value, g_ptr_array_index (keys, i), root, values);
  return count;
}

START_TEST (survives_every_wrong_member)
{
  g_autoptr (GPtrArray) values = strangers ();
  g_autoptr (GPtrArray) names = cases ();
  for (guint i = 0; i < names->len; i++) {
    g_autoptr (json_object) json = recording (g_ptr_array_index (names, i));
    ck_assert_uint_gt (mutate (json, json, values), 20);
  }
}
END_TEST

/* Deletes the member at @path ("block/0/device") of a recording. */
static void
delete_member (json_object *json, const char *path)
{
  g_auto (GStrv) steps = g_strsplit (path, "/", -1);
  guint last = g_strv_length (steps) - 1;
  for (guint i = 0; i < last; i++) {
    if (json_object_is_type (json, json_type_array))
      json = json_object_array_get_idx (json, g_ascii_strtoull (steps[i], NULL, 10));
    else
      json_object_object_get_ex (json, steps[i], &json);
  }
  json_object_object_del (json, steps[last]);
}

START_TEST (names_the_missing_member)
{
  static const char *const table[][2] = {
    { "block", "query-block cannot be used: it is no array" },
    { "nodes", "query-named-block-nodes cannot be used: it is no array" },
    { "blockstats", "query-blockstats cannot be used: it is no array" },
    { "block/0/device", "query-block cannot be used: 'device' is missing or is no string" },
    { "block/0/removable", "query-block cannot be used: 'removable' is missing or is no boolean" },
    { "nodes/0/node-name", "query-named-block-nodes cannot be used: 'node-name' is missing or is no string" },
    { "nodes/0/drv", "query-named-block-nodes cannot be used: 'drv' is missing or is no string" },
    { "nodes/0/ro", "query-named-block-nodes cannot be used: 'ro' is missing or is no boolean" },
    { "nodes/0/image", "query-named-block-nodes cannot be used: 'image' is missing or is no object" },
    { "nodes/0/image/virtual-size", "query-named-block-nodes cannot be used: 'virtual-size' is missing or is no int" },
    { "nodes/0/dirty-bitmaps/0/busy", "query-named-block-nodes cannot be used: 'busy' is missing or is no boolean" },
    { "blockstats/0/qdev",
      "query-blockstats cannot be used: device '/machine/peripheral/vda/virtio-backend' is missing" },
    { "blockstats/0/node-name", "query-blockstats cannot be used: 'node-name' is missing or is no string" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (json_object) json = recording ("bitmaps");
    delete_member (json, table[i][0]);
    BkBlockReplies replies = replies_of (json);
    ck_assert_ptr_null (bk_block_graph_disks (&replies, &error));
    g_autofree char *expected = g_strconcat ("QEMU's answer to ", table[i][1], NULL);
    ck_assert_str_eq (error->message, expected);
  }
}
END_TEST

START_TEST (refuses_a_negative_size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) json = recording ("blockdev-id");
  BkBlockReplies replies = replies_of (json);
  json_object *image = NULL;
  json_object_object_get_ex (json_object_array_get_idx (replies.nodes, 0), "image", &image);
  json_object_object_add (image, "virtual-size", json_object_new_int64 (-1));
  ck_assert_ptr_null (bk_block_graph_disks (&replies, &error));
  ck_assert_str_eq (error->message,
                    "QEMU's answer to query-named-block-nodes cannot be used: 'virtual-size' is negative");
}
END_TEST

START_TEST (bounds_the_length_of_chains)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) json = recording ("blockdev-id");
  BkBlockReplies replies = replies_of (json);
  json_object *link = json_object_array_get_idx (replies.blockstats, 0);
  for (int i = 0; i < 3000; i++) {
    json_object *next = json_object_new_object ();
    json_object_object_add (next, "node-name", json_object_new_string ("fmt0"));
    json_object_object_add (link, "backing", next);
    link = next;
  }
  ck_assert_ptr_null (bk_block_graph_disks (&replies, &error));
  ck_assert_ptr_nonnull (strstr (error->message, "a chain of nodes is too long"));
  bk_assert_error (error, BK_ERROR_FAILED);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { reads_every_recording,
                                 names_the_filter_of_a_foreign_job,
                                 our_filters_change_nothing,
                                 resolves_each_kind_of_name,
                                 tells_the_whole_path_of_a_device,
                                 prefers_the_better_kind_of_name,
                                 refuses_ambiguous_and_unknown_names,
                                 finds_bitmaps,
                                 finds_inserted_filters,
                                 finds_nodes,
                                 survives_every_wrong_member,
                                 names_the_missing_member,
                                 refuses_a_negative_size,
                                 bounds_the_length_of_chains,
                                 NULL };
  return bk_suite_run ("block-graph", tests);
}
